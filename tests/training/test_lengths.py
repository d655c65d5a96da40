"""--max-length beyond the positions of a model is refused before any row is read."""

import json

import pytest
import tiny

from mpjax import cli
from mpjax.tasks.glue.task import GlueTask


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("lengths")
    tiny.options(root)
    tiny.model(root / "short" / "model", max_position_embeddings=20)
    return root


@pytest.mark.parametrize(
    ("words", "folder", "positions"),
    [
        (["train", "--max-length", "5000", "--output", "run"], "model", 32),
        (["sweep", "--max-length", "5000", "--output", "sweep"], "model", 32),
        (["evaluate", "--max-length", "5000"], "model", 32),
        (["train", "--max-length", "24", "--output", "run", "--teacher"], "short", 20),
    ],
)
def test_too_many_tokens_are_refused_before_rows_are_read(
    root, monkeypatch, capsys, words, folder, positions
):
    monkeypatch.chdir(root)
    teacher = ["short/model"] if "--teacher" in words else []
    monkeypatch.setattr(GlueTask, "read", lambda *_: pytest.fail("rows were read"))
    method = ["--method", "magnitude", "--density", "0.5"]
    rest = [] if words[0] == "evaluate" else [*method, "--steps", "2"]
    data = ["--model", "model", "--task", "sst2", "--data", "data"]
    assert cli.main([*words, *teacher, *data, *rest]) == 2
    said = capsys.readouterr().err
    assert f"is more than the {positions} positions for tokens of the model in" in said
    assert folder in said


def test_a_run_that_does_not_say_its_task_is_named(root, tmp_path, capsys):
    for changes in ({}, {"task": ["sst2"], "max_length": 16}, {"task": "sst2", "max_length": "16"}):
        (tmp_path / "config.json").write_text(json.dumps({"derived": {}} | changes))
        assert cli.main(["evaluate", "--model", str(tmp_path)]) == 2
        assert "does not say the task and --max-length" in capsys.readouterr().err
