"""Model cards: what they say is what is recorded, in a form that the hub takes, and no path."""

import json
import os
import shutil
from pathlib import Path

import pytest
import tiny
from huggingface_hub import ModelCard
from safetensors.numpy import load_file, save_file

from mpjax import cli
from mpjax.cards import CARD, addressed, gather, is_ours, make_card
from mpjax.cards.comparison import compared
from mpjax.cards.data import PUBLISHED, training_data
from mpjax.cards.origin import origin
from mpjax.cards.records import METRICS
from mpjax.cards.training import recipe_of
from mpjax.config.recipes import get, names
from mpjax.errors import InputError
from mpjax.export import export_model, pack_model, shrink_model, unpack_model
from mpjax.export.with_scores import export_with_scores
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.packed.file import read_packed
from mpjax.report import measure
from mpjax.tasks import get as get_task
from mpjax.tasks.glue.task import HUB, GlueTask

pytestmark = pytest.mark.usefixtures("programs")
AUTHOR = "---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\nlanguage: [en, de]\n---\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A movement run and a dense one beside it; the model that they start from has a card."""
    root = tmp_path_factory.mktemp("cards")
    tiny.options(root)
    (root / "model" / CARD).write_text(AUTHOR + "# Theirs\n")
    common = {"limit_eval": 12, "seed": 3}
    for name, options in (("run", {}), ("fine", {"method": "dense", "density": None})):
        words = tiny.command(root, **common, **options, output=str(root / name))
        assert cli.main(words) == 0
    return root


@pytest.fixture
def exported(root, tmp_path):
    return export_model(root / "run", tmp_path / "out")


def card(folder: Path) -> ModelCard:
    return ModelCard((folder / CARD).read_text())


def test_the_front_matter_is_what_is_recorded(root, exported):
    data = card(exported).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.datasets == ["nyu-mll/glue"] and data.language == "en"
    assert (data.license, data.license_name, data.license_link) == ("other", "mine", "LICENSE")
    assert data.base_model is None  # a folder of this machine has no name on the hub
    assert {"mpjax", "bert", "pruning", "movement-pruning"} <= set(data.tags)
    score = json.loads((root / "run" / "result.json").read_text())["score"]
    (result,) = data.eval_results
    assert (result.metric_type, result.dataset_config) == ("accuracy", "sst2")
    assert result.metric_value == pytest.approx(score["accuracy"], abs=0.006)
    assert result.task_type == data.pipeline_tag and data.model_name == "run"


def test_the_text_has_the_density_of_every_matrix_and_the_dense_score(root, exported):
    text = card(exported).text
    found = measure(load_file(exported / "model.safetensors")).to_json()
    (layer,) = found["layers"]
    cells = [f"{100 * share:.1f}%" for share in layer["matrices"].values()]
    assert " | ".join(["| 0", *cells]) in text
    assert f"{found['kept_weights']:,} of {found['prunable_weights']:,}" in text
    dense = json.loads((root / "fine" / "result.json").read_text())["score"]["accuracy"]
    assert f"| dense, run `fine` |  | {dense:.2f} |" in text
    assert "first 12 rows" in text and "seed 3" in text
    assert "--learning-rate 0.01" in text and "`movement`" in text
    assert "jax `" in text and "AutoModelForSequenceClassification" in text


def test_no_path_of_this_machine_is_in_a_card(root, exported):
    run = root / "copy"
    shutil.copytree(root / "run", run, dirs_exist_ok=True)
    record = json.loads((run / "provenance.json").read_text())
    words = [f"{root}/bin/mpjax", "train", "--data", f"{root}/data", f"--model={root}/model"]
    record["sessions"][-1]["command"] = words
    (run / "provenance.json").write_text(json.dumps(record))
    for folder in (exported, export_model(run, exported.parent / "copied")):
        text = (folder / CARD).read_text()
        assert str(root) not in text and str(exported.parent) not in text
    assert "mpjax train --data data --model=model" in text


def test_a_card_that_was_edited_is_kept_and_said(root, exported, caplog, monkeypatch):
    before = (exported / CARD).read_bytes()
    assert is_ours(before)
    assert export_model(root / "run", exported) and (exported / CARD).read_bytes() == before
    mine = before.replace(b"# run", b"# My model")
    (exported / CARD).write_bytes(mine)
    monkeypatch.setattr("mpjax.log.log.propagate", True)
    export_model(root / "run", exported)  # equal but for the card: nothing to replace
    assert (exported / CARD).read_bytes() == mine and "edited and is kept" in caplog.text
    export_model(root / "fine", exported, overwrite=True)
    assert (exported / CARD).read_bytes() == mine


def test_the_card_of_a_folder_is_the_authors(root, tmp_path):
    shutil.copytree(root / "fine" / "model", tmp_path / "model")
    (tmp_path / "model" / CARD).write_text(AUTHOR)
    out = export_model(tmp_path / "model", tmp_path / "out")
    assert (out / CARD).read_text() == AUTHOR
    pack_model(tmp_path / "model", tmp_path / "m.mpz")
    unpack_model(tmp_path / "m.mpz", tmp_path / "again")
    assert (tmp_path / "again" / CARD).read_text() == AUTHOR
    (tmp_path / "model" / CARD).unlink()
    assert not (export_model(tmp_path / "model", tmp_path / "bare") / CARD).exists()
    (tmp_path / "model" / CARD).symlink_to(root / "data" / "train.tsv")
    with pytest.raises(ValueError, match="symbolic link"):
        export_model(tmp_path / "model", tmp_path / "link")
    with pytest.raises(ValueError, match="symbolic link"):
        pack_model(tmp_path / "model", tmp_path / "link.mpz")


def test_a_shrunk_model_has_a_card_of_its_own_densities(root, tmp_path):
    shrink_model(root / "run", tmp_path / "small")
    text = (tmp_path / "small" / CARD).read_text()
    kept = measure(read_tensors(tmp_path / "small")[1]).to_json()["kept_weights"]
    assert is_ours(text.encode()) and f"{kept:,} of" in text
    (tmp_path / "small" / CARD).write_text(AUTHOR)
    shrink_model(root / "run", tmp_path / "small", overwrite=True)
    assert (tmp_path / "small" / CARD).read_text() == AUTHOR


def test_a_card_beside_scores_tells_of_the_masked_model(root, tmp_path):
    export_with_scores(root / "run", tmp_path / "scores")
    text = (tmp_path / "scores" / CARD).read_text()
    kept = measure(read_tensors(root / "run" / "model")[1]).to_json()["kept_weights"]
    assert is_ours(text.encode()) and f"{kept:,} of" in text and "are not masked" in text


def test_no_folder_is_left_where_its_card_fails(root, tmp_path, monkeypatch):
    def fail(facts):
        raise InputError("no card")

    monkeypatch.setattr("mpjax.export.carded.make_card", fail)
    for make in (shrink_model, export_with_scores):
        with pytest.raises(InputError, match="no card"):
            make(root / "run", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_packed_run_holds_its_card(root, tmp_path):
    pack_model(root / "run", tmp_path / "exact.mpz")
    run = tmp_path / "run"
    shutil.copytree(root / "run", run)
    weights = run / "model" / "model.safetensors"
    name = "bert.encoder.layer.0.output.dense.weight"
    tensors = load_file(weights)
    tensors[name][0, 0] = 1e-9  # int8 makes it zero
    save_file(tensors, weights, {"format": "pt"})
    pack_model(run, tmp_path / "small.mpz", int8=True, embeddings="float16")
    exact, small = (
        read_packed(tmp_path / name).read_file(CARD).decode() for name in ("exact.mpz", "small.mpz")
    )
    assert is_ours(exact.encode()) and "rounded" not in exact
    assert "rounded linear layers to int8 and embeddings to float16" in small
    kept = measure(read_tensors(tmp_path / "small.mpz")[1]).to_json()["kept_weights"]
    assert f"{kept:,} of" in small and kept < measure(tensors).to_json()["kept_weights"]
    folder = unpack_model(tmp_path / "exact.mpz", tmp_path / "folder")
    assert (folder / CARD).read_text() == exact


def test_a_name_of_the_hub_is_the_base_and_runs_are_followed_to_it(tmp_path):
    assert origin("google-bert/bert-base-uncased").hub == "google-bert/bert-base-uncased"
    cached = tmp_path / "models--lab--bert" / "snapshots" / "000"
    assert origin(str(cached)).hub == "lab/bert"
    first, second = tmp_path / "first", tmp_path / "second"
    for run, model in ((first, "lab/bert"), (second, str(first / "model"))):
        run.mkdir()
        (run / "config.json").write_text(json.dumps({"model": model, "derived": {}}))
    assert origin(str(second)).hub == "lab/bert"
    assert origin(str(second / "model")).shown == "lab/bert"
    (first / "config.json").write_text(json.dumps({"model": str(second), "derived": {}}))
    assert origin(str(second)).hub is None  # a circle ends


@pytest.mark.parametrize(
    "text",
    ["# no front matter", "---\n- a\n---\n", "---\nlicense: [a]\nlanguage: {}\n---\n",
     "---\n&a: *a\n---\n", "---\nlicense_name: mine\nlanguage: English\n---\n"],
)  # fmt: skip
def test_nothing_is_made_up_from_a_card_that_says_nothing(text, tmp_path):
    (tmp_path / CARD).write_text(text)
    found = origin(str(tmp_path))
    assert (found.licence, found.languages) == ({}, ())


def test_the_hub_data_sets_are_those_that_the_tasks_read():
    for name, (hub, config) in PUBLISHED.items():
        task = get_task(name)
        assert hub == (HUB if isinstance(task, GlueTask) else task.hub_name)
        assert config == (name if isinstance(task, GlueTask) else None)
    assert training_data({"task": "tokens", "data": "hub:a/b:c"}).hub == "a/b"
    assert training_data({"task": "rte", "data": None}).shown == "nyu-mll/glue (rte)"
    assert "secret" not in training_data({"task": "qa", "data": "/secret/x.json"}).shown
    assert METRICS["matthews"] == "matthews_correlation"


def test_a_run_without_a_recipe_has_none(root):
    options = json.loads((root / "run" / "config.json").read_text())
    for method in ("dense", "soft_movement", "movement"):
        assert recipe_of({**options, "method": method, "mask_init": "constant"}) is None
    named = ["mpjax", "train", "--recipe", "published"]
    assert recipe_of(options, named) == "published"


@pytest.mark.parametrize("name", [name for name in names() if "method" in get(name).options])
def test_a_recipe_is_told_by_its_options_or_its_command(name):
    options = dict(get(name).options)
    assert recipe_of(options) == name
    changed = options | {"learning_rate": 1.0}
    assert recipe_of(changed, ["mpjax", "train", "--recipe", name]) == name
    assert recipe_of(changed, ["mpjax", "train", f"--recipe={name}"]) == name


def test_scores_of_other_rows_are_not_put_beside(root, tmp_path):
    shutil.copytree(root / "run", tmp_path / "run")
    shutil.copytree(root / "fine", tmp_path / "fine")
    config = tmp_path / "fine" / "config.json"
    options = json.loads((tmp_path / "run" / "config.json").read_text())
    (found,) = compared(tmp_path / "run", options, "accuracy")
    assert found.role == "dense"
    taught = compared(tmp_path / "run", options | {"teacher": str(tmp_path / "fine")}, "accuracy")
    assert [other.role for other in taught] == ["teacher"]  # the same run once
    config.write_text(json.dumps(json.loads(config.read_text()) | {"limit_eval": 4}))
    assert compared(tmp_path / "run", options, "accuracy") == ()
    assert compared(tmp_path / "run", options | {"teacher": "lab/bert"}, "accuracy") == ()


def test_words_of_strangers_end_no_block_and_begin_no_markup(root, tmp_path):
    run = tmp_path / "a`b\n# Title <!-- x"
    shutil.copytree(root / "run", run)
    record = json.loads((run / "config.json").read_text())
    record |= {"data": "```\n<script>", "task": "sst2", "rule_option": "a=```\nb"}
    (run / "config.json").write_text(json.dumps(record))
    made = make_card(gather(run, run / "model", read_tensors(run / "model")[1])).decode()
    assert "\n# Title" not in made and is_ours(made.encode())
    assert ModelCard(made).text.count("```") == 8  # four blocks
    assert ModelCard(made).data.model_name == run.name


def test_the_examples_name_the_repository_and_an_edited_card_is_left():
    ours = make_text()
    named = addressed(ours, "me/mine")
    assert b"me/mine" in named and b"OWNER/NAME" not in named and is_ours(named)
    edited = ours.replace(b"Use", b"Usage")
    assert addressed(edited, "me/mine") == edited


def make_text() -> bytes:
    from mpjax.cards.marks import signed

    return signed('## Use\n\nload("OWNER/NAME")\n')


def test_a_run_with_damaged_records_still_exports(root, tmp_path):
    shutil.copytree(root / "run", tmp_path / "run")
    (tmp_path / "run" / "provenance.json").write_text("{")
    out = export_model(tmp_path / "run", tmp_path / "out")
    text = (out / CARD).read_text()
    assert "## Density" in text and "## Training" not in text
    assert not os.path.exists(tmp_path / "run" / "README.md")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"limit_eval": "12"}, "--limit-eval is '12'"),
        ("config.json", {"task": "x\n```"}, "task is"),
        ("config.json", {"derived": {}}, "'train_rows' is missing"),
        ("config.json", {"derived": {"train_rows": "many"}}, "train_rows is 'many'"),
        ("result.json", {"steps": None}, "steps is None"),
        ("result.json", {"score": {"accuracy": 50.0, "f1": "x"}}, "f1 is 'x'"),
        ("result.json", {"seconds": float("nan")}, "seconds is nan"),
    ],
)
def test_records_of_another_form_leave_the_run_out_and_that_is_said(
    root, tmp_path, caplog, file, change, said
):
    run = shutil.copytree(root / "run", tmp_path / "run")
    record = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps(record | change))
    made = gather(run, run / "model", read_tensors(run / "model")[1])
    assert made.run is None and said in caplog.text
    assert b"## Training" not in make_card(made)


def test_options_and_parts_of_sessions_that_are_missing_are_done_without(root, tmp_path):
    run = shutil.copytree(root / "run", tmp_path / "run")
    options = json.loads((run / "config.json").read_text())
    del options["limit_train"]
    (run / "config.json").write_text(json.dumps(options))
    (run / "provenance.json").write_text(json.dumps({"sessions": [{"hardware": 3}, 1]}))
    text = make_card(gather(run, run / "model", read_tensors(run / "model")[1])).decode()
    assert "## Training" in text and "not recorded" in text
