"""The train step: what it reports, what it compiles, and its gradients and losses."""

import dataclasses
import re
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.errors import InputError
from mpjax.models import FROZEN, PRUNABLE, BertConfig, encoder
from mpjax.optim.make import OptimizerConfig, make_optimizer
from mpjax.pruning import RULES, Pruning, flatten, make_rule, select
from mpjax.training.accumulation import value_and_grad
from mpjax.training.losses import distillation_loss, mlm_loss, qa_loss, task_loss
from mpjax.training.predict import make_predict
from mpjax.training.state import create_state
from mpjax.training.step import finalize, make_gradients, make_measure, make_train_step

CONFIG = BertConfig(
    vocab_size=53, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=24, max_position_embeddings=16,
)  # fmt: skip
OPTIMIZER = OptimizerConfig(
    learning_rate=1e-3, score_learning_rate=0.1, warmup_steps=2, final_lambda=20.0, frozen=FROZEN
)
TOTAL = 12


def make_batch(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    lengths = rng.integers(4, 13, size=16)
    return {
        "input_ids": rng.integers(0, 53, size=(16, 12)).astype(np.int32),
        "attention_mask": (np.arange(12)[None] < lengths[:, None]).astype(np.int32),
        "token_type_ids": np.zeros((16, 12), np.int32),
        "labels": rng.integers(0, 2, size=16).astype(np.int32),
    }


LOSS = task_loss("classification")


def build(name: str, dropout: float = 0.1, loss=LOSS):
    config = dataclasses.replace(
        CONFIG, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )
    pruning = None if name == "dense" else Pruning(make_rule(name), PRUNABLE)
    tx = make_optimizer(OPTIMIZER, pruning, TOTAL)
    dtype = jnp.result_type(float)
    module = encoder(config, "classification", dtype=dtype, param_dtype=dtype)
    params = module.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    state = create_state(params, pruning, tx, seed=1)
    step = make_train_step(module, pruning, tx, loss)
    return module, pruning, state, step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", *sorted(RULES)])
def test_step_is_traced_once_moves_what_it_should_and_reports(name, monkeypatch):
    traced = []

    def counted(function):
        return lambda *args: traced.append(function) or function(*args)

    monkeypatch.setattr(Pruning, "density", counted(Pruning.density))
    _, pruning, state, step = build(name, loss=counted(LOSS))
    frozen = np.asarray(state.params["bert"]["embeddings"]["word"]["embedding"])
    kernel = np.asarray(state.params["classifier"]["kernel"])
    measure = make_measure(pruning)
    for t in range(TOTAL):
        measures = measure(state)
        state, metrics = step(state, make_batch(t))
        assert set(metrics) == {"task_loss", "grad_norm", "skipped"}
        assert all(np.isfinite(v) for v in (metrics | measures).values())
    assert traced.count(LOSS) == 1 and len(traced) == (1 if pruning is None else 2)
    assert int(state.step) == TOTAL
    np.testing.assert_array_equal(state.params["bert"]["embeddings"]["word"]["embedding"], frozen)
    assert not np.array_equal(state.params["classifier"]["kernel"], kernel)
    if pruning is None:
        assert measures == {}
        return
    assert set(measures) == {"threshold", "lam", "penalty", "density"}
    finalized = select(finalize(state, pruning), PRUNABLE)
    kept = sum(int(jnp.count_nonzero(w)) for w in jax.tree.leaves(finalized))
    sizes = [w.size for w in jax.tree.leaves(finalized)]
    rule = pruning.rule
    if rule.is_density and rule.final < 1:
        assert kept == sum(int(rule.final * n) for n in sizes)
        assert float(measures["density"]) == pytest.approx(kept / sum(sizes), rel=1e-5)


@pytest.mark.slow
def test_pruned_weights_get_no_gradient_and_their_scores_do(x64):
    module, pruning, state, _ = build("movement", dropout=0.0)
    scores = jax.tree.map(
        lambda s: jax.random.normal(jax.random.key(3), s.shape, s.dtype), state.scores
    )
    gradients = make_gradients(module, pruning, task_loss("classification"))
    variables = {"params": state.params, "scores": scores}
    (_, (masks, _)), grads = gradients(variables, make_batch(0), 0.3)
    for path, mask in flatten(masks).items():
        weight = np.asarray(flatten(grads["params"])[path])
        score = np.asarray(flatten(grads["scores"])[path])
        assert not weight[~np.asarray(mask)].any()
        if "/key/" not in path:
            assert score[~np.asarray(mask)].any()
        original = np.asarray(flatten(state.params)[path])
        kept = np.asarray(mask)
        np.testing.assert_allclose(score[kept], (weight * original)[kept], atol=1e-15)


@pytest.mark.slow
def test_losses_equal_numpy(x64):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 7, 2))
    start, end = rng.integers(0, 7, 5), rng.integers(0, 7, 5)

    def log_softmax(x, axis):
        x = x - x.max(axis, keepdims=True)
        return x - np.log(np.exp(x).sum(axis, keepdims=True))

    logs = log_softmax(logits, 1)
    rows = np.arange(5)
    expected = -(logs[rows, start, 0].mean() + logs[rows, end, 1].mean()) / 2
    batch = {"start_positions": jnp.asarray(start), "end_positions": jnp.asarray(end)}
    assert float(qa_loss(jnp.asarray(logits), batch)) == pytest.approx(expected, rel=1e-12)

    teacher = rng.normal(size=logits.shape)
    s, t = log_softmax(logits / 2, 1), log_softmax(teacher / 2, 1)
    kl = (np.exp(t) * (t - s)).sum(1)  # (5, 2)
    total = 0.1 * expected + 0.9 * 4 * (kl[:, 0].mean() + kl[:, 1].mean()) / 2
    loss = distillation_loss("qa", temperature=2.0, alpha_ce=0.1, alpha_distil=0.9)
    got = loss(jnp.asarray(logits), {**batch, "teacher_logits": jnp.asarray(teacher)})
    assert float(got) == pytest.approx(total, rel=1e-12)

    words, labels = rng.normal(size=(2, 3, 11)), np.array([[4, -100, -100], [0, -100, 10]])
    logs = log_softmax(words, -1)
    expected = -(logs[0, 0, 4] + logs[1, 0, 0] + logs[1, 2, 10]) / 3
    got = mlm_loss(jnp.asarray(words), {"labels": jnp.asarray(labels)})
    assert float(got) == pytest.approx(expected, rel=1e-12)

    values, target = rng.normal(size=(6, 1)), rng.normal(size=6)
    got = task_loss("regression")(jnp.asarray(values), {"labels": jnp.asarray(target)})
    assert float(got) == pytest.approx(((values[:, 0] - target) ** 2).mean(), rel=1e-12)

    soft = rng.normal(size=(6, 1))
    batch = {"labels": jnp.asarray(target), "teacher_logits": jnp.asarray(soft)}
    got = distillation_loss("regression", alpha_ce=0.25, alpha_distil=0.5)(
        jnp.asarray(values), batch
    )
    expected = 0.25 * ((values[:, 0] - target) ** 2).mean() + 0.5 * ((values - soft) ** 2).mean()
    assert float(got) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_predict_runs_without_dropout():
    module, _, state, _ = build("dense", dropout=0.5)
    predict = make_predict(module)
    batch = make_batch(0)
    np.testing.assert_array_equal(predict(state.params, batch), predict(state.params, batch))


def whole_and_in_parts(head: str, parts: int, module, batch):
    pruning = Pruning(make_rule("movement"), PRUNABLE)
    params = module.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    scores = jax.tree.map(
        lambda w: jax.random.normal(jax.random.key(3), w.shape, w.dtype), select(params, PRUNABLE)
    )
    found = []
    for n in (1, parts):
        gradients = make_gradients(module, pruning, task_loss(head), accumulate=n)
        found.append(jax.jit(gradients)({"params": params, "scores": scores}, batch, 0.3))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("head", ["classification", "mlm"])
def test_microbatches_add_up_to_the_batch(head, x64):
    batch = make_batch(0)
    if head == "mlm":  # unequal numbers of predicted tokens, in one part none at all
        labels = np.full((16, 12), -100, np.int32)
        for row in range(1, 16):
            labels[row, : row % 4 * 3] = row
        batch["labels"] = labels
    module = encoder(CONFIG, head, jnp.float64, jnp.float64)
    (one, grads), (several, parts) = whole_and_in_parts(head, 4, module, batch)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)  # noqa: E731
    jax.tree.map(close, (one, grads), (several, parts))


@pytest.mark.slow
def test_masks_are_made_once_for_all_microbatches():
    made = []

    class Counted(type(make_rule("movement"))):
        def masks(self, *args):
            jax.debug.callback(lambda: made.append(1))
            return super().masks(*args)

    module = encoder(CONFIG, "classification")
    params = module.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    variables = {"params": params, "scores": select(params, PRUNABLE)}
    loss = task_loss("classification")
    gradients = make_gradients(module, Pruning(Counted(), PRUNABLE), loss, accumulate=4)
    jax.block_until_ready(jax.jit(gradients)(variables, make_batch(0), 0.3))
    jax.effects_barrier()
    assert len(made) == 1


@pytest.mark.slow
def test_every_microbatch_drops_other_things():
    config = dataclasses.replace(CONFIG, hidden_dropout_prob=0.5)
    module = encoder(config, "classification")
    params = module.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    batch = {name: np.repeat(x[:1], 4, axis=0) for name, x in make_batch(0).items()}
    gradients = make_gradients(module, None, task_loss("classification"), accumulate=4)
    (_, (_, logits)), _ = gradients({"params": params}, batch, None, jax.random.key(1))
    assert len({tuple(row) for row in np.asarray(logits).tolist()}) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [{"remat": True}, {"scan_layers": True}, {"remat": True, "scan_layers": True}]
)
def test_layers_give_the_same_however_they_are_run(how, x64):
    plain = encoder(CONFIG, "classification", jnp.float64, jnp.float64)
    other = plain.clone(**how)
    params = plain.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    again = other.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    jax.tree.map(np.testing.assert_array_equal, params, again)
    results, programs = [], []
    for module in (plain, other):
        gradients = make_gradients(module, None, task_loss("classification"))
        args = {"params": params}, make_batch(0), None, jax.random.key(7)
        lowered = jax.jit(gradients).lower(*args)
        programs.append(lowered.as_text())
        results.append(lowered.compile()(*args))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)  # noqa: E731
    jax.tree.map(close, *results)
    products = [text.count("dot_general") for text in programs]
    if how == {"remat": True}:
        assert products[1] > products[0], "the layers are computed again"
    else:
        assert products[1] < products[0], "one layer is compiled, not two"


def test_layers_of_different_sizes_are_not_scanned():
    module = encoder(CONFIG, "classification").clone(scan_layers=True)
    params = module.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    layer = params["bert"]["encoder"]["layer_1"]["ffn"]
    layer["in"] = {"kernel": jnp.zeros((16, 8)), "bias": jnp.zeros(8)}
    layer["out"]["kernel"] = jnp.zeros((8, 16))
    with pytest.raises(InputError, match=r"differ in size.*--scan-layers"):
        module.apply({"params": params}, jnp.zeros((1, 4), jnp.int32))


@pytest.mark.slow
def test_the_density_measured_is_of_the_random_gates_that_the_step_trains_with(x64):
    _, pruning, state, step = build("l0")
    measure = make_measure(pruning)

    def momentum(state):
        leaves = jax.tree_util.tree_leaves_with_path(state.opt_state)
        return [
            np.asarray(leaf)
            for path, leaf in leaves
            if re.search(r"\.mu.*'params'.*encoder.*kernel", jax.tree_util.keystr(path))
        ]

    for t in range(6):
        state, _ = step(state, make_batch(t))
    before, density = momentum(state), float(measure(state)["density"])
    state, _ = step(state, make_batch(6))
    # A weight behind a closed gate gets no gradient: its momentum only decays.
    open_ = [np.abs(b - 0.9 * a) > 1e-15 for a, b in zip(before, momentum(state), strict=True)]
    assert 0 < density < 1
    assert density == pytest.approx(np.mean(np.concatenate([o.ravel() for o in open_])), abs=1e-9)


def test_a_state_begins_with_scores_that_lie_in_lists_or_mappings():
    kernels = [{"kernel": jnp.ones((4, 4))}, {"kernel": jnp.ones((4, 2))}]
    pruning = Pruning(make_rule("movement", final=0.1))
    tx = make_optimizer(OptimizerConfig(), pruning, total_steps=10)
    for params in (kernels, {"layers": kernels}):
        first = create_state(params, pruning, tx)
        scores = jax.tree.map(lambda score: score + 2, first.scores)
        given = MappingProxyType(scores) if isinstance(scores, dict) else scores
        again = create_state(params, pruning, tx, scores=given)
        assert jax.tree.structure(again) == jax.tree.structure(first)
        assert all(jnp.all(score == 2) for score in jax.tree.leaves(again.scores))


def test_an_optimiser_made_without_the_pruning_is_refused():
    """It has no schedule: its step would prune nothing, and say so nowhere."""
    module, pruning, state, _ = build("movement")
    plain = make_optimizer(OPTIMIZER, None, TOTAL)
    bare = create_state(state.params, pruning, plain)
    message = "no sparsity schedule, so movement would prune nothing"
    with pytest.raises(ValueError, match=message):
        finalize(bare, pruning)
    with pytest.raises(ValueError, match=message):
        make_measure(pruning)(bare)
    step = make_train_step(module, pruning, plain, task_loss("classification"))
    with pytest.raises(ValueError, match=message):
        step(bare, make_batch(0))
    with pytest.raises(ValueError, match="the state has scores but no pruning is given"):
        finalize(state, None)


def test_rows_that_microbatches_do_not_divide_are_refused():
    step = value_and_grad(lambda params, batch, key: (jnp.sum(params), batch["x"]), parts=3)
    with pytest.raises(InputError, match="4 rows has no 3 microbatches of equal size: 1 rows"):
        step(jnp.ones(2), {"x": jnp.ones((4, 2))}, None)
