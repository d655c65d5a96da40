"""Outputs of commands appear whole or not at all, and replace nothing without --overwrite."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from disks import fill, make_read_only, small_disk, tree
from safetensors.numpy import load_file, save_file

from mpjax import cli, models
from mpjax.models.packed.file import read_packed

pytestmark = pytest.mark.usefixtures("programs")
COMMANDS = ("export", "shrink", "unpack", "pack")
FAR = "f" * 300


def classifier(folder: Path, seed: int) -> Path:
    base = tiny.model(folder.parent / f"base{seed}")
    new = models.load_model(base, "classification", labels=("negative", "positive"), seed=seed)
    return models.save_model(folder, new.config, new.params, new.head, base)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classifiers, as folders and packed, and data for them."""
    root = tmp_path_factory.mktemp("outputs")
    tiny.data(root / "data")
    for number, name in enumerate(("one", "other")):
        classifier(root / name, number)
        assert cli.main(["pack", str(root / name), "--output", str(root / f"{name}.mpz")]) == 0
    return root


def make(command: str, root: Path, name: str, output: Path, *more: str) -> int:
    source = root / (f"{name}.mpz" if command == "unpack" else name)
    return cli.main([command, str(source), "--output", str(output), *more])


def refused(capsys) -> str:
    """The one sentence of a refusal."""
    captured = capsys.readouterr()
    assert captured.out == ""
    message = captured.err.splitlines()[-1]
    assert message.startswith("mpjax: error: ")
    return message.removeprefix("mpjax: error: ")


def weights(output: Path) -> np.ndarray:
    tensors = load_file(output / "model.safetensors") if output.is_dir() else \
        read_packed(output).restore()  # fmt: skip
    return tensors["classifier.weight"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_is_replaced_with_overwrite_only(command, root, tmp_path, capsys):
    output = tmp_path / "out.mpz"
    assert make(command, root, "one", output) == 0
    before = tree(tmp_path)
    capsys.readouterr()
    assert make(command, root, "other", output) == 2
    assert "--overwrite" in refused(capsys) and tree(tmp_path) == before
    assert make(command, root, "other", output, "--overwrite") == 0
    assert not np.array_equal(weights(output), weights(root / "one"))
    np.testing.assert_array_equal(weights(output), weights(root / "other"))
    assert os.listdir(tmp_path) == ["out.mpz"]


@pytest.mark.parametrize("command", ["export", "shrink", "unpack"])
def test_overwrite_replaces_models_only(command, root, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    assert make(command, root, "one", tmp_path / "home", "--overwrite") == 2
    assert "holds no config.json, so it is not replaced" in refused(capsys)
    assert tree(tmp_path / "home") == {"letter": b"dear"}
    model = tmp_path / "model"
    shutil.copytree(root / "one", model)
    for name, content, message in (
        ("config.json", "{}", "its config.json is not that of a model"),
        ("metrics.jsonl", "", "it holds metrics.jsonl, which is no file of a model"),
        ("checkpoints/1/state", "", "it holds checkpoints, which is no file of a model"),
    ):
        other = tmp_path / name.partition("/")[0]
        shutil.copytree(model, other)
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text(content)
        before = tree(other)
        assert make(command, root, "one", other, "--overwrite") == 2
        assert message in refused(capsys) and tree(other) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_refuses_leaves_everything_as_it_was(command, root, tmp_path, capsys):
    with small_disk(tmp_path / "disk", "1m") as disk:
        output = disk / "out.mpz"
        assert make(command, root, "one", output) == 0
        before = tree(disk)
        capsys.readouterr()
        fill(disk)
        assert make(command, root, "other", output, "--overwrite") == 2
        message = refused(capsys)
        assert f"{output} cannot be written: the disk is full (" in message
        assert " bytes are needed, 0 bytes are free)" in message
        (disk / "filling").unlink()
        assert tree(disk) == before
        make_read_only(disk)
        for place, more in ((output, ["--overwrite"]), (disk / "new.mpz", [])):
            assert make(command, root, "other", place, *more) == 2
            assert f"{place} cannot be written: the file system is read-only" in refused(capsys)
        assert tree(disk) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_places_that_cannot_hold_an_output(command, root, tmp_path, capsys):
    (tmp_path / "dangling.mpz").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.mpz").symlink_to(tmp_path / "circle.mpz")
    (tmp_path / "file").write_text("")
    before = tree(tmp_path)
    for place, part in (
        ("dangling.mpz", f"is a symbolic link to {tmp_path / 'nowhere'}, which does not exist"),
        ("circle.mpz", "circle.mpz"),
        (f"{FAR}.mpz", "the name is too long; choose a shorter one"),
        (f"{FAR}/out.mpz", "the name is too long; choose a shorter one"),
        ("file/out.mpz", "is a file, not a folder; choose another place"),
    ):
        for more in ([], ["--overwrite"]):
            assert make(command, root, "one", tmp_path / place, *more) == 2
            assert part in refused(capsys)
    assert tree(tmp_path) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_root_is_no_output(command, root, capsys):
    assert make(command, root, "one", Path("/")) == 2
    said = "must end in .mpz" if command == "pack" else "is not empty"
    assert f"--output / {said}" in refused(capsys)


@pytest.mark.parametrize("command", ["export", "shrink"])
def test_input_and_output_in_one_another(command, tmp_path, capsys):
    inner = classifier(tmp_path / "outer" / "model", 0)
    (tmp_path / "outer" / "config.json").write_text("{}")
    before = tree(tmp_path)
    for place, part in (
        (inner, "lies in the folder that is read"),
        (inner / "new", "lies in the folder that is read"),
        (inner.parent, "holds the folder that is read"),
    ):
        capsys.readouterr()
        assert cli.main([command, str(inner), "--output", str(place), "--overwrite"]) == 2
        assert part in refused(capsys)
    assert tree(tmp_path) == before


def test_an_export_takes_the_files_of_a_model_along_and_no_others(tmp_path, capsys):
    source = classifier(tmp_path / "model", 0)
    tensors = load_file(source / "model.safetensors")
    names = sorted(tensors)
    (source / "model.safetensors").unlink()
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, source / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    known = {path.name for path in source.iterdir()}
    (tmp_path / "secret").write_text("secret")
    (source / "c.safetensors").write_bytes(b"of another model")
    (source / "letter").symlink_to(tmp_path / "secret")
    (source / "folder").mkdir()
    (source / "folder" / "letter").write_text("dear")
    os.mkfifo(source / "merges.txt")  # would be read for ever
    assert cli.main(["export", str(source), "--output", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == known
    said = capsys.readouterr().err
    assert "not taken along, no part of a model: c.safetensors, folder, letter, merges.txt" in said


@pytest.mark.parametrize("command", ["export", "shrink", "pack"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(command, file, root, tmp_path, capsys):
    source = classifier(tmp_path / "model", 0)
    (source / file).rename(tmp_path / file)
    (source / file).symlink_to(tmp_path / file)
    output = tmp_path / "out.mpz"
    assert cli.main([command, str(source), "--output", str(output)]) == 2
    assert f"symbolic link to {tmp_path / file}, outside its folder" in refused(capsys)
    assert not output.exists()


def test_links_of_the_hub_cache_become_files(tmp_path):
    repository = tmp_path / "models--a--b"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    source = classifier(tmp_path / "model", 0)
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(source.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    for command in ("export", "pack"):
        output = tmp_path / f"{command}.mpz"
        assert cli.main([command, str(snapshot), "--output", str(output)]) == 0
    assert not any(path.is_symlink() for path in (tmp_path / "export.mpz").iterdir())
    assert tree(tmp_path / "export.mpz").keys() == tree(snapshot).keys()


def words(root: Path, predictions: Path, *more: str) -> list[str]:
    return ["evaluate", "--model", str(root / "one"), "--task", "sst2", "--data",
            str(root / "data"), "--max-length", "16", "--cache", "none", "--predictions",
            str(predictions), *more]  # fmt: skip


def test_a_score_is_printed_even_if_its_predictions_cannot_be_written(root, tmp_path, capsys):
    assert cli.main(words(root, tmp_path / "p.tsv")) == 0
    whole = capsys.readouterr().out
    with small_disk(tmp_path / "disk", "16k") as disk:
        fill(disk)
        assert cli.main(words(root, disk / "p.tsv")) == 2
        captured = capsys.readouterr()
        assert captured.out == whole
        said = f"mpjax: error: {disk / 'p.tsv'} cannot be written: the disk is full ("
        assert captured.err.splitlines()[-1].startswith(said)
        assert os.listdir(disk) == ["filling"]
        make_read_only(disk)
        assert cli.main(words(Path("/not/read"), disk / "p.tsv")) == 2  # before any work
        assert "the file system is read-only" in refused(capsys)


def test_predictions_are_replaced_with_overwrite_only(root, tmp_path, capsys):
    (tmp_path / "p.tsv").write_text("mine")
    assert cli.main(words(Path("/not/read"), tmp_path / "p.tsv")) == 2
    assert "p.tsv exists; choose another name, or replace it with --overwrite" in refused(capsys)
    assert (tmp_path / "p.tsv").read_text() == "mine"
    assert cli.main(words(root, tmp_path / "p.tsv", "--overwrite")) == 0
    assert (tmp_path / "p.tsv").read_text().startswith("index\tprediction\n")
    (tmp_path / "nbest_p.json").write_text("mine")
    squad = ["evaluate", "--model", "/not/read", "--task", "squad", "--predictions"]
    assert cli.main([*squad, str(tmp_path / "p.json")]) == 2
    assert "nbest_p.json exists" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train"], ["sweep", "--seeds", "0,1"]])
def test_a_device_is_no_folder_for_a_run(command, capsys):
    words = ["--task", "sst2", "--model", "x", "--method", "magnitude", "--density", "0.5"]
    assert cli.main([*command, *words, "--output", os.devnull]) == 2
    assert f"--output {os.devnull} is a file; give a folder" in capsys.readouterr().err
