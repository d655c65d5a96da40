"""Checkpoints: every bit comes back, and half-saved ones do not count."""

import errno
import os
import shutil
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
from mpjax.runs import records
from mpjax.runs.checkpoints import KEPT, Checkpoints, read_latest
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


def two_checkpoints(folder, **options):
    with Checkpoints(folder, **options) as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), step)


def restore(folder, **options):
    with Checkpoints(folder, **options) as checkpoints:
        return checkpoints.latest(), checkpoints.restore(make_state(7))


FILES_OF_A_CHECKPOINT = 12  # at least


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << (len(content) % 8)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize("break_it", [flip_a_bit, cut, Path.unlink])
def test_whatever_is_damaged_is_named_and_the_one_before_is_used(tmp_path, caplog, break_it):
    folder = tmp_path / "c"
    two_checkpoints(folder)
    names = [p.relative_to(folder / "2") for p in (folder / "2").rglob("*") if p.is_file()]
    assert len(names) >= FILES_OF_A_CHECKPOINT
    for name in names:
        if break_it is Path.unlink and name.name == records.RECORD:
            continue  # without it nothing is a checkpoint, see the killed process
        shutil.copytree(folder, again := tmp_path / "again")
        break_it(again / "2" / name)
        caplog.clear()
        step, state = restore(again)
        assert (step, bits(state)) == (1, bits(make_state(1))), name
        assert f"checkpoint 2 in {again}" in caplog.text and name.name in caplog.text
        assert sorted(p.name for p in again.iterdir()) == ["1", "damaged-2"]
        with Checkpoints(again) as checkpoints:  # the next save removes it
            checkpoints.save(make_state(2), 2)
        assert sorted(p.name for p in again.iterdir()) == ["1", "2"]
        assert bits(restore(again)[1]) == bits(make_state(2))
        shutil.rmtree(again)


def test_a_damaged_checkpoint_is_refused_where_none_is_left_and_when_strict(tmp_path):
    two_checkpoints(folder := tmp_path / "c")
    flip_a_bit(folder / "2" / "state" / "_METADATA")
    with pytest.raises(InputError, match=r"checkpoint 2 in .*_METADATA.*Without --strict"):
        restore(folder, strict=True)
    with pytest.raises(InputError, match=r"checkpoint 2 in .* is damaged: state/_METADATA"):
        read_latest(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"], "reading moves nothing"
    cut(folder / "1" / "state" / "_METADATA")
    with pytest.raises(InputError, match=r"checkpoint 1 .*No checkpoint is left"):
        restore(folder)


def test_a_record_that_was_changed_is_named(tmp_path):
    two_checkpoints(folder := tmp_path / "c", rank=lambda score: 71.5)
    record = folder / "2" / records.RECORD
    assert "71.5" in record.read_text()
    record.write_text(record.read_text().replace("71.5", "91.5"))
    with pytest.raises(InputError, match=r"checkpoint 2 .*record.json has other content"):
        restore(folder, strict=True)


@pytest.mark.parametrize(
    "damaged", [b"\xf8 not text", b'{"rank": 99.0}', None], ids=["bytes", "other", "one digit"]
)
def test_a_damaged_record_of_an_older_checkpoint_stops_no_save(tmp_path, caplog, damaged):
    folder = tmp_path / "c"
    with Checkpoints(folder, keep=2, rank=lambda score: score) as checkpoints:
        for step, score in {1: 50.0, 2: 60.0}.items():
            checkpoints.save(make_state(step), step, score)
        checkpoints.wait()
        record = folder / "1" / records.RECORD
        record.write_bytes(damaged or record.read_bytes().replace(b"50.0", b"90.0"))
        checkpoints.save(make_state(3), 3, 55.0)
    assert records.steps(folder) == [2, 3]  # 1 has not become the best
    said = caplog.text
    assert f"{record}" in said and "not ranked" in said


def test_growing_files_come_back_as_they_were_at_the_checkpoint(tmp_path):
    journal = tmp_path / "metrics.jsonl"
    journal.write_bytes(b"one\n")
    two_checkpoints(tmp_path / "c", files={"metrics.jsonl": journal})
    journal.write_bytes(b"damaged")
    restore(tmp_path / "c", files={"metrics.jsonl": journal})
    assert journal.read_bytes() == b"one\n"


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    two_checkpoints(folder := tmp_path / "c")
    state = make_state(3)
    state.params["bert"]["kernel"] = state.params["bert"]["kernel"].at[1, 2].set(np.nan)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(InputError, match=r"\['params'\]\['bert'\]\['kernel'\] is not finite"):
            checkpoints.save(state, 3)
        assert checkpoints.latest() == 2


def test_the_best_is_kept_besides_the_newest(tmp_path):
    scores = {1: 70.0, 2: 90.0, 3: None, 4: 80.0, 5: None}
    with Checkpoints(tmp_path / "c", keep=1, rank=lambda score: score) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(make_state(step), step, score)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "5"]


def test_nothing_is_deleted_before_its_successor_is_whole(tmp_path, monkeypatch):
    two_checkpoints(folder := tmp_path / "c", keep=1)
    assert [p.name for p in folder.iterdir()] == ["2"]

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(records, "write_json", full)
    with (
        pytest.raises(InputError, match=r"checkpoint 3 cannot be written.*No space left.*GB are"),
        Checkpoints(folder, keep=1) as checkpoints,
    ):
        checkpoints.save(make_state(3), 3)
    monkeypatch.undo()
    assert restore(folder)[0] == 2
    two_checkpoints(tmp_path / "c")  # a later save removes what the failed one left
    assert bits(restore(folder)[1]) == bits(make_state(2))


def test_a_checkpoint_of_other_options_is_named(tmp_path):
    two_checkpoints(folder := tmp_path / "c")
    template = make_state(1)
    template = template.replace(params={"other": template.params["head"]})  # pyright: ignore
    with (
        Checkpoints(folder) as checkpoints,
        pytest.raises(InputError, match=r"checkpoint 2 in .* cannot be read"),
    ):
        checkpoints.restore(template)
