"""Commands in an environment without PyTorch, which mpjax does not need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import mpjax

# `None` makes `import torch` fail, and transformers find no PyTorch, as if it were not installed.
PROGRAM = """
import sys
sys.modules["torch"] = None
from mpjax import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_no_command_reports_that_torch_is_missing(tmp_path):
    env = {name: value for name, value in os.environ.items() if "TRANSFORMERS" not in name}
    env["PYTHONPATH"] = str(Path(mpjax.__file__).parents[1])
    words = tiny.command(tmp_path, steps=1, warmup=0, method="magnitude")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "torch" not in (done.stdout + done.stderr).lower()
