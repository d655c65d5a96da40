"""Numbers that are not finite: found at once, never saved, and the run can go on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from safetensors.numpy import load_file

from mpjax import cli, files
from mpjax.errors import InputError
from mpjax.optim import (
    OptimizerConfig,
    SkipState,
    clip_grad_norm,
    find_state,
    make_optimizer,
    skip_not_finite,
)
from mpjax.pruning import Pruning, make_rule
from mpjax.runs import folder
from mpjax.runs.checkpoints import Checkpoints, read_latest
from mpjax.runs.finite import not_finite
from mpjax.runs.folder import RunDir
from mpjax.runs.journal import Deferred
from mpjax.tasks.batches import Batches
from mpjax.training import prepare
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")
BAD = 4  # step whose loss is made NaN


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def nan_at(monkeypatch):
    """Function of steps, from 1, whose loss and gradients become NaN from then on."""

    def poison(*steps):
        give, make = Batches.batch, prepare.make_loss

        def batch(self, step, *more, **named):
            found = dict(give(self, step, *more, **named))
            found["poison"] = np.full(len(found["labels"]), step + 1 in steps)
            return found

        def make_loss(config, head, weights):
            loss = make(config, head, weights)
            return lambda logits, batch: (
                loss(logits, batch) * jnp.where(batch["poison"].any(), jnp.nan, 1.0)
            )

        monkeypatch.setattr(Batches, "batch", batch)
        monkeypatch.setattr(prepare, "make_loss", make_loss)

    return poison


def _unreadable(self, template):
    raise InputError("checkpoint 2 cannot be read")


def options(root, path, **changes):
    return tiny.options(root, output=str(path), checkpoint_every=2, **changes)


def start(root, path, **changes):
    return train(tiny.config(root, **options(root, path, **changes)))


@pytest.mark.slow
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_run_stops_at_the_step_and_goes_on_with_another_rate(
    log_every, root, tmp_path, nan_at, monkeypatch
):
    run = RunDir(tmp_path / "run")
    with monkeypatch.context():
        nan_at(BAD)
        message = (
            rf"the loss is nan at step {BAD}: training diverged.*checkpoint of step 2 is good.*"
            "--continue-with learning-rate"
        )
        for _ in range(2):  # again: the checkpoint before is still there and still good
            with pytest.raises(InputError, match=message):
                start(root, run.path, log_every=log_every)
            assert not_finite(read_latest(run.checkpoints)) is None
            assert all(
                np.isfinite(r["loss"]) for r in folder.read_lines(run.metrics) if "loss" in r
            )
    monkeypatch.undo()
    change = {"log_every": log_every, "continue_with": "learning-rate=1e-3,clip=0.5"}
    with monkeypatch.context() as broken:
        broken.setattr(Checkpoints, "restore", _unreadable)
        with pytest.raises(InputError, match="cannot be read"):
            start(root, run.path, **change)
    assert files.read_object(run.config)["clip"] == 1.0, "a run that did not go on is unchanged"
    began = []
    with monkeypatch.context() as watched:
        watched.setattr("mpjax.training.train.begin_reports", lambda *args: began.append(args[2]))
        result = start(root, run.path, **change)
    assert began == [2], "trackers get the later steps again"
    assert result["steps"] == tiny.STEPS
    config = files.read_object(run.config)
    assert (config["learning_rate"], config["clip"]) == (1e-3, 0.5)
    last = files.read_object(run.provenance)["sessions"][-1]
    assert last["changes"] == {"learning_rate": [1e-2, 1e-3], "clip": [1.0, 0.5]}
    assert last["from_step"] == 2
    rates = [r["learning_rate"] for r in folder.read_lines(run.metrics) if "loss" in r]
    np.testing.assert_allclose(rates[-1], 0.2e-3, rtol=1e-6)
    assert start(root, run.path, **change) == result, "finished: the same command shows it"
    anew = {"continue_with": "learning-rate=2e-3,clip=0.5"}
    with pytest.raises(InputError, match=r"finished: .* cannot change its learning-rate; choose"):
        start(root, run.path, log_every=log_every, **anew)
    with pytest.raises(InputError, match=r"--learning-rate was 0.001, now 0.01"):
        start(root, run.path, log_every=log_every)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["movement", "soft_movement", "dense"])
def test_an_update_is_skipped_and_counted(method, root, tmp_path, nan_at, caplog):
    nan_at(2, BAD)
    density = {"density": None} if method == "dense" else {}
    run = RunDir(tmp_path / "run")
    result = start(root, run.path, method=method, on_nan="skip", max_skipped=2, **density)
    assert result["steps"] == tiny.STEPS
    counts = {r["step"]: r.get("skipped", 0) for r in folder.read_lines(run.metrics) if "loss" in r}
    assert counts == {1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}
    losses = {r["step"]: r["loss"] for r in folder.read_lines(run.metrics) if "loss" in r}
    assert [step for step, loss in losses.items() if loss is None] == [2, BAD]
    assert "at step 2: its update is skipped (1 of at most 2)" in caplog.text
    if method != "dense":
        assert result["linear_density"] == pytest.approx(0.3, abs=3e-3)
    assert all(np.isfinite(t).all() for t in load_file(run.model / "model.safetensors").values())
    with pytest.raises(InputError, match=f"at step {BAD} after 1 skipped updates"):
        start(root, tmp_path / "few", method=method, on_nan="skip", max_skipped=1, **density)


@pytest.mark.slow
def test_a_member_of_a_sweep_that_diverges_ends_alone_and_once(root, tmp_path, nan_at):
    output = str(tmp_path / "sweep")
    options = {"log_every": 2, "devices": None, "density": None}
    words = tiny.command(root, output=output, **options)
    words = ["sweep", *words[1:], "--density", "0.5,0.3", "--memory", "1"]
    nan_at(BAD + 1)
    assert cli.main(words) == 0
    result = json.loads((tmp_path / "sweep" / "result.json").read_text())
    assert [row["diverged"] for row in result["members"]] == [BAD + 1] * 2
    for member in (tmp_path / "sweep" / "members").iterdir():
        *lines, last = folder.read_lines(member / "metrics.jsonl")
        assert last == {"step": BAD + 1, "diverged": last["diverged"]}
        assert [line["step"] for line in lines] == [2, BAD]


def test_a_change_is_refused_where_it_means_nothing(root, tmp_path):
    with pytest.raises(InputError, match="--continue-with is for a run that has begun"):
        start(root, tmp_path / "new", continue_with="learning-rate=1")
    for text in ("seed=1", "learning-rate", "learning-rate=fast", "density=0.5"):
        with pytest.raises(InputError, match=f"--continue-with {text}"):
            start(root, tmp_path / "new", continue_with=text)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "rule", [None, make_rule("movement"), make_rule("soft_movement", density=0.5)]
)
def test_a_skipped_update_changes_no_variable_and_leaves_the_state_finite(rule):
    pruning = rule and Pruning(rule, r".*kernel")
    params = {"a": {"kernel": jnp.ones((4, 4)), "bias": jnp.zeros(4)}}
    scores = {"a": {"kernel": jnp.ones((4, 4))}} if rule else {}
    variables = {"params": params, "scores": scores}
    tx = make_optimizer(OptimizerConfig(learning_rate=0.1, warmup_steps=1), pruning, 10)
    grads = jax.tree.map(lambda x: jnp.full_like(x, 0.5), variables)
    bad = {**grads, "params": {"a": {**grads["params"]["a"], "bias": jnp.full(4, jnp.inf)}}}
    bad["scores"] = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), grads["scores"])
    state = tx.init(variables)
    for _ in range(3):
        _, state = tx.update(grads, state, variables)
    updates, state = tx.update(bad, state, variables)
    assert not any(np.any(u) for u in jax.tree.leaves(updates))
    assert not_finite(state) is None
    updates, state = tx.update(grads, state, variables)
    assert all(np.any(u) for u in jax.tree.leaves(updates)) and not_finite(state) is None


def test_an_entry_that_an_update_would_make_infinite_stays():
    params = {"kernel": jnp.array([[3e38, 1.0], [-3e38, 2.0]]), "bias": jnp.ones(2)}
    tx = make_optimizer(OptimizerConfig(learning_rate=1e38, warmup_steps=0), None, 10)
    variables = {"params": params, "scores": {}}
    state = tx.init(variables)
    grads = jax.tree.map(lambda x: jnp.full_like(x, -0.5), variables)  # upwards
    updates, state = tx.update(grads, state, variables)
    moved = np.asarray(updates["params"]["kernel"]) != 0
    assert moved.tolist() == [[False, True], [True, True]]
    assert np.all(updates["params"]["bias"]) and int(find_state(state, SkipState).skipped) == 0
    assert not_finite(optax.apply_updates(variables, updates)) is None


def test_an_entry_stays_finite_in_the_dtype_that_holds_it():
    # Finite in float32, and beyond bfloat16.
    params = {"w": jnp.array([3.389e38, 1.0], jnp.bfloat16)}
    grads = {"w": jnp.array([-1.0, -1.25e-36])}
    tx = skip_not_finite(optax.chain(clip_grad_norm(jnp.inf), optax.sgd(8e35)))
    state = tx.init(params)
    moved = params["w"] + jnp.array([8e35, 1.0])
    assert jnp.isfinite(moved).all() and not jnp.isfinite(moved.astype(jnp.bfloat16)).all()
    updates, _ = tx.update(grads, state, params)
    assert not_finite(optax.apply_updates(params, updates)) is None
    np.testing.assert_allclose(updates["w"], [0.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("name", ["learning_rate", "score_learning_rate"])
def test_a_rate_that_could_make_a_weight_infinite_is_refused(name, root, tmp_path):
    with pytest.raises(InputError, match=rf"--{name.replace('_', '-')} is 3e\+38; it must be at"):
        start(root, tmp_path / "run", **{name: 3e38})
    assert not (tmp_path / "run").exists()


def test_a_run_of_the_highest_rate_ends_by_its_gradients(root, tmp_path):
    with pytest.raises(InputError, match=r"the .* is (nan|inf) at step \d: training diverged"):
        start(root, tmp_path / "run", learning_rate=1e30, warmup=0)


def test_a_chain_without_the_norm_is_refused():
    with pytest.raises(ValueError, match="needs a chain with clip_grad_norm"):
        skip_not_finite(optax.sgd(1.0)).init({})


def test_metrics_are_read_in_order_and_never_of_the_newest_step():
    seen = []
    late = Deferred(lambda step, metrics: seen.append((step, float(metrics["task_loss"]))))
    for step in range(1, 5):
        late.put(step, {"task_loss": jnp.asarray(step / 2), "other": jnp.ones(3)})
        assert len(seen) == step - 1
    late.flush()
    assert seen == [(step, step / 2) for step in range(1, 5)]
