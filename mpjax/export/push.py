"""Upload of a model to the Hugging Face hub, its card included, in one commit."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from mpjax.cards import CARD, addressed, gather, is_ours, make_card
from mpjax.errors import InputError
from mpjax.export.dense_folder import export_model
from mpjax.files import read_bytes, shown
from mpjax.log import log
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.packed.file import PACKED_SUFFIX, is_packed, small_files
from mpjax.runs.opening import model_folder

_NAME = re.compile(r"[^/]+/[^/]+")
_KEPT = (".gitattributes",)  # the hub's own
_MAIN = "main"


@dataclass(frozen=True)
class Repository:
    """Repository on the hub as it was before the upload.

    Attributes:
      revision: branch.
      exists: whether there is such a repository. has_branch: and such a branch in it.
      commit: last one of the branch, None without.
      files: names of its files, but for the hub's own.
    """

    name: str
    revision: str
    exists: bool = False
    has_branch: bool = False
    private: bool = False
    commit: str | None = None
    files: tuple[str, ...] = ()


def push_model(
    source: str | Path,
    repository: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    overwrite: bool = False,
) -> str:
    """Uploads a run, a model folder or a packed model; returns the address of the repository.

    A run and a folder are exported first, as `export_model` does; a packed file is uploaded as it
    is. The card goes with it, and its examples name the repository. All files arrive in one commit
    or none does, and a repository that changes meanwhile is left as it is.

    Args:
      repository: OWNER/NAME; it is made if it does not exist.
      private: make it private; a public one that exists is refused.
      revision: branch, made if it does not exist; main by default.
      message: of the commit.
      overwrite: replace the files of a repository; others are removed. A card that was edited there
        stays.

    Raises:
      InputError: no such model, no token, no right to write, a repository with files, or a hub that
        cannot be reached.
    """
    _check_name(repository)
    _check_source(source)
    api = HfApi(token=_token(), library_name="mpjax")
    with _talking(repository, api.endpoint):
        before = _look(api, repository, revision or _MAIN)
    _check_free(before, private, overwrite)
    with tempfile.TemporaryDirectory() as temporary:
        files = _staged(source, Path(temporary) / "model", repository)
        with _talking(repository, api.endpoint):
            _make(api, before, private)
            if overwrite and CARD in before.files and _is_edited(api, before, Path(temporary)):
                log.warning("the card of %s has been edited there and is kept", repository)
                del files[CARD]
            _commit(api, before, files, message or f"Upload {Path(source).resolve().name}")
    address = f"{api.endpoint}/{repository}"
    return address if before.revision == _MAIN else f"{address}/tree/{before.revision}"


def _check_name(repository: str) -> None:
    try:
        validate_repo_id(repository)
    except HFValidationError:
        valid = False
    else:
        valid = _NAME.fullmatch(repository) is not None
    if not valid:
        raise InputError(
            f"{shown(repository)} is no name of a repository; give OWNER/NAME, of letters, digits, "
            "-, _ and ., where OWNER is your name on the hub or that of an organisation"
        )


def _check_source(source: str | Path) -> None:
    if is_packed(source):
        return
    if not Path(source).is_dir():
        raise InputError(
            f"{shown(source)} is neither a folder nor a packed model ({PACKED_SUFFIX}); give a "
            "run, a model folder or a packed model"
        )
    model_folder(source)  # an unfinished run


def _token() -> str:
    token = get_token()
    if token is None:
        raise InputError(
            "no token of the hub was found; make one with the right to write in the settings of "
            "your account, then log in with hf auth login or set HF_TOKEN"
        )
    return token


def _look(api: HfApi, name: str, revision: str) -> Repository:
    """State of a repository before the upload."""
    try:
        info = api.model_info(name)
    except RepositoryNotFoundError:
        return Repository(name, revision)
    has_branch = True
    if revision != _MAIN:
        try:
            info = api.model_info(name, revision=revision)
        except RevisionNotFoundError:
            has_branch = False  # it will begin as a copy of main
    files = [file.rfilename for file in info.siblings or ()]
    return Repository(
        name, revision, True, has_branch, bool(info.private), info.sha,
        tuple(file for file in files if file not in _KEPT),
    )  # fmt: skip


def _check_free(before: Repository, private: bool, overwrite: bool) -> None:
    """`InputError` for a repository that is public or has files, where that is not meant."""
    if private and before.exists and not before.private:
        raise InputError(
            f"--private: {before.name} exists and is public; make it private in its settings, or "
            "choose another name"
        )
    if before.files and not overwrite:
        more = f" and {len(before.files) - 3} more" if len(before.files) > 3 else ""
        names = ", ".join(shown(name) for name in before.files[:3])
        raise InputError(
            f"{before.name} has files on branch {shown(before.revision)} ({names}{more}); choose "
            "another name or --revision, or replace them with --overwrite"
        )


def _staged(source: str | Path, folder: Path, repository: str) -> dict[str, Path | bytes]:
    """Files to upload by name: paths, and the card's content."""
    packed = Path(source).name if is_packed(source) else None
    model = Path(source) if packed else export_model(source, folder)
    card = small_files(model, (CARD,)).get(CARD)
    if card is None:
        card = make_card(gather(source, model, read_tensors(model)[1]))
    files: dict[str, Path | bytes] = {CARD: addressed(card, repository, packed)}
    if packed:
        return files | {packed: model}
    return files | {path.name: path for path in model.iterdir() if path.name != CARD}


def _make(api: HfApi, before: Repository, private: bool) -> None:
    """Makes the repository and the branch if they are missing."""
    if not before.exists:
        api.create_repo(before.name, private=private or None, exist_ok=True)
    if not before.has_branch and before.revision != _MAIN:
        api.create_branch(before.name, branch=before.revision, exist_ok=True)


def _is_edited(api: HfApi, before: Repository, folder: Path) -> bool:
    """Whether the card on the hub is not as mpjax wrote it."""
    path = api.hf_hub_download(before.name, CARD, revision=before.commit, local_dir=folder / "card")
    return not is_ours(read_bytes(Path(path)))


def _commit(api: HfApi, before: Repository, files: dict[str, Path | bytes], message: str) -> None:
    stale = [name for name in before.files if name not in files and name != CARD]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        api.create_commit(
            before.name,
            [
                *(CommitOperationAdd(name, content) for name, content in files.items()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message,
            revision=before.revision,
            parent_commit=before.commit,
        )
    for warning in said:
        log.warning("%s", shown(" ".join(str(warning.message).split()), 500))


@contextmanager
def _talking(repository: str, hub: str) -> Iterator[None]:
    """Turns every failure of the hub into an `InputError` with its remedy."""
    try:
        yield
    except InputError:
        raise
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set, and a push needs the hub; unset it") from error
    except HfHubHTTPError as error:
        raise InputError(f"{repository}: {_answer(error, hub)}") from error
    except ValueError as error:  # the hub's validator of cards
        raise InputError(f"{repository}: {hub} refuses the card: {_line(error)}") from error
    except Exception as error:  # the HTTP library raises many kinds; each means no connection
        raise InputError(
            f"{hub} cannot be reached ({type(error).__name__}: {_line(error)}); check the network "
            "and push again"
        ) from error


def _answer(error: HfHubHTTPError, hub: str) -> str:
    """Sentence about an answer of the hub that is not a success."""
    status = error.response.status_code
    known = {
        401: "the token is not valid; log in again with hf auth login, or set HF_TOKEN",
        403: "the token may not write there; use one with the right to write, of the owner or of "
        "a member of the organisation",
        404: "the hub has no such repository for this token; use one with the right to write",
        412: "somebody has changed the repository meanwhile; push again",
        429: "the hub asks to wait (too many requests); push again later",
    }
    if status in known:
        return known[status]
    return f"{hub} answers {status} ({_line(error.server_message or error)})"


def _line(error: object) -> str:
    """Last line of a message that says something."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return shown(lines[-1]) if lines else "no reason given"
