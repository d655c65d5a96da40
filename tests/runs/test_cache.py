"""A compilation cache that cannot be written stops no command."""

import subprocess
import sys

import jax
import pytest
from disks import fill, make_read_only, small_disk

from mpjax.runs.cache import use_compiled_programs

RUN = """
import logging, sys, warnings
from pathlib import Path
logging.basicConfig()
from mpjax.runs.cache import use_compiled_programs
use_compiled_programs(Path(sys.argv[1]))
use_compiled_programs(Path(sys.argv[1]))
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: x * 2 + 1)(3))
"""


@pytest.mark.parametrize("how", ["full", "read-only", "file"])
def test_a_disk_that_refuses(how, tmp_path):
    with small_disk(tmp_path / "disk", "16k") as disk:
        place = disk / "cache"
        if how == "full":
            fill(disk)
        elif how == "read-only":
            make_read_only(disk)
        else:
            place.write_text("")
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(place)], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "7\n"
    assert "Traceback" not in done.stderr
    if how != "full":  # its folder can still be made there
        assert done.stderr.count("going on without the cache: ") == 1


def test_a_folder_that_can_be_written_is_used_and_holds_no_trial(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        use_compiled_programs(tmp_path / "cache")
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache" / "xla")
        assert list((tmp_path / "cache" / "xla").iterdir()) == []
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
