"""Model names to local folders, downloaded from the Hugging Face hub where necessary."""

import glob
import os
import re
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.log import warn_once
from mpjax.models.families import CONFIG_JSON
from mpjax.models.hf.forms.weight_files import FORMS, INDEX, find_weights, shard_names
from mpjax.models.hf.tokenizer import TOKENIZER_FILES
from mpjax.models.packed.file import is_packed

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def local_folder(name_or_dir: str | Path, revision: str | None = None) -> Path:
    """Local folder of a model: an existing folder as it is, a hub name after a download.

    A packed model (a file) stands for the folder that it was made from, and a folder without a
    config for the only model folder in it. A folder takes precedence over a hub name. Downloads go
    through ``huggingface_hub`` (``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` apply) and
    fetch the config, the tokenizer, the card and one form of the weights, safetensors where
    available.

    Raises `InputError` for a path that does not exist, a folder of several models, a name the hub
    does not have, or a hub that cannot be reached.
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
        return _only_model(folder)
    if os.path.exists(folder):
        raise InputError(f"model {name_or_dir} is a file; give the folder that holds config.json")
    if isinstance(name_or_dir, Path) or _looks_like_path(name):
        raise InputError(f"model folder {shown(name)} does not exist; check the path")
    return _download(name, revision)


def no_config(folder: Path) -> InputError:
    """Error about a folder without a config, with the models and runs in it."""
    below = ", ".join(_below(folder))
    which = f"one of the folders in it: {shown(below)}" if below else "the folder of a model or run"
    return InputError(f"{shown(folder)} has no {CONFIG_JSON}; give {which}")


def _below(folder: Path) -> list[str]:
    """Names of the sub-folders of a folder that hold a ``config.json``, sorted: models and runs."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if os.path.isfile(folder / name / CONFIG_JSON)]


def _only_model(folder: Path) -> Path:
    """The folder, or its only sub-folder with a model where it has no config itself; said once."""
    if not os.path.isdir(folder) or os.path.exists(folder / CONFIG_JSON):
        return folder
    below = _below(folder)
    if len(below) != 1 or not _is_model(folder / below[0] / CONFIG_JSON):
        raise no_config(folder)
    warn_once(f"below {folder}", f"{shown(folder)}: the model is read from {shown(below[0])} in it")
    return folder / below[0]


def _is_model(config: Path) -> bool:
    """Whether a file is the config of a model; runs have configs too."""
    try:
        return os.path.isfile(config) and "model_type" in read_object(config)
    except InputError:
        return False


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
    if not (folder / CONFIG_JSON).is_file():
        raise InputError(f"{model} at {hub} has no config.json: not a transformers model")
    try:
        find_weights(folder)
    except InputError as error:
        raise InputError(f"{model} at {hub}: {error}") from error
    return folder


def _fetch(name: str, revision: str | None) -> Path:
    """Downloads config and tokenizer, then the first available form of the weights, of one commit.

    Shards may have any names: those in the index are fetched. Offline, ``snapshot_download`` itself
    falls back on an earlier download.
    """
    from huggingface_hub import snapshot_download

    wanted = [CONFIG_JSON, *TOKENIZER_FILES, "README.md"]  # the card: its license, for ours
    folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))

    def fetch(*patterns: str) -> None:
        # The folder is named after the commit, so a branch that moves meanwhile does no harm.
        snapshot_download(name, revision=folder.name, allow_patterns=list(patterns))

    for form in FORMS:
        file, index = folder / form, folder / (form + INDEX)
        stem, suffix = form.rsplit(".", 1)
        if not file.is_file() and not index.is_file():  # no earlier download
            fetch(file.name, index.name)
        if not file.is_file():
            loose = f"{stem}-*-of-*.{suffix}", f"{form}-*-of-*"
            fetch(*(map(glob.escape, shard_names(index)) if index.is_file() else loose))
        if file.is_file() or index.is_file() or any(folder.glob(f"{stem}*-of-*")):
            return folder
    return folder
