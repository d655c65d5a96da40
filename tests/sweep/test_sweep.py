"""A sweep: every member as its own run would be, one compilation, resumable, refused in time."""

import dataclasses
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from disks import tree
from safetensors.numpy import load_file

from mpjax import cli, models
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError, Interrupted
from mpjax.runs import label_words
from mpjax.sweep import curve
from mpjax.sweep import sweep as sweeps
from mpjax.sweep.journals import Journals
from mpjax.sweep.placement import place_members
from mpjax.sweep.sweep import member_configs, sweep
from mpjax.training.memory.announce import job_memory
from mpjax.training.prepare import prepare
from mpjax.training.programs import host_hyperparameters
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")

LONG = {"data": "long", "max_length": 32, "single_length": False}  # batches of two lengths
# By method and scope: options, values, and the member that is also trained alone, which shares no
# value with the first one, from which the program is made.
CASES = {
    "movement": (
        {"eval_every": 3, "structure": "attention=element,ffn=units"},
        {"density": (0.5, 0.29), "seed": (0, 1)},
        (0.29, 1),
    ),
    "soft_movement": (
        {"weight_decay": 0.1, **LONG},
        {"final_lambda": (1.0, 50.0), "score_learning_rate": (0.1, 0.5)},
        (50.0, 0.5),
    ),
    "l0": (
        {},
        {"density": (0.5, 0.2), "final_lambda": (1.0, 50.0), "learning_rate": (1e-3, 1e-2)},
        (0.2, 50.0, 1e-2),
    ),
    "movement global": (
        {"model": "steady", **LONG},
        {"density": (0.5, 0.29), "seed": (0, 1)},
        (0.29, 1),
    ),
    "movement global platon": (
        {"score_optimizer": "platon", "prune_every": 2, "dense_gradient": True, "steps": 20},
        {"density": (0.5, 0.29), "learning_rate": (1e-3, 1e-2)},
        (0.29, 1e-2),
    ),
    "soft_movement local steered": (
        {"score_learning_rate": 1.0}, {"density": (0.5, 0.29), "seed": (0, 1)}, (0.29, 1),
    ),
    "magnitude global": (
        {}, {"density": (0.5, 0.29), "learning_rate": (1e-3, 1e-2)}, (0.29, 1e-2),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    tiny.options(root)
    tiny.model(root / "steady", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (root / "long").mkdir()
    header, *rows = (root / "data" / "train.tsv").read_text().splitlines()
    doubled = [row.replace("\t", f" {row[:-2]}\t") if i % 2 else row for i, row in enumerate(rows)]
    (root / "long" / "train.tsv").write_text("\n".join([header, *doubled]) + "\n")
    shutil.copy(root / "data" / "dev.tsv", root / "long")
    return root


@pytest.fixture
def double(x64, monkeypatch):
    """Parameters in float64, for runs and sweeps."""

    def load(folder, task, dtype, seed, masked=True):
        del dtype, masked  # plain folders have no scores
        labels = task.labels or None
        kind = jnp.float64
        return models.load_model(
            folder, "classification", labels=labels, seed=seed, dtype=kind, param_dtype=kind
        )

    monkeypatch.setattr(label_words, "load_for_task", load)


@pytest.fixture
def compiled(caplog):
    """How often a train step has been compiled, or fetched from the cache of compiled programs."""
    with jax.log_compiles():
        yield lambda: len(re.findall(r"Compiling (?:jit\()?train_step\b", caplog.text))


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def spread(monkeypatch):
    """On how many devices the parameters were after each step of a sweep."""
    found, make = [], sweeps.make_population

    def watched(*args):
        population = make(*args)

        def step(*inputs):
            state, metrics = population.step(*inputs)
            found.append({len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state.params)})
            return state, metrics

        return dataclasses.replace(population, step=step)

    monkeypatch.setattr(sweeps, "make_population", watched)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_member_equals_its_single_run(case, root, tmp_path, double, compiled, spread):
    options, axes, alone = CASES[case]
    method, scope = (*case.split(), "local")[:2]
    options |= {name: str(root / options[name]) for name in ("model", "data") if name in options}
    base = tiny.config(
        root, method=method, scope=scope, density=None, output=str(tmp_path / "sweep"), **options
    )
    rows = sweep(base, axes, devices=2)
    assert compiled() == (1 if base.single_length else 2)  # one per length
    assert spread == [{2}] * (base.steps or 0)
    assert [tuple(row[axis] for axis in axes) for row in rows] == [
        *itertools.product(*axes.values())
    ]
    assert not (tmp_path / "sweep" / "checkpoints").exists()
    row = next(row for row in rows if tuple(row[axis] for axis in axes) == alone)
    run, other = tmp_path / "sweep" / "members" / row["member"], tmp_path / "single"
    recorded = json.loads((run / "config.json").read_text())
    del recorded["derived"]
    result = train(TrainConfig(**{**recorded, "output": str(other)}))
    for key in ("score", "linear_density", "encoder_remaining", "metric", "steps"):
        assert row[key] == result[key]
    assert len(lines(run)) == len(lines(other)) == (base.steps or 0) + 1 + ("eval_every" in options)
    for here, there in zip(lines(run), lines(other), strict=True):
        assert here.pop("eval", None) == there.pop("eval", None)
        assert here == pytest.approx(there, rel=1e-9, abs=1e-9)
    both = [load_file(folder / "model" / "model.safetensors") for folder in (run, other)]
    for name, tensor in both[0].items():
        assert tensor.dtype == np.float64
        np.testing.assert_allclose(tensor, both[1][name], atol=1e-9, rtol=0, err_msg=name)
        np.testing.assert_array_equal(tensor == 0, both[1][name] == 0)


def test_hyperparameters_carry_the_counts_of_every_matrix_and_of_all(root):
    config = member_configs(tiny.config(root, density=None), {"density": (0.29,)})["density-0.29"]
    assert host_hyperparameters(prepare(config)).final_counts == {
        256: int(0.29 * 256), 384: int(0.29 * 384), 1792: int(0.29 * 1792)
    }  # fmt: skip


AXES = {"density": (0.5, 0.2, 0.1), "learning_rate": (1e-2,)}
GLOBAL = {"method": "magnitude", "scope": "global", "density": None}


@pytest.mark.slow
def test_groups_share_a_program_and_a_sweep_goes_on_where_it_stopped(
    root, tmp_path, monkeypatch, compiled, caplog
):
    base = tiny.config(root, **GLOBAL, output=str(tmp_path / "whole"))
    whole = sweep(base, AXES, members_at_once=2)
    assert len(whole) == 3 and compiled() == 1
    write = Journals.train

    def stop(self, step, metrics):
        write(self, step, metrics)
        if "density-0.1-" in str(self.folders[0]) and step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Journals, "train", stop)
    parts = dataclasses.replace(base, output=str(tmp_path / "parts"))
    with pytest.raises(Interrupted, match="stopped at step 3 of 6"):
        sweep(parts, AXES, members_at_once=2)
    results = tmp_path / "parts" / "members"
    assert (results / whole[1]["member"] / "result.json").exists()
    assert not (results / whole[2]["member"] / "result.json").exists()
    other = {**AXES, "density": [0.7]}
    before = tree(tmp_path / "parts" / "checkpoints")
    with pytest.raises(InputError, match=f"trains {whole[2]['member']} together with other"):
        sweep(parts, other, members_at_once=2)
    assert tree(tmp_path / "parts" / "checkpoints") == before
    monkeypatch.setattr(Journals, "train", write)
    again = sweep(parts, AXES, members_at_once=2)
    assert "continuing 1 members from step 3" in caplog.text
    for one, other in zip(whole, again, strict=True):
        assert one["linear_density"] == other["linear_density"]
        a, b = (lines(tmp_path / part / "members" / one["member"]) for part in ("whole", "parts"))
        assert a == b
    made = compiled()
    assert sweep(parts, AXES) == again and compiled() == made
    with pytest.raises(InputError, match="--weight-decay was"):
        sweep(dataclasses.replace(parts, weight_decay=0.5), AXES)


@pytest.mark.slow
def test_a_member_that_diverges_leaves_the_others_alone(root, tmp_path, capsys):
    words = tiny.command(root, **GLOBAL, devices=None, learning_rate=None)
    words[words.index("--output") + 1] = str(tmp_path / "sweep")
    words = ["sweep", *words[1:], "--density", "0.5", "--learning-rate", "1e30,1e-2"]
    assert cli.main([*words, "--memory", "1"]) == 0
    table, notes = (text.splitlines() for text in capsys.readouterr())
    assert any("2 members x 6 steps, 2 at a time, on 2 device" in note for note in notes)
    assert any(str(tmp_path / "sweep" / "result.json") in note for note in notes)
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "sweep" / "curve.png").exists()
    assert len(table) == 4 and "0, 1 diverged" in table[2] and "1e+30" in table[2]
    rows = json.loads((tmp_path / "sweep" / "result.json").read_text())["members"]
    assert ["score" in row for row in rows] == [False, True]
    member = tmp_path / "sweep" / "members" / rows[1]["member"]
    assert cli.main(["inspect", str(member), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["linear_density"] == rows[1]["linear_density"]
    diverged = str(tmp_path / "sweep" / "members" / rows[0]["member"])
    for again in (
        ["inspect", diverged],
        ["train", "--config", f"{diverged}/config.json", "--output", diverged],
    ):
        assert cli.main(again) == 2
        said = capsys.readouterr().err
        assert f"has diverged at step {rows[0]['diverged']} and has no model; train it" in said


def test_what_does_not_fit_is_refused_with_the_arithmetic(root, tmp_path):
    base = tiny.config(root, density=None, output=str(tmp_path / "sweep"))
    axes = {"density": (0.5, 0.2)}
    job = prepare(member_configs(base, axes)["density-0.5"])
    floats = sum(leaf.size for leaf in jax.tree.leaves(job.inputs.model.params))
    embeddings = job.inputs.model.params["bert"]["embeddings"]
    held = sum(leaf.size for leaf in jax.tree.leaves(embeddings))
    scores = 1792
    trained = floats - held + scores
    least = 4 * (floats + scores + 2 * trained)  # weights, moments of the trained
    work = 4 * trained + 2 * scores  # gradients, masks of two bytes
    with pytest.raises(InputError, match=r"2 members x \(.* state \+ .*--members-at-once 1") as no:
        sweep(base, axes, memory=1.9 * (least + work))
    assert f"({least / 1e6:.3g}"[:4] in str(no.value)  # the state, not the work
    assert f"{work / 1e6:.3g} MB gradients" in str(no.value)
    with pytest.raises(InputError, match="not one of them fits"):
        sweep(base, axes, memory=1000)
    with pytest.raises(InputError, match="--members-at-once is 0"):
        sweep(base, axes, members_at_once=0)
    with pytest.raises(InputError, match="--devices is 9"):
        sweep(base, axes, devices=9)
    assert not (tmp_path / "sweep").exists()


def test_as_many_are_proposed_as_the_devices_share_evenly(root):
    config = member_configs(tiny.config(root, density=None), {"density": (0.5,)})["density-0.5"]
    job = prepare(config)
    one = job_memory(job, job.optimizer(None))
    memory = 5.5 * (one.state + one.gradients)
    with pytest.raises(InputError, match="--members-at-once 4,"):
        place_members(job, 6, 2, memory)
    for members, devices in (4, 2), (5, 1):
        chosen = place_members(job, members, 2, memory)
        assert (chosen.members, len(chosen.devices)) == (members, devices)
        assert chosen.memory == members * (one.total - one.state)


def test_members_whose_activations_do_not_fit_are_warned_of(root, caplog):
    config = member_configs(tiny.config(root, density=None), {"density": (0.5,)})["density-0.5"]
    job = prepare(config)
    one = job_memory(job, job.optimizer(None))
    place_members(job, 2, 1, 2.0 * one.total)
    assert "may run out" not in caplog.text
    place_members(job, 2, 1, 1.99 * one.total)
    assert "the step of 2 members needs about" in caplog.text and "--accumulate" in caplog.text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--density", "0.1,x"], ["--density", "0.1,x"]),
        (["--density", "0.1,0.1"], ["--density", "once"]),
        (["--density", "0.1,2"], ["--density", "2.0"]),
        (["--density", "0.1", "--seeds", "1.5"], ["--seeds"]),
        (["--density", "0.1", "--final-lambda", "3,4"], ["--final-lambda", "movement"]),
        (["--density", "0.1", "--output", "DATA"], ["--output", "not a sweep"]),
        (["--density", "0.1", "--seed", "1"], ["--seeds"]),
        (["--density", "0.1,0.2", "--memory", "1e-6"], ["2 members x (", "0.001 MB", "--memory"]),
        (["--density", "0.1,0.2", "--memory", "0"], ["--memory is 0; it must be above 0"]),
        (["--density", "0.1", "--model", ""], ["--model is missing (see --help)"]),
        (["--density", "0.1", "--output", ""], ["--output is missing (see --help)"]),
    ],
)
def test_mistakes_are_refused_before_anything_happens(words, parts, root, tmp_path, capsys):
    given = tiny.command(root, density=None, devices=None, learning_rate=None)
    given[given.index("--output") + 1] = str(tmp_path / "sweep")
    words = [str(root / "data") if word == "DATA" else word for word in words]
    assert cli.main(["sweep", *given[1:], *words]) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message
    assert not (tmp_path / "sweep").exists()


def test_seeds_of_a_step_share_the_longest_length(root):
    data = str(root / "long")
    base = tiny.config(root, **LONG | {"data": data}, density=None)
    configs = member_configs(base, {"density": (0.1,), "seed": (0, 1)}).values()
    runs = [prepare(config) for config in configs]
    lengths = [[run.inputs.batches.length(step) for run in runs] for step in range(tiny.STEPS)]
    assert {tuple(sorted(both)) for both in lengths} >= {(16, 32)}  # the case above is no easy one
    assert {max(both) for both in lengths} == {16, 32}
    for step, both in enumerate(lengths):
        batch = sweeps._batch(runs, step)
        assert batch["input_ids"].shape == (2, 8, max(both))
        for i, run in enumerate(runs):
            np.testing.assert_array_equal(
                batch["input_ids"][i, :, : both[i]], run.inputs.batches.batch(step)["input_ids"]
            )
            assert not batch["attention_mask"][i, :, both[i] :].any()


@pytest.mark.parametrize(("seeds", "same"), [((0,), False), ((0, 1), True)])
def test_answers_of_several_seeds_are_all_padded_to_the_maximum(seeds, same, root):
    """Their loss is over all positions: in another length it would be another one."""
    base = tiny.config(root, task="demo_questions", data=None, density=None, single_length=False)
    configs = member_configs(base, {"density": (0.1,), "seed": seeds})
    assert [config.single_length for config in configs.values()] == [same] * len(seeds)


ROWS = [
    {"density": d, "seed": s, "metric": "f1", "score": {"f1": 80 + 10 * d + s}, "linear_density": d}
    for d in (0.3, 0.1) for s in (0, 2)
]  # fmt: skip


def test_seeds_are_put_together_in_the_table():
    lost = {"density": 0.1, "seed": 9, "diverged": 3}
    text = curve.table([*ROWS, lost], ["density", "seed"]).splitlines()
    assert text[0].split() == ["density", "linear", "density", "f1", "±", "seeds"]
    assert text[2].split() == ["0.3", "30.00%", "84.00", f"{np.std([83, 85], ddof=1):.2f}", "2"]
    assert text[3].split() == ["0.1", "10.00%", "82.00", "1.41", "2,", "1", "diverged"]


def test_the_picture_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    path = curve.draw(ROWS, ["density", "seed"], tmp_path / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")
