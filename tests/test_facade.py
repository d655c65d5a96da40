"""``import mpjax`` is instant, and every name and submodule of it is there when asked for."""

import importlib
import subprocess
import sys

import mpjax

SCRIPT = """
import sys
import mpjax
heavy = {"jax", "flax", "optax", "numpy", "transformers"} & sys.modules.keys()
assert not heavy, heavy
assert mpjax.pruning.select({"kernel": 1}, "kernel") == {"kernel": 1}
assert callable(mpjax.optim.sparsity_schedule)
for name in mpjax._SUBMODULES:
    assert getattr(mpjax, name).__name__ == f"mpjax.{name}", name
"""


def test_submodules_are_attributes_after_a_bare_import():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_found_once_and_listed():
    assert set(mpjax.__all__) == set(mpjax._HOMES)
    for name in mpjax.__all__:
        home = importlib.import_module(mpjax._HOMES[name])
        assert getattr(mpjax, name) is getattr(home, name)
    assert {*mpjax.__all__, *mpjax._SUBMODULES, "__version__"} <= set(dir(mpjax))
