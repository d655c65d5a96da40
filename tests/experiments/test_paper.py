"""The published runs: ids, recipes that any run can be repeated with, receipts, comparison."""

import csv
import dataclasses
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import mpjax
from experiments.paper import compare, finished, plot, published, receipt, recipe
from experiments.paper.__main__ import main
from mpjax import cli
from mpjax.cli.arguments import FIELDS
from mpjax.cli.main import parse
from mpjax.config.checks import DENSE
from mpjax.config.length import run_length
from mpjax.config.resolve import config_rule, resolve
from mpjax.config.train import TrainConfig
from mpjax.pages.reading.published import TABLE
from mpjax.runs.folder import RunDir

RUNS = published.runs()
SHEET = {row["id"]: row for row in csv.DictReader(TABLE.read_text().splitlines())}
PLACES = recipe.Places("some/model", None, "out/run", "some/teacher")
# Columns of the sheet that are fields of the config by another name.
RENAMED = {"warmup_steps": "warmup", "max_seq_length": "max_length"}


@pytest.fixture(params=RUNS, ids=lambda run: run.id)
def run(request) -> published.PublishedRun:
    return request.param


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def fails(argv, capsys) -> str:
    """The message of a command that is refused."""
    assert main([str(word) for word in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    message = captured.err.splitlines()[-1]
    assert message.startswith("experiments.paper: error: ")
    return message


# ------------------------------------------------------------------------------ the runs


def test_ids_are_unique_sorted_and_say_what_the_run_is():
    ids = [run.id for run in RUNS]
    assert ids == sorted(set(ids)) and len(ids) == 266 + 3
    by_group = {}
    for run in RUNS:
        by_group.setdefault(run.group, []).append(run)
    for (task, method, scope, distilled), group in by_group.items():
        stem = "-".join(filter(None, [task, method.replace("_", "-"), scope, "kd" * distilled]))
        if method == DENSE:
            assert [run.id for run in group] == [stem]
            continue
        assert [run.id for run in group] == [f"{stem}-{n:02}" for n in range(1, len(group) + 1)]
        densities = [run.remaining for run in group]
        assert densities == sorted(densities, reverse=True)
        assert (scope != "") == (method in ("magnitude", "movement"))


def test_an_unknown_id_is_answered_with_a_near_one(capsys):
    assert "did you mean squad-l0-kd-02" in fails(["run", "squad-l0-kd02"], capsys)
    assert "list" in fails(["run", "x"], capsys)


def test_listing(capsys):
    words = ["list", "--task", "squad", "--method", "soft_movement", "--distilled"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert main([*words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    wanted = [
        row["id"]
        for row in SHEET.values()
        if (row["task"], row["method"], row["distilled"]) == ("squad", "soft_movement", "1")
    ]
    assert [line.split()[0] for line in lines] == [record["id"] for record in records] == wanted
    for line, record in zip(lines, records, strict=True):
        row = SHEET[record["id"]]
        assert record["scores"] == {
            "f1": float(row["metric2"]),
            "exact_match": float(row["metric1"]),
        }
        assert f"F1 {float(row['metric2']):.2f}" in line and f"λ = {row['final_lambda']}" in line
        assert f"{float(row['remaining_pct']):.2f}%" in line
    assert main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(RUNS)
    assert main(["list", "--no-distilled"]) == 0
    assert "-kd-" not in capsys.readouterr().out
    assert "no published run" in fails(["list", "--method", "l0", "--scope", "global"], capsys)


def test_listing_imports_no_jax():
    code = (
        "import sys; from experiments.paper.__main__ import main; main(['list'])\n"
        "sys.exit(str({'jax', 'flax', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(mpjax.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
    )
    assert done.stderr.strip() == "set()"


# ------------------------------------------------------------------------------- recipes


def test_every_recipe_says_what_the_sheet_says(run):
    config, row = recipe.config(run, PLACES), SHEET[run.id]
    given = recipe.options(run, PLACES)
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    taken = set()
    for column, cell in row.items():
        name = RENAMED.get(column, column)
        if name not in fields or column in ("scope", "final_threshold"):
            continue
        taken.add(column)
        value = getattr(config, name)
        if cell == "":
            assert value == getattr(TrainConfig(), name), column
        else:
            assert name in given and value in (cell, _number(cell)), column
    assert taken == {
        "method", "task", "batch_size", "warmup_steps", "epochs", "max_seq_length", "mask_init",
        "learning_rate", "score_learning_rate", "initial_threshold", "initial_warmup", "seed",
        "final_warmup", "mask_scale", "regularization", "final_lambda", "alpha_ce", "alpha_distil",
    }  # fmt: skip
    assert (config.teacher is not None) == (row["distilled"] == "1")
    assert config.temperature == (2.0 if config.teacher else None)
    assert config.weight_decay == 0.0 and config.clip == 1.0


def test_every_recipe_resolves_and_its_schedule_fits(run):
    config = resolve(recipe.config(run, PLACES))
    assert resolve(config) == config
    lengths = run_length(config, recipe.EXAMPLES[run.task] // config.batch_size)
    assert lengths.warmup_steps == int(run.settings["warmup_steps"])
    assert lengths.total_steps > 3 * lengths.warmup_steps
    rule = config_rule(config)
    if rule is None:
        assert run.method == DENSE
        return
    assert config.first_step == (run.task == "squad")
    assert (rule.scope == "global") == (run.scope == "global") == config.published_cut
    penalty = SHEET[run.id]["final_lambda"]
    assert rule.has_penalty == bool(penalty)
    if run.method in ("magnitude", "movement"):
        assert rule.initial == 1 and abs(rule.final - run.density) < 0.005
        said = float(SHEET[run.id]["final_threshold"])
        assert rule.final == said or (run.distilled and run.method == "movement")
    elif run.method == "l0":
        assert (rule.initial, rule.final, config.density) == (1, 1, None)  # nothing but λ decides
    else:
        assert (rule.initial, rule.final, config.density) == (0, 0.1, None)


@pytest.mark.slow
def test_every_recipe_is_a_command(run):
    for scale in (1.0, 0.01):
        values = recipe.options(run, PLACES, scale)
        parsed = vars(parse(recipe.words(values)))
        given = TrainConfig(**{name: parsed[name] for name in FIELDS})
        assert given == recipe.config(run, PLACES, scale)
        shell = shlex.split(recipe.command(values))
        assert [word for word in shell if word != "\n"] == ["mpjax", *recipe.words(values)]


@pytest.mark.parametrize("scale", [0.5, 0.02, 0.0006])
def test_a_small_version_keeps_everything_but_the_rows(run, scale):
    whole, small = (resolve(recipe.config(run, PLACES, s)) for s in (1.0, scale))
    changed = {f.name for f in dataclasses.fields(small)
               if getattr(small, f.name) != getattr(whole, f.name)}  # fmt: skip
    assert changed == {"limit_train", "warmup"}
    assert small.limit_train == round(scale * recipe.ROWS[run.task])
    examples = recipe.EXAMPLES[run.task]
    long = run_length(whole, examples // whole.batch_size)
    short = run_length(small, int(scale * examples) // small.batch_size)
    epoch = short.total_steps / small.epochs
    assert abs(epoch - scale * long.total_steps / whole.epochs) <= 1
    exact = long.warmup_steps * short.total_steps / long.total_steps
    assert exact - 1 - 1e-2 <= short.warmup_steps <= exact + 1e-2


@pytest.mark.parametrize("scale", ["0", "-0.5", "1.5", "nan", "1e-5"])
def test_scales_that_leave_nothing_or_too_much_are_refused(scale, capsys):
    message = fails(["run", "mnli-dense", "--dry-run", "--scale", scale], capsys)
    assert "--scale" in message and f"{float(scale):g}" in message
    if scale == "1e-5":
        least = message.rsplit(maxsplit=1)[1]
        assert "4 of 392702 rows" in message
        assert recipe.options(published.get("mnli-dense"), PLACES, 1.01 * float(least))


def test_a_dry_run_prints_the_command_and_stops(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "main", None)
    words = ["run", "squad-movement-global-kd-05", "--data", "my data", "--dry-run"]
    assert main(words) == 0
    captured = capsys.readouterr()
    places = recipe.Places(data="my data")
    assert captured.out == recipe.command(
        recipe.options(published.get("squad-movement-global-kd-05"), places)
    ) + "\n"  # fmt: skip
    for part in ("runs/squad-movement-global-kd-05", "--teacher runs/squad-dense/model",
                 "google-bert/bert-base-uncased", "'my data'"):  # fmt: skip
        assert part in captured.out
    lines = captured.out.splitlines()
    assert len(lines) > 20 and all(line.endswith(" \\") for line in lines[:-1])
    assert captured.err == "" and not list(tmp_path.iterdir())
    assert main(["run", "mnli-movement-local-kd-05", "--dry-run"]) == 0
    note = capsys.readouterr().err
    assert "threshold 0.2" in note and "10.1268%" in note and "run at 0.1" in note


def test_a_teacher_is_asked_for_where_there_is_one_and_refused_where_not(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "main", None)
    output = ["--output", tmp_path / "kd"]
    message = fails(["run", "qqp-l0-kd-01", *output], capsys)
    assert "--teacher" in message and "qqp-dense" in message and str(tmp_path) in message
    assert "--teacher" in fails(["run", "qqp-l0-01", "--teacher", "x", "--dry-run"], capsys)


# --------------------------------------------------------------------- a run and its receipt


@pytest.fixture(scope="module")
def ours(tmp_path_factory, programs):
    """The recipe of qqp-movement-local-05 on 40 rows of the toy language."""
    root = tmp_path_factory.mktemp("paper")
    tiny.model(root / "model", max_position_embeddings=128)
    tiny.data(root / "data")
    for split in tiny.ROWS:
        path = root / "data" / f"{split}.tsv"
        rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        lines = ["question1\tquestion2\tis_duplicate", *(f"{t}\t{t}\t{y}" for t, y in rows)]
        path.write_text("\n".join(lines) + "\n")
    words = ["run", "qqp-movement-local-05", "--scale", str(40 / recipe.ROWS["qqp"])]
    for name in ("model", "data"):
        words += [f"--{name}", str(root / name)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPJAX_CACHE", "none")
        patch.setattr(sys, "argv", [str(root / "bin" / "x" / "__main__.py"), *words])
        assert main([*words, "--output", str(root / "runs" / "one")]) == 0
    return root / "runs" / "one"


@pytest.mark.slow
def test_running_trains_by_the_recipe(ours):
    config = json.loads((ours / "config.json").read_text())
    result = json.loads((ours / "result.json").read_text())
    assert config["derived"]["train_rows"] == config["limit_train"] == 40
    assert result["steps"] == 10  # 40 rows are one batch of 32, for ten epochs
    assert result["linear_density"] == pytest.approx(0.1, abs=0.01)
    assert (config["initial_warmup"], config["final_warmup"], config["seed"]) == (2, 3, 92)


@pytest.mark.slow
def test_a_receipt_has_the_facts_and_no_path(ours, tmp_path, capsys):
    output = tmp_path / "results" / "one.json"
    for _ in range(2):  # the same receipt may be written again
        assert main(["receipt", str(ours), "--output", str(output)]) == 0
    found, config = json.loads(output.read_text()), json.loads((ours / "config.json").read_text())
    assert found["result"] == json.loads((ours / "result.json").read_text())
    places = {"model": "model", "data": "data", "output": "one"}
    assert found["config"] == config | places
    (session,) = found["provenance"]["sessions"]
    (recorded,) = json.loads((ours / "provenance.json").read_text())["sessions"]
    for name in ("commit", "versions", "hardware", "started"):
        assert session[name] == recorded[name]
    assert session["command"][:3] == ["x", "run", "qqp-movement-local-05"]
    assert session["command"][-4:] == ["--model", "model", "--data", "data"]
    for secret in (str(ours), str(ours.parents[1]), str(Path.home()), sys.prefix):
        assert secret not in output.read_text()


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/me/runs/one", "one"),
        ("/home/me/my runs/one/", "one"),
        ("~/data", "data"),
        ("../../me/data", "data"),
        ("C:\\me\\data.json", "data.json"),
        ("--data=/home/me/my data", "--data=my data"),
        ("failed at '/home/me/x.py', see /var/log/me", "failed at 'x.py', see me"),
        ("file:///home/me/x", "x"),
        ("src:/home/me", "src:me"),
        ("/site/mpjax/__main__.py", "mpjax"),
        ("org/model", "org/model"),
        ("runs/one", "runs/one"),
        ("https://host.org/a/b", "https://host.org/a/b"),
        ("Linux-5.10-x86_64", "Linux-5.10-x86_64"),
        ("1/2 of 3e-05", "1/2 of 3e-05"),
    ],
)
def test_paths_become_base_names(text, short):
    assert receipt.without_paths(text) == short
    assert receipt.without_paths({"k": [text, 1, None]}) == {"k": [short, 1, None]}


@pytest.mark.slow
def test_receipts_that_cannot_be_are_refused(ours, tmp_path, capsys):
    output = ["--output", tmp_path / "a.json"]
    assert "no run folder" in fails(["receipt", tmp_path, *output], capsys)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.json").write_text((ours / "config.json").read_text())
    assert "not finished" in fails(["receipt", begun, *output], capsys)
    assert ".json" in fails(["receipt", ours, "--output", tmp_path / "a.txt"], capsys)
    (tmp_path / "a.json").write_text("{}")
    assert "no receipt" in fails(["receipt", ours, *output], capsys)
    assert (tmp_path / "a.json").read_text() == "{}"
    assert "--output" in fails(["receipt", ours], capsys)


# ---------------------------------------------------------------------------- comparison


def write_run(folder: Path, remaining: float, **changes) -> Path:
    """A finished run made by hand: soft movement on SQuAD unless told otherwise."""
    config = dataclasses.asdict(TrainConfig(model="/m/bert", task="squad", method="soft_movement"))
    score = changes.pop("score", {"exact_match": 70.0, "f1": 80.0})
    config |= changes
    folder.mkdir(parents=True)
    run = RunDir(folder)
    run.config.write_text(json.dumps({**config, "derived": {"total_steps": 9}}))
    run.provenance.write_text(json.dumps({"sessions": []}))
    run.result.write_text(json.dumps({"score": score, "encoder_remaining": remaining / 100}))
    return folder


@pytest.fixture
def results(tmp_path):
    root = tmp_path / "results"
    write_run(root / "soft", 5.0)
    write_run(root / "deep" / "down", 2.0, teacher="/t/bert", limit_train=1200)
    write_run(root / "cut", 40.0, method="movement", scope="global", task="mnli",
              score={"accuracy_mismatched": 81.0, "accuracy": 80.5})  # fmt: skip
    write_run(
        root / "dense", 100.0, method="dense", task="qqp", score={"accuracy": 90.0, "f1": 8.0}
    )
    write_run(root / "other", 9.0, task="sst2", score={"accuracy": 91.0})
    unfinished = write_run(root / "begun", 1.0)
    (unfinished / "result.json").unlink()
    (root / "bench.json").write_text("[1, 2]")
    (root / "numbers.json").write_text('{"a": 1}')
    return root


def test_the_nearest_published_point_is_one_of_its_own_kind(results):
    found = finished.find(results)
    assert {run.name for run in found} == {"soft", "down", "cut", "dense", "other"}
    below = finished.find(results / "deep", results / "other")
    assert [run.name for run in below] == ["down", "other"]
    for run in found:
        near, alike = compare.nearest(run), [o for o in RUNS if o.group == run.group]
        if near is None:
            assert run.name in ("other", "cut") and not alike  # global MNLI ran with a teacher only
            continue
        assert near in alike
        gaps = [abs(run.remaining - other.remaining) for other in alike]
        assert abs(run.remaining - near.remaining) == min(gaps)


def test_a_published_run_is_nearest_to_itself(run):
    mine = finished.FinishedRun("x", run.group, "bert", None, run.remaining, run.scores)
    assert compare.nearest(mine) == run


def test_comparing_prints_a_table_per_task(results, capsys):
    assert main(["compare", "--results", str(results)]) == 0
    text = capsys.readouterr().out
    blocks = dict(block.split("\n", 1) for block in text.strip().split("\n\n"))
    assert sorted(blocks) == ["mnli", "qqp", "squad", "sst2"]
    lines = {line.split()[0]: line for block in blocks.values() for line in block.splitlines()}
    near = published.get("squad-soft-movement-kd-10")
    for part in ("bert", "1,200", "2.00%", "F1 80.00  EM 70.00", near.id, f"{near.remaining:.2f}%",
                 f"F1 {near.scores['f1']:.2f}"):  # fmt: skip
        assert part in lines["down"]
    assert "qqp-dense" in lines["dense"] and "all" in lines["dense"]
    assert "acc 80.50  acc mm 81.00" in lines["cut"]
    assert lines["other"].split()[-3:] == ["–"] * 3
    assert main(["compare", "--results", str(results), "--markdown"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 5 + 2 * 4
    assert {line.count("|") for line in rows} == {len(compare.HEADER) + 1}


@pytest.mark.slow
def test_a_receipt_counts_like_its_run(results, tmp_path, ours):
    for folder in (results / "soft", results / "deep" / "down", results / "cut", ours):
        (tmp_path / "r").mkdir(exist_ok=True)
        path = receipt.write(folder, tmp_path / "r" / f"{folder.name}.json")
        (read,) = finished.find(path.parent)
        (direct,) = finished.find(folder)
        assert read == direct
        path.unlink()


def test_scores_of_another_optimizer_have_no_published_counterpart(results):
    known = {run.name for run in finished.find(results)}
    write_run(results / "mine", 10.0, method="movement", score_optimizer="platon")
    assert {run.name for run in finished.find(results)} == known
    receipt.write(results / "mine", results / "mine.json")
    assert {run.name for run in finished.find(results)} == known


def test_folders_without_anything_to_compare_are_refused(tmp_path, capsys):
    words = ["compare", "--results"]
    assert "--results" in fails([*words, tmp_path / "no"], capsys)
    assert "no finished run" in fails([*words, tmp_path], capsys)
    (tmp_path / "a.json").write_text("{")
    assert "a.json" in fails([*words, tmp_path], capsys)
    (tmp_path / "a.json").write_text('{"receipt": 1, "config": {"task": "squad"}}')
    message = fails([*words, tmp_path], capsys)
    assert "a.json" in message and "method" in message


# ------------------------------------------------------------------------------- picture


@pytest.mark.parametrize(("task", "column"), [("squad", "metric2"), ("mnli", "metric1")])
def test_a_panel_holds_every_published_point_and_ours_as_they_are(task, column, results):
    mine = [run for run in finished.find(results) if run.task == task]
    score, parts = plot.series(task, finished.find(results))
    points = {ours: sorted(p for s in parts if s.ours == ours for p in s.points)
              for ours in (True, False)}  # fmt: skip
    assert points[True] == sorted((run.remaining, run.scores[score]) for run in mine)
    assert points[False] == sorted(
        (float(row["remaining_pct"] or 100), float(row[column]))
        for row in SHEET.values()
        if row["task"] == task
    )
    assert len({part.label for part in parts}) == len(parts)


def test_without_matplotlib_it_says_how_to_get_it(results, tmp_path, monkeypatch, capsys):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ["compare", "--results", results, "--plot", tmp_path / "a.png"]
    message = fails(words, capsys)
    assert "--plot" in message and "pip install" in message and "plots" in message
    assert ".png" in fails([*words[:-1], tmp_path / "a.txt"], capsys)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.slow
def test_the_picture_is_drawn(results, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "runs.png"
    assert main(["compare", "--results", str(results), "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG") and "squad" in capsys.readouterr().out
    assert math.log10(path.stat().st_size) > 4
