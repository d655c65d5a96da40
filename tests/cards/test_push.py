"""Uploads to a hub on this machine: one commit, the card with it, one sentence for each mistake."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import tiny
from huggingface_hub import ModelCard
from loopback import READER, TOKEN, Repo, serving

from mpjax import cli, models
from mpjax.cards import CARD, is_ours
from mpjax.export import pack_model
from mpjax.models.packed.file import read_packed

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("push")
    assert cli.main(tiny.command(root)) == 0
    return root


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running hub, which huggingface_hub of this process asks with the right token."""
    with serving() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def push(*words: object) -> int:
    return cli.main(["push", *map(str, words)])


def refused(capsys, *words: object) -> str:
    """The message of a push that is refused."""
    capsys.readouterr()
    assert push(*words) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if "error:" in line]
    assert captured.out == ""
    return line


def test_a_run_arrives_whole_in_one_commit_with_its_card(hub, root, tmp_path, capsys):
    assert push(root / "run", "me/mine", "--private", "--message", "First") == 0
    assert capsys.readouterr().out.strip() == f"{hub.url}/me/mine"
    repo = hub.repos["me/mine"]
    assert repo.private and repo.log == ["First"]
    files = repo.branches["main"]
    assert files.keys() == {path.name for path in (root / "run" / "model").iterdir()} | {CARD}
    card = ModelCard(files[CARD].decode())
    assert 'from_pretrained("me/mine")' in card.text and is_ours(files[CARD])
    assert "POST api/validate-yaml" in hub.asked
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert models.load_model(tmp_path, "classification").fresh == ()


def test_a_folder_and_a_packed_model_arrive_as_they_are(hub, root, tmp_path):
    packed = pack_model(root / "run", tmp_path / "small.mpz")
    assert push(tmp_path / "small.mpz", "me/packed") == 0
    files = hub.repos["me/packed"].branches["main"]
    assert files.keys() == {CARD, "small.mpz"}
    assert files["small.mpz"] == (tmp_path / "small.mpz").read_bytes()
    card = ModelCard(files[CARD].decode())
    assert card.data.library_name == "mpjax" and "mpjax unpack small.mpz" in card.text
    assert read_packed(tmp_path / "small.mpz") == packed  # what was pushed is not changed
    assert push(root / "model", "me/folder") == 0
    text = hub.repos["me/folder"].branches["main"][CARD].decode()
    assert "## Density" in text and ModelCard(text).data.base_model is None


def test_files_that_are_there_stay_without_overwrite(hub, root, capsys):
    hub.repos["me/mine"] = Repo(branches={"main": {"pytorch_model.bin": b"old", "a": b""}})
    message = refused(capsys, root / "run", "me/mine")
    assert "me/mine has files on branch main (pytorch_model.bin, a)" in message
    assert hub.repos["me/mine"].branches["main"]["pytorch_model.bin"] == b"old"
    assert push(root / "run", "me/mine", "--overwrite") == 0
    repo = hub.repos["me/mine"]
    assert "pytorch_model.bin" not in repo.branches["main"] and repo.log == ["Upload run"]
    assert "model.safetensors" in repo.branches["main"]


def test_a_card_edited_on_the_hub_stays(hub, root, capsys):
    assert push(root / "run", "me/mine") == 0
    files = hub.repos["me/mine"].branches["main"]
    edited = files[CARD] + b"\nMy own words.\n"
    files |= {CARD: edited, "model.safetensors": b"old"}
    assert push(root / "run", "me/mine", "--overwrite") == 0
    assert files[CARD] == edited and files["model.safetensors"] != b"old"
    assert "card of me/mine has been edited there and is kept" in capsys.readouterr().err
    files[CARD] = edited.removesuffix(b"\nMy own words.\n")
    assert push(root / "run", "me/mine", "--overwrite") == 0
    assert is_ours(files[CARD])


def test_a_branch_is_made_where_it_is_missing(hub, root, capsys):
    assert push(root / "run", "me/mine", "--revision", "v2") == 0
    repo = hub.repos["me/mine"]
    assert repo.branches["main"] == {} and CARD in repo.branches["v2"]
    assert capsys.readouterr().out.strip().endswith("/me/mine/tree/v2")
    hub.repos["me/old"] = Repo()
    assert push(root / "run", "me/old", "--revision", "v3") == 0
    assert CARD in hub.repos["me/old"].branches["v3"]
    assert "branch v2" in refused(capsys, root / "run", "me/mine", "--revision", "v2")


def test_a_public_repository_does_not_become_private_in_silence(hub, root, capsys):
    hub.repos["me/open"] = Repo()
    assert "is public" in refused(capsys, root / "run", "me/open", "--private")
    assert hub.repos["me/open"].branches == {"main": {}}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["run", "mine"], "OWNER/NAME"),
        (["run", "me/mi ne"], "OWNER/NAME"),
        (["run", "me/mine/more"], "OWNER/NAME"),
        (["nowhere", "me/mine"], "neither a folder nor a packed model"),
        (["data", "me/mine"], "has no config.json; give"),
    ],
)
def test_a_wrong_name_or_model_asks_for_nothing_to_be_made(words, part, hub, root, capsys):
    assert part in refused(capsys, root / words[0], *words[1:])
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("token", "part"),
    [(None, "no token"), ("hf_wrong", "token is not valid"), (READER, "may not write there")],
)
def test_a_token_that_is_missing_or_has_no_right(token, part, hub, root, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    assert part in refused(capsys, root / "run", "me/mine")
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("validate-yaml", 400, "refuses the card"),
        ("commit/main", 412, "changed the repository meanwhile"),
        ("commit/main", 404, "no such repository for this token"),
        ("commit/main", 500, "answers 500"),
        ("models/me/mine", 429, "too many requests"),
    ],
)
def test_answers_of_the_hub_become_one_sentence(path, status, part, hub, root, capsys):
    hub.failing[path] = status
    assert part in refused(capsys, root / "run", "me/mine")


def test_a_repository_that_changes_meanwhile_is_left(hub, root, monkeypatch, capsys):
    from mpjax.export import push as module

    hub.repos["me/mine"] = Repo()
    monkeypatch.setattr(module, "_make", lambda *_: hub.repos["me/mine"].log.append("another"))
    assert "meanwhile" in refused(capsys, root / "run", "me/mine")
    assert hub.repos["me/mine"].branches["main"] == {}


def test_no_network_is_one_sentence(hub, root, monkeypatch, capsys):
    down = "http://127.0.0.1:9"  # the discard port: nobody listens
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", down)
    assert f"{down} cannot be reached" in refused(capsys, root / "run", "me/mine")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(capsys, root / "run", "me/mine")


@pytest.mark.slow
def test_the_command_asks_the_hub_of_the_environment(hub, root, tmp_path):
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "HF_TOKEN": TOKEN,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(Path(models.__file__).parents[2]),
    }
    words = [sys.executable, "-m", "mpjax", "push", str(root / "run"), "me/mine"]
    done = subprocess.run(words, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/me/mine\n"
    assert "Traceback" not in done.stderr and "UserWarning" not in done.stderr
