"""Hub names, against a local server that speaks the hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax import models
from mpjax.errors import InputError
from mpjax.models.hf.hub import local_folder

TINY = models.BertConfig(
    vocab_size=11,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=8,
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def digest(data):
    return hashlib.sha1(data).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """Model info, file listing and file contents of the repositories in ``server.repos``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def log_message(self, format, *args):
        pass

    def answer(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.log.append(path)  # type: ignore[attr-defined]
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            self.api("/".join(parts[2:4]), parts[4:])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.reply(404, b"")

    def api(self, name, rest):
        files = self.server.repos.get(name)  # type: ignore[attr-defined]
        if files is None:
            return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if rest[:1] == ["tree"]:
            tree = [
                {
                    "type": "file",
                    "path": f,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                }
                for f, data in files.items()
            ]
            return self.reply(200, json.dumps(tree).encode())
        siblings = [{"rfilename": f} for f in files]
        info = {"_id": "0", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
        return self.reply(200, json.dumps(info | {"private": False, "tags": []}).encode())

    def file(self, name, revision, file):
        files = self.server.repos.get(name, {})  # type: ignore[attr-defined]
        if file not in files or revision not in ("main", COMMIT):
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = files[file]
        tag = {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT}
        return self.reply(200, data, tag)

    def reply(self, status, body, headers=None):
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def flax_file(params):
    """The question answerer's weights as the Flax classes of transformers save them."""
    named = models.torch_names(TINY, "qa")
    flat = {
        (*named[path].split(".")[:-1], path.rsplit("/", 1)[-1]): np.asarray(leaf)
        for path, leaf in flatten_dict(params, sep="/").items()
    }
    return msgpack_serialize(unflatten_dict(flat))


@pytest.fixture
def hub(tmp_path):
    """A running server: its repositories, its log of requests, and a client for it."""
    params = models.new_model(TINY, "qa").params
    folder = models.save_model(tmp_path / "made", TINY, params, "qa")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    weights = files["model.safetensors"]
    plain = {k: v for k, v in files.items() if k != "model.safetensors"}
    tensors = list(models.to_torch_names(params, TINY, "qa"))
    shard = "model-00001-of-00001.safetensors"
    index = json.dumps({"weight_map": dict.fromkeys(tensors, shard)}).encode()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.log = []  # type: ignore[attr-defined]
    server.repos = {  # type: ignore[attr-defined]
        "lab/both": files | {"pytorch_model.bin": b"PK", "tf_model.h5": b"h5", "README.md": b"#"},
        "lab/pickle": plain | {"pytorch_model.bin": b"PK"},
        "lab/shards": plain | {"model.safetensors.index.json": index, shard: weights},
        "lab/odd": plain
        | {
            "model.safetensors.index.json": index.replace(b"model-", b"model.safetensors-"),
            shard.replace("model-", "model.safetensors-"): weights,
            "model.safetensors-00002-of-00002": b"of no tensor",
        },
        "lab/flax": plain | {"flax_model.msgpack": flax_file(params), "tf_model.h5": b"h5"},
        "lab/bare": plain,
        "lab/other": {"README.md": b"#"},
    }
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


CLIENT = """
import json, sys
from mpjax.errors import InputError
from mpjax.models import load_model, local_folder
answers = []
for name, revision, load in json.loads(sys.argv[1]):
    try:
        folder = local_folder(name, revision)
        fresh = list(load_model(name, "qa", revision=revision).fresh) if load else None
        answers.append({"files": sorted(p.name for p in folder.iterdir()), "fresh": fresh})
    except InputError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""


def client(server, cache: Path, *requests, **environment):
    """Resolves names in a new process, since huggingface_hub reads HF_ENDPOINT on import."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    settings = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(models.__file__).parents[2]),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **environment,
    }
    command = [sys.executable, "-c", CLIENT, json.dumps(requests)]
    done = subprocess.run(
        command, env=os.environ | settings, cwd=cache.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_names_become_folders_with_one_form_of_the_weights(hub, tmp_path):
    both, shards, pickle = client(
        hub,
        tmp_path / "cache",
        ("lab/both", None, True),
        ("lab/shards", COMMIT, True),
        ("lab/pickle", "main", False),
    )
    assert both == {
        "files": ["README.md", "config.json", "model.safetensors", "vocab.txt"],
        "fresh": [],
    }
    assert shards["files"] == [
        "config.json",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "vocab.txt",
    ]
    assert shards["fresh"] == []
    assert pickle["files"] == ["config.json", "pytorch_model.bin", "vocab.txt"]
    fetched = {path for path in hub.log if "/resolve/" in path}
    assert not any(path.endswith(".h5") for path in fetched)
    assert not any("lab/both" in path and path.endswith(".bin") for path in fetched)


@pytest.mark.slow
def test_shards_of_any_name_and_flax_weights_are_fetched(hub, tmp_path):
    odd, flax = client(hub, tmp_path / "cache", ("lab/odd", None, True), ("lab/flax", None, True))
    assert odd["files"] == [
        "config.json",
        "model.safetensors-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "vocab.txt",
    ]
    assert odd["fresh"] == []
    assert flax == {"files": ["config.json", "flax_model.msgpack", "vocab.txt"], "fresh": []}


@pytest.mark.slow
def test_an_earlier_download_works_offline_and_with_the_hub_down(hub, tmp_path):
    cache = tmp_path / "cache"
    (first,) = client(hub, cache, ("lab/both", None, True))
    before = len(hub.log)
    offline, unknown = client(
        hub, cache, ("lab/both", None, True), ("lab/shards", None, False), HF_HUB_OFFLINE="1"
    )
    assert len(hub.log) == before
    assert offline == first
    assert "model 'lab/shards' is not a folder here, was never downloaded" in unknown["error"]
    down = "http://127.0.0.1:9"  # the discard port: nobody listens
    again, unknown = client(
        hub, cache, ("lab/both", None, True), ("lab/shards", None, False), HF_ENDPOINT=down
    )
    assert again == first
    assert f"{down} cannot be reached" in unknown["error"]


def test_what_the_hub_does_not_have_is_named(hub, tmp_path):
    missing, revision, bare, other, invalid = client(
        hub,
        tmp_path / "cache",
        ("lab/nothing", None, False),
        ("lab/both", "v9", False),
        ("lab/bare", None, False),
        ("lab/other", None, False),
        ("lab/two--dashes", None, False),
    )
    assert "model 'lab/nothing' is neither a folder here nor a public model" in missing["error"]
    assert "model 'lab/both' at revision 'v9'" in revision["error"]
    assert "not the revision" in revision["error"]
    assert "model 'lab/bare'" in bare["error"] and "has no weights" in bare["error"]
    assert "model 'lab/other'" in other["error"] and "no config.json" in other["error"]
    assert "nor a valid hub name" in invalid["error"]


# Paths: nothing here may ask the network.


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("asked the hub")

    monkeypatch.setattr("mpjax.models.hf.hub._fetch", refuse)


def test_an_existing_folder_wins(no_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab" / "both").mkdir(parents=True)
    (tmp_path / "lab" / "both" / "config.json").write_text('{"model_type": "bert"}')
    assert local_folder("lab/both") == Path("lab/both")
    assert local_folder(tmp_path / "lab") == tmp_path / "lab" / "both"
    with pytest.raises(InputError, match="revision 'main' was given for the local folder"):
        local_folder("lab/both", "main")


@pytest.mark.parametrize(
    ("configs", "told"),
    [
        ({}, "give the folder of a model or run"),
        ({"run": '{"derived": {}}'}, "give one of the folders in it: run"),
        ({"run": '{"derived": {}}', "start": '{"model_type": "bert"}'}, "in it: run, start"),
    ],
)
def test_a_folder_of_runs_is_no_model(configs, told, tmp_path):
    for name, text in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    with pytest.raises(InputError, match=f"has no config.json; .*{told}$"):
        local_folder(tmp_path)


@pytest.mark.parametrize(
    "name", ["./bert", "../bert", "/tmp/none/bert", "~/no-bert", "a/b/c", "runs/bert", "bert/"]
)
def test_a_path_that_is_not_there_is_not_looked_up(name, no_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()  # so that runs/bert must have meant a folder in it
    with pytest.raises(InputError, match="does not exist; check the path"):
        local_folder(name)
    with pytest.raises(InputError, match="does not exist"):
        local_folder(Path("lab/both"))


def test_a_file_is_not_a_model_and_nothing_is_none(no_network, tmp_path):
    with pytest.raises(InputError, match="name is empty"):
        local_folder("")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="is a file; give the folder"):
        local_folder(tmp_path / "model.safetensors")
