"""Recipes side by side: detection, groups of seeds, densities missed, forms of the table, plot."""

import json
import statistics
import sys
from pathlib import Path

import pytest

from experiments.paper.receipt import FORM, MARK
from experiments.recipes import detect, groups, plot, runs, table
from experiments.recipes.__main__ import TASKS, main
from mpjax.config import recipes
from mpjax.config.recipe import Recipe
from mpjax.config.recorded import as_dict
from mpjax.config.resolve import resolve

DENSE = {"method": "dense", "learning_rate": 8e-5}
MAGNITUDE = {"method": "magnitude", "density": 0.1, "learning_rate": 8e-5, "initial_warmup": 4.0}
SOFT = {"method": "soft_movement", "final_lambda": 2000.0}


def config(recipe: str | None = None, **options) -> dict:
    """Recorded options of a run of the comparison on SST-2."""
    base = {"model": "minilm", "task": "sst2", "output": "o", "max_length": 64}
    made = resolve(recipes.recipe_config(recipe, **(base | {"limit_train": 10_000} | options)))
    return {**as_dict(made), "derived": {"train_rows": made.limit_train or 8999, "dev_rows": 872}}


@pytest.fixture
def write(tmp_path):
    """Writes a made-up receipt: name, score, options, and the density reached unless as asked."""

    def one(name, score, recipe=None, reached=None, metric="accuracy", **options):
        made = config(recipe, **options)
        density = reached or made["density"] or 1.0
        result = {"linear_density": density, "metric": metric, "score": {"other": 1, metric: score}}
        value = {MARK: FORM, "config": made, "result": result}
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        return tmp_path

    return one


def found(folder, apart=False) -> dict:
    """Groups by recipe and density asked, or λ."""
    made = groups.group(runs.read(folder), apart)
    keys = [(one.recipe.name, one.recipe.density or one.recipe.penalty) for one in made]
    assert apart or len(set(keys)) == len(keys)
    return dict(zip(keys, made, strict=True))


def output(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1].removeprefix("experiments.recipes: error: ")


# --------------------------------------------------------------------------- detection


@pytest.mark.parametrize("name", [name for name in recipes.names() if name != "published"])
@pytest.mark.parametrize("density", [0.1, 0.03])
def test_a_recorded_recipe_is_found_and_differs_in_nothing(name, density):
    assert detect.identify(config(name, density=density, seed=3)) == detect.Recipe(
        name, density, None, ()
    )


@pytest.mark.parametrize(
    ("options", "name", "density", "penalty", "differs"),
    [
        ({"method": "dense"}, "dense", None, None, {}),
        (DENSE, "dense", None, None, {"learning_rate": 8e-5}),
        (MAGNITUDE, "magnitude", 0.1, None, {"learning_rate": 8e-5, "initial_warmup": 4.0}),
        ({"method": "movement", "final_threshold": 0.03}, "movement", 0.03, None, {}),
        ({"method": "movement", "density": 0.1, "dense_gradient": True}, "movement", 0.1, None,
         {"dense_gradient": True}),
        (SOFT, "soft_movement", None, 2000.0, {}),
        (SOFT | {"final_threshold": 0.2}, "soft_movement", None, 2000.0, {"final_threshold": 0.2}),
        (SOFT | {"teacher": "t", "alpha_ce": 0.2}, "soft_movement", None, 2000.0,
         {"teacher": "t", "alpha_ce": 0.2}),
        ({"method": "l0", "density": 0.1}, "l0", 0.1, None, {}),
        ({"method": "l0", "final_lambda": 100.0}, "l0", None, 100.0, {}),
        ({"recipe": "platon", "density": 0.1, "clip": 0.0}, "platon", 0.1, None, {"clip": 0.0}),
        ({"recipe": "sensitivity", "density": 0.1, "batch_size": 16, "learning_rate": 1e-4},
         "sensitivity", 0.1, None, {"learning_rate": 1e-4, "batch_size": 16}),
        ({"recipe": "sensitivity", "density": 0.1, "score_beta": 0.9}, "movement", 0.1, None,
         {"scope": "global", "score_optimizer": "sensitivity", "score_beta": 0.9,
          "dense_gradient": True, "learning_rate": 4e-4,
          "mask_init": "constant", "mask_scale": 0.0,
          "warmup": 0.4, "initial_warmup": 0.25, "final_warmup": 0.5}),
    ],
)  # fmt: skip
def test_methods_and_changed_recipes_are_told_by_what_differs(
    options, name, density, penalty, differs
):
    wanted = detect.Recipe(name, density, penalty, tuple(sorted(differs.items())))
    assert detect.identify(config(**options)) == wanted


def test_the_more_specific_recipe_wins(monkeypatch):
    more = Recipe("", "", {**recipes.get("platon").options, "first_density": 0.5})
    known = {"a": recipes.get("platon"), "b": more, "c": recipes.get("platon")}
    monkeypatch.setattr(recipes, "names", lambda: tuple(known))
    monkeypatch.setattr(recipes, "get", known.__getitem__)
    assert detect.identify(config("b", density=0.1)).name == "b"
    assert detect.identify(config("a", density=0.1)).name == "a"


def test_options_newer_than_a_run_have_their_defaults(write):
    made = config(**MAGNITUDE)
    newer = ("scope", "score_optimizer", "prune_every", "clip", "teacher", "fill_from")
    old = {name: value for name, value in made.items() if name not in newer}
    assert detect.identify(old) == detect.identify(made)
    folder = write("new", 80.0, **MAGNITUDE, seed=1)
    receipt = json.loads((folder / "new.json").read_text())
    (folder / "old.json").write_text(json.dumps(receipt | {"config": old}))
    (one,) = found(folder).values()
    assert one.seeds == (0, 1)
    assert ("unheard_of", 3) in detect.identify(made | {"unheard_of": 3}).differs


# -------------------------------------------------------------------------------- groups


def test_seeds_are_put_together_with_mean_range_and_loss(write):
    scores = {0: 83.0, 1: 84.5, 2: 82.5}
    for seed, score in scores.items():
        write(f"s{seed}", score, "sensitivity", density=0.1, seed=seed, log_every=seed + 1)
    write("three", 80.0, "sensitivity", density=0.03)
    for seed in (0, 1):
        folder = write(f"d{seed}", 86.0 + seed, **DENSE, seed=seed, scan_layers=bool(seed))
    made = found(folder)
    assert set(made) == {("sensitivity", 0.1), ("sensitivity", 0.03), ("dense", None)}
    ten = made["sensitivity", 0.1]
    assert ten.seeds == (0, 1, 2) and ten.mean == statistics.fmean(scores.values())
    assert (ten.low, ten.high) == (82.5, 84.5)
    loss = dict(zip(made, groups.losses(list(made.values())), strict=True))
    assert loss["dense", None] is None
    assert loss["sensitivity", 0.1] == pytest.approx(86.5 - ten.mean)
    assert loss["sensitivity", 0.03] == pytest.approx(6.5)


def test_a_seed_that_ran_twice_counts_once(write, capsys):
    write("a", 80.0, **MAGNITUDE)
    folder = write("b", 82.0, **MAGNITUDE)
    (one,) = found(folder).values()
    assert one.seeds == (0,) and (one.low, one.high) == (80.0, 82.0)
    assert "1, 2 runs" in output(capsys, "table", "--results", folder)


@pytest.mark.parametrize(
    "change",
    [{"limit_train": 20_000}, {"limit_train": None}, {"epochs": 2.0}, {"steps": 900},
     {"max_length": 128}, {"model": "other"}, {"task": "qqp"}],
    ids=str,
)  # fmt: skip
def test_runs_of_other_settings_stand_apart(change, write, capsys):
    write("dense", 86.0, **DENSE)
    write("a", 80.0, **MAGNITUDE)
    folder = write("b", 82.0, **MAGNITUDE | change, seed=1)
    made = groups.group(runs.read(folder))
    assert sorted(one.mean for one in made) == [80.0, 82.0, 86.0]
    losses = {one.mean: loss for one, loss in zip(made, groups.losses(made), strict=True)}
    assert losses == {86.0: None, 80.0: 6.0, 82.0: None}  # no dense run of the other settings
    assert output(capsys, "table", "--results", folder).count("max length") == 2
    lines = output(capsys, "table", "--results", folder, "--markdown").splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith(("| sst2", "| qqp"))]
    assert len(set(cells)) == len(cells) >= 2


@pytest.mark.parametrize(
    ("change", "name"),
    [({"clip": 0.5}, "--clip (1.0 and 0.5)"), ({"teacher": "t"}, "--teacher (None and t)"),
     ({"batch_size": 16}, "--batch-size (32 and 16)"), ({"dtype": "bfloat16"}, "--dtype")],
    ids=str,
)  # fmt: skip
def test_seeds_with_deviating_options_are_refused_and_searched_apart(change, name, write, capsys):
    write("one", 80.0, **MAGNITUDE)
    folder = write("two", 82.0, **MAGNITUDE | change, seed=1)
    for words in (["table"], ["plot", "--output", folder / "a.png"]):
        message = refused(capsys, *words, "--results", folder)
        assert name in message and "one and two" in message and "search" in message
    rows = output(capsys, "search", "--results", folder).splitlines()[4:6]
    assert ["82.00" in row for row in rows] == [True, False]  # the best first
    ((option, value),) = change.items()
    assert f"{option}={value}" in rows[0] and f"{option}=" not in rows[1]


def test_of_several_dense_recipes_the_best_is_compared_with(write):
    write("a", 87.0, **DENSE)
    write("b", 85.0, method="dense")
    folder = write("c", 80.0, **MAGNITUDE)
    made = groups.group(runs.read(folder), apart=True)
    assert groups.losses(made) == [None, None, 7.0]


@pytest.mark.parametrize(
    ("asked", "reached", "missed"),
    [(0.1, 0.102, False), (0.1, 0.098, False), (0.1, 0.1021, True), (0.1, 0.0979, True),
     (0.05, 0.052, False), (0.05, 0.0521, True), (0.03, 0.0305, False), (0.03, 0.0295, False),
     (0.03, 0.0306, True), (0.03, 0.0294, True)],
)  # fmt: skip
def test_a_missed_density_is_marked(asked, reached, missed, write, capsys):
    folder = write("a", 80.0, reached=reached, **MAGNITUDE | {"density": asked})
    assert [one.missed for one in found(folder).values()] == [missed]
    for form in ([], ["--markdown"]):
        text = output(capsys, "table", "--results", folder, *form)
        assert (f"{100 * reached:.2f}% !" in text) == missed == (table.MISSED in text)
    (record,) = json.loads(output(capsys, "table", "--results", folder, "--json"))
    assert record["density_missed"] == missed


def test_densities_that_cancel_in_the_mean_are_marked(write):
    write("a", 80.0, reached=0.09, **MAGNITUDE)
    folder = write("b", 80.0, reached=0.11, **MAGNITUDE, seed=1)
    (one,) = found(folder).values()
    assert one.density == pytest.approx(0.1) and one.missed


# --------------------------------------------------------------------------------- forms


@pytest.fixture
def results(write):
    for seed in (0, 1):
        write(f"d{seed}", 86.0 + seed, **DENSE, seed=seed)
        write(f"s{seed}", 84.0 + seed / 2, "sensitivity", density=0.1, seed=seed)
    write("three", 80.04, "sensitivity", density=0.03)
    write("soft", 81.0, reached=0.0637, **SOFT)
    write("f", 50.0, "platon", density=0.1, task="squad", limit_train=None, metric="f1")
    return write("m", 77.0, **MAGNITUDE)


def test_markdown_has_a_row_per_task_and_density_and_a_column_per_recipe(results, capsys):
    text = output(capsys, "table", "--results", results, "--markdown")
    body, notes = text.split("\n\n")
    assert body.splitlines() == [
        "| task | density | dense | sensitivity | platon | magnitude | soft movement |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| squad | 10% |  |  | 50.0 (1) |  |  |",
        "| sst2 | 10% | 86.5 ± 0.5 (2) | 84.2 ± 0.2 (2) |  | 77.0 (1) |  |",
        "| sst2 | 6.37% (λ 2000) | 86.5 ± 0.5 (2) |  |  |  | 81.0 (1) |",
        "| sst2 | 3% | 86.5 ± 0.5 (2) | 80.0 (1) |  |  |  |",
    ]
    for part in ("half the range", "sst2: accuracy; minilm, 10,000 rows, 3 epochs, max length 64",
                 "squad: f1; minilm, all of 8,999 rows",
                 "magnitude with initial_warmup=4.0 learning_rate=8e-05 (sst2)"):  # fmt: skip
        assert part in notes
    assert "sensitivity with" not in notes and table.MISSED not in notes


def test_a_run_given_twice_counts_once(results):
    twice = groups.group(runs.read(results, results / "s1.json", results / ".." / results.name))
    assert twice == groups.group(runs.read(results))


def test_dense_runs_alone_have_a_row(write, capsys):
    folder = write("d", 86.0, **DENSE)
    text = output(capsys, "table", "--results", folder, "--markdown")
    assert "| sst2 | 100.00% | 86.0 (1) |" in text


def test_the_long_table_and_json_say_the_same(results, capsys):
    records = json.loads(output(capsys, "table", "--results", results, "--json"))
    text = output(capsys, "table", "--results", results)
    blocks = text.split("\n\n")
    assert blocks[0].startswith("squad: ") and blocks[2].startswith("sst2: ")
    rows = [line.split() for block in blocks[1:4:2] for line in block.splitlines()[2:]]
    assert [row[0] for row in rows] == [record["recipe"] for record in records]
    ten = next(record for record in records if record["runs"] == ["s0", "s1"])
    assert ten["score"] == {"mean": 84.25, "min": 84.0, "max": 84.5} and ten["loss"] == 2.25
    assert ten["seeds"] == [0, 1] and ten["density_asked"] == 0.1 and ten["differs_in"] == {}
    wanted = ["sensitivity", "–", "10%", "10.00%", "2", "84.25", "84.00..84.50", "2.25"]
    assert rows[[row[5] for row in rows].index("84.25")] == wanted
    soft = next(record for record in records if record["recipe"] == "soft_movement")
    assert (soft["density_asked"], soft["final_lambda"]) == (None, 2000.0)


def test_without_a_path_it_reads_the_recorded_runs(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parents[2])
    tasks = {row["task"] for row in json.loads(output(capsys, "table", "--json"))}
    assert tasks == set(TASKS)


def test_a_search_is_sorted_by_score_and_lists_losers(results, write, capsys):
    write("loser", 60.0, "sensitivity", density=0.1, learning_rate=1e-5)
    words = ["search", "--results", results]
    records = json.loads(output(capsys, *words, "--json"))
    means = [record["score"]["mean"] for record in records]
    assert means == sorted(means, reverse=True) and 60.0 in means
    lines = output(capsys, *words, "--markdown").splitlines()
    (row,) = [line for line in lines if "60.00" in line]
    assert row.startswith("| sensitivity | learning_rate=1e-05 | 10% |")
    assert row.endswith("| 26.50 |")


def test_what_is_no_run_is_refused_with_its_path(tmp_path, capsys):
    assert "nothing" in refused(capsys, "table", "--results", tmp_path / "nothing")
    made = {name: value for name, value in config(**DENSE).items() if name != "method"}
    (tmp_path / "bad.json").write_text(json.dumps({MARK: FORM, "config": made, "result": {}}))
    message = refused(capsys, "table", "--results", tmp_path)
    assert "bad.json" in message and "method" in message
    made |= {"method": "dense", "task": "sst2", "density": None}
    (tmp_path / "bad.json").write_text(json.dumps({MARK: FORM, "config": made, "result": {}}))
    assert "linear_density" in refused(capsys, "table", "--results", tmp_path)


# --------------------------------------------------------------------------------- plot


def test_a_line_goes_through_every_density_of_a_recipe(results):
    made = groups.group(runs.read(results))
    lines = plot.lines([one for one in made if one.settings.task == "sst2"])
    assert {name: [one.density for one in points] for name, points in lines.items()} == {
        "magnitude": [0.1], "sensitivity": [0.1, 0.03], "soft_movement": [0.0637]
    }  # fmt: skip


def test_without_matplotlib_it_says_how_to_get_it(results, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = ["plot", "--results", results, "--output"]
    message = refused(capsys, *words, results / "a.png")
    assert "--output needs matplotlib" in message and ".[plots]" in message
    assert ".png" in refused(capsys, *words, results / "a.txt")


@pytest.mark.slow
def test_the_picture_has_a_panel_per_task_with_bars_and_a_dense_band(results, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    kept = []
    monkeypatch.setattr(plot, "save", lambda figure, path: kept.append(figure) or path)
    output(capsys, "plot", "--results", results, "--output", results / "a.png")
    squad, sst2 = kept[0].axes
    assert (squad.get_title(), sst2.get_title()) == ("squad", "sst2")
    assert sst2.get_xscale() == "log"
    labels = sst2.get_legend_handles_labels()[1]
    assert set(labels) == {"dense", "magnitude", "sensitivity", "soft movement"}
    (band,) = sst2.patches
    assert (band.get_y(), band.get_height()) == (86.0, 1.0)
    bars = next(c for c in sst2.containers if c.get_label() == "sensitivity")
    (segments,) = bars.lines[2]
    ends = [sorted(float(y) for _, y in segment) for segment in segments.get_segments()]
    assert ends == [[84.0, 84.5], [80.04, 80.04]]
