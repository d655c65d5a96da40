"""Churn of masks and warnings in the folder of a run."""

import jax
import numpy as np
import pytest
import tiny

from mpjax import hostmemory
from mpjax.log import log
from mpjax.optim import OptimizerConfig, make_optimizer
from mpjax.parallel.sharding import make_mesh
from mpjax.pruning import Pruning, flatten, make_rule
from mpjax.runs import folder, journal
from mpjax.runs.folder import RunDir
from mpjax.training.recording.churn import NEVER, ChurnMeasure, churn, churn_measure
from mpjax.training.recording.warned import kept_warnings
from mpjax.training.state import TrainState, create_in_shards, create_state
from mpjax.training.step import kept_marks, make_measure


def measure_of(pruning: Pruning) -> ChurnMeasure:
    def measure(values, state, kept, before):
        return churn(state, pruning, kept, before, values)

    return churn_measure(pruning, measure, jax.jit(lambda state: kept_marks(state, pruning)))


def state_in_shards(params, pruning: Pruning, mesh) -> TrainState:
    tx = make_optimizer(OptimizerConfig(0.1, 0.1, warmup_steps=0), pruning, 10)
    return create_in_shards(
        lambda params, scores: create_state(params, pruning, tx, scores=scores), mesh, params, None
    )[0]


def state_of(pruning: Pruning, seed: int) -> TrainState:
    """A state whose weights and scores follow from a seed."""
    random = np.random.default_rng(seed)
    params = {f"layer_{i}": {"kernel": random.normal(size=(8, 6)).astype("f4")} for i in range(2)}
    tx = make_optimizer(OptimizerConfig(0.1, 0.1, warmup_steps=0), pruning, 10)
    scores = jax.tree.map(lambda w: random.normal(size=w.shape).astype("f4"), params)
    return create_state(params, pruning, tx, scores=scores if pruning.rule.has_scores else None)


@pytest.mark.parametrize("name", ["magnitude", "movement", "l0"])
def test_changes_equal_numpy(name):
    rule = make_rule(name, initial=0.5, final=0.5) if name != "l0" else make_rule("l0")
    pruning = Pruning(rule)
    states = [state_of(pruning, seed) for seed in (0, 1)]
    measure = measure_of(pruning)
    first, second = (dict(jax.device_get(measure(state))) for state in states)
    assert first.pop(journal.CHANGES)["since"] == NEVER
    found = second.pop(journal.CHANGES)
    plain = make_measure(pruning)(states[1])
    assert second == {key: float(value) for key, value in plain.items()}

    def kept(state: TrainState) -> dict:
        pruned, _ = pruning.prune(state.params, state.scores, 0.5)
        return {path: np.asarray(w) != 0 for path, w in flatten(pruned).items()}

    then, now = map(kept, states)
    dropped = sum(int((then[p] & ~now[p]).sum()) for p in now)
    regrown = sum(int((now[p] & ~then[p]).sum()) for p in now)
    assert float(found["dropped"]) == pytest.approx(dropped / 96) and dropped > 0
    assert float(found["regrown"]) == pytest.approx(regrown / 96) and regrown > 0
    changed = {str(i): np.mean(then[f"layer_{i}/kernel"] != now[f"layer_{i}/kernel"])
               for i in range(2)}  # fmt: skip
    assert {k: float(v) for k, v in found["layers"].items()} == pytest.approx(changed)


def test_marks_come_out_split_as_they_go_in():
    pruning, mesh = Pruning(make_rule("movement", final=0.5)), make_mesh()
    params = {"layer_0": {"kernel": np.ones((8, 16), "f4")}}
    state = state_in_shards(params, pruning, mesh)
    assert not state.scores["layer_0"]["kernel"].sharding.is_fully_replicated
    measure = measure_of(pruning)
    measure(state)
    measure(state)  # gives the marks of the first call away, which warns if they fit nowhere
    marks = measure._before.kept["layer_0"]["kernel"]
    assert marks.sharding.is_equivalent_to(state.params["layer_0"]["kernel"].sharding, 2)


@pytest.mark.parametrize("name", ["magnitude", "l0"])
def test_a_measure_is_compiled_once(name):
    pruning = Pruning(make_rule(name, final=0.5) if name == "magnitude" else make_rule(name))
    params = {"layer_0": {"kernel": np.ones((8, 16), "f4")}}
    state = state_in_shards(params, pruning, make_mesh())
    measure, compiled = measure_of(pruning), []

    def listen(event: str, duration: float, **about: object) -> None:
        if event == hostmemory._COMPILED and about.get("fun_name") == "jit(measure)":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(3):
            measure(state)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) == 1


def test_without_pruning_nothing_is_measured():
    assert churn(TrainState(0, {}, {}, (), None), None, None, None)[0] == {}


def test_warnings_reach_the_folder_of_a_run(tmp_path):
    run = RunDir(tmp_path)
    with kept_warnings(run, True):
        log.warning("before the %s", "folder")
        assert not run.warnings.exists()
        run.config.write_text("{}")
        log.warning("a\nline")
        log.info("no warning")
    log.warning("after the run")
    lines = run.warnings.read_text().splitlines()
    assert len(lines) == 2 and '"before the folder"' in lines[0] and "a\\\\nline" in lines[1]


@pytest.mark.slow
def test_a_run_records_the_changes_of_its_masks(tmp_path):
    from mpjax.training.train import train

    train(tiny.config(tmp_path, steps=4, log_every=1))
    lines = folder.read_lines(RunDir(tmp_path / "run").masks)
    assert [(line["since"], line["step"]) for line in lines] == [(0, 1), (1, 2), (2, 3)]
    dropped = sum(line["dropped"] - line["regrown"] for line in lines)
    metrics = [line["density"] for line in folder.read_lines(RunDir(tmp_path / "run").metrics)
               if "density" in line]  # fmt: skip
    assert dropped == pytest.approx(metrics[0] - metrics[-1], abs=1e-3)


@pytest.mark.slow
def test_a_missed_density_is_among_the_warnings_of_a_run(tmp_path):
    from mpjax.training.train import train

    config = tiny.config(tmp_path, steps=4, structure="heads", density=0.3)
    train(config)
    assert "where 30.00% was asked for" in RunDir(tmp_path / "run").warnings.read_text()
