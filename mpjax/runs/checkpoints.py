"""Checkpoints of the train state with Orbax; the last two are kept.

Orbax commits a checkpoint atomically, so a run that is killed while saving continues from the
checkpoint before.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from mpjax.errors import InputError

KEPT = 2
State = TypeVar("State")  # a dataclass of pytrees


class Checkpoints:
    """Checkpoint folder of a run; as a context it waits for the last save on leaving.

    ``with Checkpoints(folder) as checkpoints: state = checkpoints.restore(state)``
    """

    def __init__(self, folder: Path, create: bool = True) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # its notes on stderr are ours to give
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=create)
        # Told the handler, the manager can say what a checkpoint holds before it is read.
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        handler = ocp.StandardCheckpointHandler()
        for kind in (ocp.args.StandardSave, ocp.args.StandardRestore):
            registry.add("default", kind, handler)
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, handler_registry=registry
        )

    def save(self, state: Any, step: int) -> None:
        """Starts saving the state after `step` steps; the state may be donated at once."""
        if step not in self._manager.all_steps():
            tree = jax.tree.map(_one_replica, _fields(state))
            self._manager.save(step, args=ocp.args.StandardSave(tree))

    def latest(self) -> int:
        """Step of the last committed checkpoint, 0 without one."""
        return self._manager.latest_step() or 0

    def restore(self, template: State) -> State:
        """Last committed state, in the shardings of `template`; `template` without a checkpoint."""
        step = self._manager.latest_step()
        if step is None:
            return template
        abstract = jax.tree.map(_abstract, _fields(template))
        try:
            saved: Any = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except (ValueError, OSError) as error:
            raise InputError(
                f"checkpoint {step} in {self._manager.directory} cannot be read "
                f"({str(error).splitlines()[0]}); remove its folder to continue from the one "
                "before, or choose another --output"
            ) from error
        fields: Any = {f.name: getattr(template, f.name) for f in dataclasses.fields(template)}  # pyright: ignore
        return dataclasses.replace(template, **jax.tree.map(_like, saved, fields))  # pyright: ignore

    def read(self) -> dict[str, Any]:
        """Fields of the last committed state, on the first device."""
        step = self._manager.latest_step()
        if step is None:
            raise InputError(f"{self._manager.directory} holds no checkpoint")
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        described = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
            dict(self._manager.item_metadata(step)),
        )
        saved: Any = self._manager.restore(step, args=ocp.args.StandardRestore(described))
        return saved

    def wait(self) -> None:
        """Waits until everything saved so far is committed."""
        self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()


def read_latest(folder: Path) -> dict[str, Any]:
    """Fields of the last committed state as arrays of one device, whatever mesh it was saved from.

    Raises `InputError` for a folder without a checkpoint.
    """
    with Checkpoints(folder, create=False) as checkpoints:
        return checkpoints.read()


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
