"""Checkpoints: every bit comes back, and half-saved ones do not count."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import mpjax
from mpjax.errors import InputError
from mpjax.optim.make import OptimizerConfig, make_optimizer
from mpjax.parallel.sharding import make_mesh, replicated
from mpjax.pruning import Pruning, make_rule
from mpjax.runs.checkpoints import KEPT, Checkpoints
from mpjax.training.state import ScoreInit, TrainState, create_state


def make_state(seed: int = 0) -> TrainState:
    rng = np.random.default_rng(seed)
    params = {"bert": {"kernel": rng.normal(size=(4, 6)).astype(np.float32)},
              "head": {"bias": rng.normal(size=3).astype(np.float32)}}  # fmt: skip
    pruning = Pruning(make_rule("movement"), r"bert/kernel")
    tx = make_optimizer(OptimizerConfig(), pruning, total_steps=10)
    return create_state(params, pruning, tx, seed=seed, score_init=ScoreInit("uniform", 1.0))


def bits(state: TrainState) -> list[bytes]:
    state = state.replace(rng=jax.random.key_data(state.rng))  # pyright: ignore
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def test_all_of_a_state_comes_back_in_the_shardings_of_the_template(tmp_path):
    saved, template = make_state(1), jax.device_put(make_state(2), replicated(make_mesh()))
    assert bits(saved) != bits(template)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() == 0
        assert checkpoints.restore(template) is template
        checkpoints.save(saved, 3)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() == 3
        restored = checkpoints.restore(template)
    assert bits(restored) == bits(saved)
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    kernel = restored.params["bert"]["kernel"]
    assert kernel.sharding == template.params["bert"]["kernel"].sharding
    key = jax.random.normal(restored.rng), jax.random.normal(saved.rng)
    assert key[0] == key[1]


def test_the_state_may_be_donated_while_it_is_being_saved(tmp_path):
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0)
    state = make_state()
    expected = bits(state)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state, 1)
        jax.block_until_ready(overwrite((state.params, state.scores)))
        checkpoints.wait()
        assert bits(checkpoints.restore(make_state(2))) == expected


def test_only_the_last_are_kept_and_a_step_is_saved_once(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in (1, 2, 3, 3):
            checkpoints.save(make_state(step), step)
            checkpoints.wait()
        assert checkpoints.latest() == 3
    steps = [path.name for path in (tmp_path / "c").iterdir() if path.name.isdigit()]
    assert sorted(steps) == ["2", "3"] and len(steps) == KEPT


KILLED = """
import os, signal, sys
from pathlib import Path
import test_checkpoints as t
from mpjax.runs.checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save(t.make_state(1), 1)
checkpoints.wait()
checkpoints.save(t.make_state(2), 2)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_the_checkpoint_before(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "c")]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(mpjax.__file__).parents[1])])
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert killed.returncode == -signal.SIGKILL
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() == 1
        assert bits(checkpoints.restore(make_state(5))) == bits(make_state(1))
        checkpoints.save(make_state(2), 2)
        checkpoints.wait()
        assert bits(checkpoints.restore(make_state(5))) == bits(make_state(2))


def test_a_damaged_checkpoint_is_named(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(make_state(), 4)
    (tmp_path / "c" / "4" / "default" / "_METADATA").write_bytes(b"{")
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        pytest.raises(InputError, match=r"checkpoint 4 in .* cannot be read"),
    ):
        checkpoints.restore(make_state())
