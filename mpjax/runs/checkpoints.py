"""Checkpoints of the train state: written by Orbax in the background, verified before use."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mpjax.disk import free_bytes
from mpjax.errors import InputError
from mpjax.files import write_atomically
from mpjax.parallel.consensus import check_visible, first, from_first
from mpjax.pruning.trees import flatten
from mpjax.runs import records
from mpjax.runs.finite import not_finite

KEPT = 2
State = TypeVar("State")  # a dataclass of pytrees


class Checkpoints:
    """Checkpoint folder of a run; as a context it waits for the last save on leaving.

    ``with Checkpoints(folder) as checkpoints: state = checkpoints.restore(state)``

    With several processes all must call the methods; process 0 writes the records.

    Args:
      folder: made by the first save.
      files: growing files to copy into every checkpoint, by a relative name for the copy.
      keep: number of checkpoints to keep.
      rank: number of a score, higher is better; the best checkpoint is kept besides.
      strict: refuse a damaged checkpoint instead of continuing from the one before.
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: Mapping[str, Path] | None = None,
        keep: int = KEPT,
        rank: Callable[[Any], float | None] = lambda score: None,
        strict: bool = False,
    ) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # its notes on stderr are ours to give
        self.folder = folder.absolute()
        self._files, self._keep, self._rank, self._strict = files or {}, keep, rank, strict
        self._saver = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self._writer: threading.Thread | None = None
        self._failure: Exception | None = None
        self._latest: int | None = None

    def save(self, state: Any, step: int, score: Any = None) -> None:
        """Starts saving the state after `step` steps; the state may be donated at once.

        Waits for the save before.

        Args:
          score: dev scores after this step, if they were computed.

        Raises:
          InputError: the state holds a number that is not finite, or the save before has failed.
        """
        self.wait()
        if step in records.steps(self.folder):
            return
        fields = _fields(state)
        if (path := not_finite(fields)) is not None:
            raise InputError(
                f"{path} is not finite after step {step}, so no checkpoint of it is written"
            )
        copies = {name: path.read_bytes() for name, path in self._files.items() if path.is_file()}
        tree = jax.tree.map(_one_replica, fields)
        if first():  # what a killed save has left
            shutil.rmtree(self.folder / str(step), ignore_errors=True)
        with _telling(self.folder, step):
            self._saver.save(
                self.folder / str(step) / records.STATE,
                args=ocp.args.StandardSave(tree),
                force=True,
            )
        self._writer = threading.Thread(
            target=self._commit, args=(step, copies, self._rank(score)), name="checkpoint"
        )
        self._writer.start()

    def wait(self) -> None:
        """Waits until everything saved so far is committed; `InputError` if it could not be."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def latest(self) -> int:
        """Step of the newest checkpoint that is as it was written; 0 without any checkpoint.

        Damaged ones are named in a warning and put aside.

        Raises:
          InputError: all checkpoints are damaged; with `strict`, the newest one is.
        """
        self.wait()
        if self._latest is None:
            self._latest = from_first(lambda: records.newest_whole(self.folder, self._strict))
            if step := self._latest:  # that process 0 sees
                check_visible(
                    f"checkpoint {step}", self.folder, lambda: step in records.steps(self.folder)
                )
        return self._latest or 0

    def restore(self, template: State) -> State:
        """Latest state, in the shardings of `template`; `template` itself without a checkpoint.

        The growing files of the run are put back as they were at that step.
        """
        step = self.latest()
        if step == 0:
            return template
        saved = self._read(step, jax.tree.map(_abstract, _fields(template)))
        if first():
            for name, path in self._files.items():
                copy = self.folder / str(step) / records.FILES / name
                if copy.is_file():
                    content = copy.read_bytes()
                    write_atomically(path, lambda file, content=content: file.write(content))
        fields: Any = {f.name: getattr(template, f.name) for f in dataclasses.fields(template)}  # pyright: ignore
        return dataclasses.replace(template, **jax.tree.map(_like, saved, fields))  # pyright: ignore

    def read(self) -> dict[str, Any]:
        """Fields of the newest state, on the first device; `InputError` if it is damaged."""
        step = _newest_whole(self.folder)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        found: Any = self._saver.metadata(records.state_folder(self.folder / str(step)))
        found = getattr(found, "item_metadata", found)
        described = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
            dict(getattr(found, "tree", found)),
        )
        return self._read(step, described)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except InputError:
            if kind is None:  # else the first error is the one to tell
                raise
        finally:
            self._saver.close()

    def _commit(self, step: int, copies: Mapping[str, bytes], rank: float | None) -> None:
        """Ends a save: waits for Orbax, writes the record, deletes what is no longer needed."""
        folder = self.folder / str(step)
        try:
            with _telling(self.folder, step):
                self._saver.wait_until_finished()
                self._latest = step
                if not first():
                    return
                for name, content in copies.items():
                    target = folder / records.FILES / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                records.write_record(folder, rank)
                records.prune(self.folder, self._keep)
        except Exception as error:  # told by `wait`, in the thread that trains
            self._failure = error

    def _read(self, step: int, described: Any) -> Any:
        try:
            return self._saver.restore(
                records.state_folder(self.folder / str(step)),
                args=ocp.args.StandardRestore(described),
            )
        except (ValueError, OSError, KeyError) as error:
            raise InputError(
                f"checkpoint {step} in {self.folder} cannot be read "
                f"({_said(error)}); it is of another version of mpjax or of other "
                "options: choose another --output"
            ) from error


@contextmanager
def _telling(folder: Path, step: int) -> Iterator[None]:
    """Turns a failure to write a checkpoint, of any kind that Orbax raises, into one sentence."""
    try:
        yield
    except Exception as error:
        free = free_bytes(folder) or 0
        raise InputError(
            f"checkpoint {step} cannot be written to {folder} "
            f"({_said(error)}); {free / 1e9:.1f} GB are free there. The checkpoint "
            "before is intact: make room and give the same command again"
        ) from error


def _said(error: Exception) -> str:
    """First line of an error, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_latest(folder: Path) -> dict[str, Any]:
    """Fields of the newest state as arrays of one device, whatever mesh it was saved from.

    Raises `InputError` for a folder without a checkpoint, and for a damaged one.
    """
    with Checkpoints(folder) as checkpoints:
        return checkpoints.read()


def read_parts(folder: Path, wanted: Callable[[str], object]) -> dict[str, np.ndarray]:
    """Arrays of the newest state by their ``/``-joined paths; the others are not read.

    Args:
      wanted: whether to read the array of a path.

    Raises:
      InputError: as of `Checkpoints.read`.
    """
    step = _newest_whole(folder)
    files = records.state_folder(folder.absolute() / str(step))
    reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    try:
        found: Any = reader.metadata(files)
        found = getattr(found, "item_metadata", found)
        tree = dict(getattr(found, "tree", found))
        paths = iter(flatten(tree))
        # PLACEHOLDER leaves an array where it is: the optimiser's are most of a checkpoint.
        asked = jax.tree.map(
            lambda leaf: (
                jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
                if wanted(next(paths))
                else ocp.PLACEHOLDER
            ),
            tree,
        )
        form = ocp.RestoreArgs(restore_type=np.ndarray)
        args = jax.tree.map(lambda _: form, tree)
        read = reader.restore(files, args=ocp.args.PyTreeRestore(item=asked, restore_args=args))
    except (ValueError, OSError, KeyError) as error:
        raise InputError(
            f"checkpoint {step} in {folder} cannot be read ({_said(error)})"
        ) from error
    finally:
        reader.close()
    return {p: leaf for p, leaf in flatten(read).items() if isinstance(leaf, np.ndarray)}


def _newest_whole(folder: Path) -> int:
    """Step of the newest checkpoint; `InputError` for a damaged one, or none."""
    steps = records.steps(folder)
    if not steps:
        raise InputError(f"{folder} holds no checkpoint")
    if (reason := records.damage_of(folder / str(steps[-1]))) is not None:
        raise InputError(f"checkpoint {steps[-1]} in {folder} is damaged: {reason}")
    return steps[-1]


def _fields(state: Any) -> dict[str, Any]:
    """Fields of a dataclass of pytrees, typed random keys as their bits."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, fields)


def _is_key(leaf: jax.Array) -> bool:
    # A typed key is a jax notion; files hold its bits.
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _like(saved: jax.Array, leaf: jax.Array) -> jax.Array:
    """A restored array, as a random key where `leaf` is one."""
    if not _is_key(leaf):
        return saved
    return jax.random.wrap_key_data(saved, impl=jax.random.key_impl(leaf))


def _one_replica(leaf: jax.Array) -> jax.Array:
    # Of a replicated array Orbax would have each device write a slice, and compile a program to cut
    # each slice off. Restoring replicates it again as the template says.
    whole = leaf.is_fully_addressable and leaf.is_fully_replicated
    return leaf.addressable_data(0) if whole else leaf


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
