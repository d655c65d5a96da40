"""One program serves runs that differ in hyperparameters and seed, and makes each cut once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import mpjax
from mpjax import hostmemory
from mpjax.config.resolve import resolve
from mpjax.optim import OptimizerConfig, make_optimizer
from mpjax.pruning import Pruning, make_rule, top_v
from mpjax.training import programs as programs_of
from mpjax.training.prepare import prepare
from mpjax.training.programs import own_hyperparameters, run_programs
from mpjax.training.recording import churn
from mpjax.training.state import create_state
from mpjax.training.step import finalize, kept_marks
from mpjax.training.train import train

# Options of a run, and others that leave its programs as they are.
SHARED = {
    "movement": ({"density": 0.3}, {"density": 0.1, "learning_rate": 3e-3, "seed": 5}),
    "recipe": (
        {
            "steps": 16,
            "scope": "global",
            "score_optimizer": "sensitivity",
            "prune_every": 2,
            "density": 0.3,
        },
        {"density": 0.2, "seed": 1},
    ),
    "l0": ({"method": "l0", "final_lambda": 1.0, "density": None}, {"final_lambda": 9.0}),
    "steered": ({"method": "soft_movement"}, {"density": 0.2, "score_learning_rate": 0.3}),
    "dense": ({"method": "dense", "density": None}, {"learning_rate": 1e-3, "seed": 2}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("programs")
    tiny.options(root)
    return root


@pytest.fixture
def compiled():
    """Names of the programs that are compiled or fetched from the cache, in order."""
    names: list[str] = []

    def listen(event: str, duration: float, **about: object) -> None:
        if event == hostmemory._COMPILED:
            names.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_another_density_rate_or_seed_compiles_nothing(root, tmp_path, name):
    options, others = SHARED[name]
    with tiny.compiled_programs(tmp_path / "cache") as folder:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.clear_caches()
        train(tiny.config(root, **options, output=str(tmp_path / "one")))
        made = {path.name for path in folder.iterdir() if path.name.endswith("-cache")}
        assert any("train_step" in name for name in made)
        jax.clear_caches()
        changed = {**options, **others, "checkpoint_every": 4, "eval_every": 4}
        train(tiny.config(root, **changed, output=str(tmp_path / "other")))
        new = {path.name for path in folder.iterdir() if path.name.endswith("-cache")} - made
    assert not new


@pytest.mark.parametrize("name", ["magnitude", "l0"])
def test_log_lines_and_the_final_model_share_one_search_for_the_cut(
    root, compiled, monkeypatch, name
):
    given = []
    for module, function in ((churn, "measure_marks"), (programs_of, "finalize")):
        whole = getattr(module, function)

        def watched(*args, whole=whole, kept=None, **options):
            given.append(kept)
            return whole(*args, kept=kept, **options)

        monkeypatch.setattr(module, function, watched)
    state, programs = run_programs(prepare(resolve(tiny.config(root, method=name, density=0.3))))
    for _ in range(2):
        programs.measure(state)
        programs.finalize(state)
    assert len(given) == 2 and None not in given  # traced once each, with the marks
    for function in ("select", "measure", "finalize"):
        assert compiled.count(f"jit({function})") == 1


RULES = {
    "magnitude": make_rule("magnitude", initial=0.4, final=0.4),
    "movement": make_rule("movement", initial=0.4, final=0.4),
    "soft_movement": make_rule("soft_movement", initial=0.5, final=0.5),
    "l0": make_rule("l0", initial=0.4, final=0.4),
}


def state_of(pruning: Pruning):
    random = np.random.default_rng(0)
    params = {f"layer_{i}": {"kernel": random.normal(size=(8, 6)).astype("f4")} for i in range(2)}
    scores = jax.tree.map(lambda w: random.normal(size=w.shape).astype("f4"), params)
    tx = make_optimizer(OptimizerConfig(0.1, 0.1, warmup_steps=0), pruning, 10)
    return create_state(params, pruning, tx, scores=scores if pruning.rule.has_scores else None)


@pytest.mark.parametrize("name", RULES)
def test_marks_made_once_give_the_parameters_of_a_cut_of_its_own(name):
    pruning = Pruning(RULES[name])
    state = state_of(pruning)
    marks = kept_marks(state, pruning)
    assert marks is not None
    shared, own = finalize(state, pruning, kept=marks), finalize(state, pruning)
    assert 0 < np.count_nonzero(own["layer_0"]["kernel"]) < 48
    jax.tree.map(np.testing.assert_array_equal, shared, own)


def test_gates_that_do_not_follow_from_their_marks_are_kept():
    @dataclasses.dataclass(frozen=True)
    class Soft(mpjax.Rule):
        def masks(self, kernels, scores, threshold, noise=None):
            marks = top_v(scores, threshold, self)
            return jax.tree.map(lambda s, m: jax.nn.sigmoid(s) * m, scores, marks)

    pruning = Pruning(Soft(initial=0.5, final=0.5))
    state = state_of(pruning)
    assert kept_marks(state, pruning) is None
    final = finalize(state, pruning, kept=kept_marks(state, pruning))
    marks = top_v(state.scores, 0.5, pruning.rule)

    def check(weights, scores, marks, found):
        np.testing.assert_allclose(found, weights * jax.nn.sigmoid(scores) * marks, rtol=1e-6)

    jax.tree.map(check, state.params, state.scores, marks, final)


def test_the_density_of_a_plugin_stays_a_number(root):
    @dataclasses.dataclass(frozen=True)
    class Quantile(mpjax.Rule):
        def masks(self, kernels, scores, threshold, noise=None):
            def above(scores):
                return scores >= jnp.quantile(scores, 1 - threshold)

            return jax.tree.map(above, scores)

    job = prepare(resolve(tiny.config(root)))
    ours = own_hyperparameters(job)
    assert float(ours.final_threshold) == pytest.approx(0.3) and ours.final_counts
    theirs = dataclasses.replace(job, pruning=dataclasses.replace(job.pruning, rule=Quantile()))
    values = own_hyperparameters(theirs)
    assert values.final_threshold is None and values.final_counts is None
    state, programs = run_programs(theirs)
    assert float(programs.measure(state)["density"]) == 1
