"""Model names to local folders, downloaded from the Hugging Face hub where necessary."""

import os
import re
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models.hf.tensors import INDEX, PICKLE, SAFETENSORS
from mpjax.models.hf.tokenizer import TOKENIZER_FILES
from mpjax.models.packed.file import is_packed

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def local_folder(name_or_dir: str | Path, revision: str | None = None) -> Path:
    """Local folder of a model: an existing folder as it is, a hub name after a download.

    A packed model (a file) stands for the folder that it was made from. A folder takes precedence
    over a hub name. Downloads go through ``huggingface_hub`` (``HF_ENDPOINT``, ``HF_HOME`` and
    ``HF_HUB_OFFLINE`` apply) and fetch the config, the tokenizer and one form of the weights,
    safetensors where available.

    Raises `InputError` for a path that does not exist, a name the hub does not have, or a hub
    that cannot be reached.
    """
    if not str(name_or_dir):
        raise InputError("the model name is empty; give a folder or a hub name")
    name = str(name_or_dir)
    folder = Path(os.path.expanduser(name))
    # os.path answers False where Path raises: for a name too long, or with a NUL.
    if os.path.isdir(folder) or is_packed(folder):
        if revision is not None:
            raise InputError(
                f"revision {revision!r} was given for the local folder {folder}; "
                "revisions belong to hub names"
            )
        return folder
    if os.path.exists(folder):
        raise InputError(f"model {name_or_dir} is a file; give the folder that holds config.json")
    if isinstance(name_or_dir, Path) or _looks_like_path(name):
        raise InputError(f"model folder {shown(name)} does not exist; check the path")
    return _download(name, revision)


def _looks_like_path(name: str) -> bool:
    """Whether a name cannot be a hub name, or lies below a folder that exists here."""
    if name.startswith((".", "~")) or not _HUB_NAME.fullmatch(name):
        return True
    # The hub has names of 96 characters at most.
    return len(name) > 96 or ("/" in name and os.path.isdir(Path(name).parent))


def _download(name: str, revision: str | None) -> Path:
    """Fetches a model; every failure of the hub as an `InputError` with its remedy."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    model = f"model {name!r}" + ("" if revision is None else f" at revision {revision!r}")
    hub = constants.ENDPOINT
    try:
        folder = _fetch(name, revision)
    except RevisionNotFoundError as error:
        raise InputError(f"{model}: {hub} has the model but not the revision") from error
    except GatedRepoError as error:
        raise InputError(f"{model} is gated: accept its terms at {hub} and log in") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{model} is neither a folder here nor a public model at {hub}; check the name"
        ) from error
    except HFValidationError as error:
        raise InputError(f"{model} is neither a folder here nor a valid hub name") from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{model} is not a folder here, was never downloaded, and {hub} cannot be reached; "
            "check the name and the network"
        ) from error
    except Exception as error:  # the HTTP library raises many kinds; each means no download
        text = str(error).strip().splitlines() or [""]
        raise InputError(
            f"{model} could not be downloaded from {hub} ({type(error).__name__}: {text[0]})"
        ) from error
    if not (folder / "config.json").is_file():
        raise InputError(f"{model} at {hub} has no config.json: not a transformers model")
    if not any((folder / file).is_file() for file in _WEIGHTS):
        raise InputError(f"{model} at {hub} has no weights mpjax reads: {SAFETENSORS} or {PICKLE}")
    return folder


def _fetch(name: str, revision: str | None) -> Path:
    """Downloads config and tokenizer, then the first available form of the weights, of one commit.

    Offline, ``snapshot_download`` itself falls back on an earlier download.
    """
    from huggingface_hub import snapshot_download

    wanted = ["config.json", *TOKENIZER_FILES]
    folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    for file in (SAFETENSORS, PICKLE):
        if (folder / file).is_file():  # an earlier download
            return folder
        stem, suffix = file.rsplit(".", 1)
        shards = [file, file + INDEX, f"{stem}-*-of-*.{suffix}"]
        # The folder is named after the commit, so a branch that moves meanwhile does no harm.
        snapshot_download(name, revision=folder.name, allow_patterns=shards)
        if (folder / file).is_file() or (folder / (file + INDEX)).is_file():
            return folder
    return folder


_WEIGHTS = (SAFETENSORS, SAFETENSORS + INDEX, PICKLE, PICKLE + INDEX)
