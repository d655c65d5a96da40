"""Quickstart at a scale that tests the plumbing only."""

import pytest
from disks import fill, make_read_only, small_disk

from mpjax import cli, quickstart, tasks
from mpjax.config.recorded import is_run
from mpjax.config.resolve import resolve
from mpjax.errors import InputError
from mpjax.locks import LOCK, one_writer
from mpjax.runs.folder import RunDir
from mpjax.tasks.demo.task import tokenizer
from mpjax.temporary import _maker
from mpjax.training import train as training

SMALL = quickstart.Scale(
    hidden=16, layers=1, most_steps=4, limit_train=96, limit_eval=8, densities=(0.1,)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, programs):
    folder, texts = tmp_path_factory.mktemp("quick") / "start here", []
    rows = quickstart.quickstart(folder, cache="none", show=texts.append, scale=SMALL)
    return folder, rows, "\n".join(texts)


@pytest.mark.slow
def test_every_run_is_there_and_in_the_table(made):
    folder, rows, text = made
    methods = [row["method"] for row in rows]
    assert methods == ["dense"] * 2 + ["magnitude", "soft_movement", "sensitivity"]
    assert [row["task"] for row in rows] == ["demo_mlm", *["demo_questions"] * 4]
    for row in rows:
        result = RunDir(folder / row["run"]).read_result()
        assert result is not None and result["linear_density"] == row["density"]
        assert result["score"][row["metric"]] == row["score"]
        assert is_run(row["run"])
        assert f"{100 * row['density']:.2f}%" in text and row["method"] in text
    assert [round(row["density"], 2) for row in rows] == [1, 1, 0.1, 0.1, 0.1]
    assert "synthetic" in text


@pytest.mark.slow
def test_a_second_time_reports_without_training(made, monkeypatch, caplog):
    folder, rows, text = made
    monkeypatch.setattr(training, "prepare", None)
    caplog.set_level("INFO", "mpjax")
    assert quickstart.quickstart(folder, cache="none", show=str, scale=SMALL) == rows
    for talk in ("[1/5] pretrain", "mpjax train --model", f"mpjax inspect {folder}"):
        assert talk in caplog.text and talk not in text  # the text is for stdout


def test_a_start_that_was_killed_goes_on_and_two_at_once_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "_run_all", lambda *_: [])
    (tmp_path / LOCK).write_text("{}")
    (tmp_path / f".{quickstart.MARK}.{_maker()}-abcd1234").write_text("{")
    assert quickstart.quickstart(tmp_path, scale=SMALL) == []
    assert [path.name for path in tmp_path.iterdir()] == [quickstart.MARK]
    with one_writer(tmp_path), pytest.raises(InputError, match="is being written by process"):
        quickstart.quickstart(tmp_path, scale=SMALL)


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with small_disk(tmp_path / "disk", "16k") as disk:
        (disk / "empty").mkdir()
        fill(disk)
        for read_only, place, part in (
            (False, tmp_path / "dangling", "is a symbolic link to"),
            (False, tmp_path / ("n" * 300), "the name is too long"),
            (False, disk / "empty", "cannot be written: the disk is full"),
            (True, disk / "new", "cannot be written: the file system is read-only"),
            (True, disk / "empty", "cannot be written: the file system is read-only"),
        ):
            if read_only:
                make_read_only(disk)
            assert cli.main(["quickstart", "--output", str(place), "--cache", "none"]) == 2
            (message,) = capsys.readouterr().err.splitlines()
            assert part in message
        assert list((disk / "empty").iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(made, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        quickstart.quickstart(tmp_path, scale=SMALL)
    with pytest.raises(InputError, match="not of this quickstart"):
        quickstart.quickstart(made[0], scale=quickstart.Scale())
    with pytest.raises(InputError, match="file"):
        quickstart.quickstart(tmp_path / "mine.txt", scale=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_real_scale_is_what_the_words_say(tmp_path):
    runs = quickstart.plan_runs(tmp_path, quickstart.Scale())
    assert len({name for name, _, _ in runs}) == len(runs) == 8
    asked = [(label, config.density) for _, label, config in runs if config.density]
    assert sorted(asked) == sorted(
        (m, d) for m in ("magnitude", "soft_movement", "sensitivity") for d in (0.1, 0.05)
    )
    for _, _, config in runs:
        assert resolve(config) and config.task.startswith("demo_")


@pytest.mark.slow
def test_no_row_of_the_demo_tasks_is_cut(tmp_path):
    task = tasks.get(quickstart.TASK)
    longest = task.encode(task.read(None, "train"), tokenizer(), 64).lengths.max()
    assert longest <= quickstart.SETTINGS["max_length"]


def test_the_command_passes_its_options_on(tmp_path, monkeypatch, capsys):
    seen = {}

    def fake(output, *, cache, seed, show):
        seen.update(output=output, cache=cache, seed=seed)
        show("the table")

    monkeypatch.setattr(quickstart, "quickstart", fake)
    assert (
        cli.main(["quickstart", "--output", str(tmp_path), "--cache", "none", "--seed", "2"]) == 0
    )
    assert seen == {"output": str(tmp_path), "cache": "none", "seed": 2}
    assert capsys.readouterr().out == "the table\n"
