# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Axes of kernels by role, and kernels of any rank as matrices of inputs by outputs.

A kernel has axes of inputs and of outputs, several of each in a `DenseGeneral` or a convolution,
and a stack where `nn.scan` or `jax.vmap` holds the kernels of many layers in one array. A layer of
a stack is a matrix of its own: it gets its own cut.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpjax.errors import InputError
from mpjax.pruning.trees import compiled

Shape = tuple[int, ...]
Axes = tuple[str, ...]  # role of each axis

STACK, INPUT, OUTPUT = "stack", "input", "output"
_ROLES = (STACK, INPUT, OUTPUT)
_BIASES = ("bias", "b")
_PROJECTIONS = ("query", "key", "value")
_MOST_AXES = 4  # of a convolution's kernel that no bias tells from a stack


class Kernel(NamedTuple):
    """Shape of a kernel, and the role of each axis; None where it is unknown."""

    shape: Shape
    axes: Axes | None

    @property
    def matrices(self) -> Shape:
        """Shape as matrices, (*stack, inputs, outputs).

        >>> Kernel((12, 768, 4, 16), ("stack", "input", "output", "output")).matrices
        (12, 768, 64)
        """
        assert self.axes is not None, "checked by `known`"
        sizes = {role: [n for n, r in zip(self.shape, self.axes, strict=True) if r == role]
                 for role in _ROLES}  # fmt: skip
        return (*sizes[STACK], math.prod(sizes[INPUT]), math.prod(sizes[OUTPUT]))

    @property
    def stack(self) -> tuple[int, ...]:
        """Positions of the axes of the stack; () where the roles are unknown."""
        return tuple(i for i, role in enumerate(self.axes or ()) if role == STACK)


def given_axes(
    axes: Mapping[str, str | Sequence[str]] | Sequence[tuple[str, Axes]],
) -> tuple[tuple[str, Axes], ...]:
    """Patterns and roles of `Pruning.axes`, checked, as a tuple.

    >>> given_axes({".*/out/kernel": "input input output"})
    (('.*/out/kernel', ('input', 'input', 'output')),)
    """
    pairs = axes.items() if isinstance(axes, Mapping) else axes
    found: list[tuple[str, Axes]] = []
    for pattern, roles in pairs:
        own = tuple(roles.split() if isinstance(roles, str) else roles)
        if set(own) - set(_ROLES) or INPUT not in own or OUTPUT not in own:
            raise InputError(
                f"axes of {pattern!r} are {' '.join(own) or 'none'}; give stack, input or output "
                "for each, with an input and an output"
            )
        found.append((pattern, own))
    return tuple(found)


def kernels_of(
    shapes: Mapping[str, Shape], chosen: Sequence[str], given: Sequence[tuple[str, Axes]]
) -> dict[str, Kernel]:
    """Shapes and roles of the chosen parameters: those given, else those guessed.

    Args:
      shapes: of all parameters, by path.
      chosen: paths of the kernels.
      given: patterns for whole paths, with roles; the first that matches counts.

    Raises:
      InputError: a pattern that matches no kernel, or roles of another number than axes.
    """
    unused = {pattern for pattern, _ in given}
    found: dict[str, Kernel] = {}
    for path in chosen:
        own = next(((p, axes) for p, axes in given if compiled(p, "axes").fullmatch(path)), None)
        if own is None:
            found[path] = Kernel(shapes[path], guess_axes(path, shapes))
            continue
        unused.discard(own[0])
        if len(own[1]) != len(shapes[path]):
            raise InputError(
                f"axes of {own[0]!r} are {' '.join(own[1])}, but {path} has shape {shapes[path]}"
            )
        found[path] = Kernel(shapes[path], own[1])
    for pattern in sorted(unused):
        raise InputError(
            f"axes of {pattern!r} are given, but no kernel has this path; the kernels are "
            f"{', '.join(list(chosen)[:5])}"
        )
    return found


def guess_axes(path: str, shapes: Mapping[str, Shape]) -> Axes | None:
    """Roles of the axes of a kernel in known layers of Flax, Haiku and Equinox, else None.

    Kernels are (inputs, outputs), those called ``weight`` (outputs, inputs). Beyond two axes the
    bias tells: its shape is that of the stack and the outputs.

    Args:
      path: of the kernel.
      shapes: of all parameters, by path.

    >>> guess_axes("l/kernel", {"l/kernel": (3, 4, 8), "l/bias": (3, 8)})
    ('stack', 'input', 'output')
    >>> guess_axes("l/kernel", {"l/kernel": (3, 4, 8), "l/bias": (4, 8)})
    ('input', 'output', 'output')
    """
    parent, _, last = path.rpartition("/")
    rank = len(shapes[path])
    if rank < 2:
        return None
    beside = f"{parent}/" if parent else ""
    bias = next((shapes[beside + b] for b in _BIASES if beside + b in shapes), None)
    table = "embed" in parent.rpartition("/")[2].lower() and bias is None
    turned = last == "weight" and not table
    if rank == 2:
        return (OUTPUT, INPUT) if turned else (INPUT, OUTPUT)
    if turned:
        return _guess_turned(shapes[path], bias, "conv" in parent.rpartition("/")[2].lower())
    by_bias = _guess_by_bias(shapes[path], bias)
    by_name = _guess_by_name(parent, last, shapes)
    if by_name is not None and bias is None and rank > _MOST_AXES:
        return None  # as well a stack of convolutions of fewer axes
    if not by_bias or by_name in by_bias:
        return by_name
    return by_bias[0] if len(by_bias) == 1 else None


def _guess_turned(shape: Shape, bias: Shape | None, called: bool) -> Axes | None:
    """Roles of a ``weight``: outputs come first, and the window of a convolution last.

    Args:
      called: whether the layer is called a convolution.
    """
    rank = len(shape)
    if bias is None:
        return None
    stack = rank == 3 and bias == shape[:2]
    convolution = bias[:1] == shape[:1] and set(bias[1:]) <= {1}
    if stack and convolution and not called and shape[0] > 1:  # of one output each, or one input
        return None
    if stack and not convolution:
        return (STACK, OUTPUT, INPUT)
    return (OUTPUT, *[INPUT] * (rank - 1)) if convolution else None


def _guess_by_bias(shape: Shape, bias: Shape | None) -> list[Axes]:
    """Roles under which the bias has the shape of the stack and the outputs."""
    rank = len(shape)
    found: list[Axes] = []
    for outputs in range(1, rank):
        for stack in range(rank - outputs):
            if bias == shape[:stack] + shape[rank - outputs :]:
                inputs = rank - outputs - stack
                found.append((*[STACK] * stack, *[INPUT] * inputs, *[OUTPUT] * outputs))
    return found


def _guess_by_name(parent: str, last: str, shapes: Mapping[str, Shape]) -> Axes | None:
    """Roles of attention's projections beside an ``out`` of three axes, and of convolutions."""
    above, _, layer = parent.rpartition("/")
    beside = f"{above}/" if above else ""
    shape = shapes[f"{parent}/{last}" if parent else last]
    rank = len(shape)
    out = shapes.get(f"{beside}out/{last}", ())

    def heads(name: str) -> bool:
        """Whether a projection of three axes ends in the heads that ``out`` begins with."""
        own = shapes.get(f"{beside}{name}/{last}", ())
        return len(own) == len(out) == 3 and own[1:] == out[:2] and len({*own, *out}) > 1

    if layer in _PROJECTIONS and heads(layer):
        return (INPUT, OUTPUT, OUTPUT)
    if layer == "out" and all(map(heads, _PROJECTIONS)):
        return (INPUT, INPUT, OUTPUT)
    if "conv" in layer.lower():
        return (*[INPUT] * (rank - 1), OUTPUT)
    return None


def known(path: str, kernel: Kernel) -> Kernel:
    """The kernel, if its axes are known.

    Raises:
      InputError: they are not.
    """
    if kernel.axes is None:
        raise InputError(
            f"{path} has shape {kernel.shape}, and its axes are unknown; give "
            f"Pruning(axes={{{re.escape(path)!r}: '…'}}) with stack, input or output for each axis"
            if len(kernel.shape) > 1
            else f"{path} has shape {kernel.shape}; blocks, runs and slices are for matrices"
        )
    return kernel


def to_matrices(array: jax.Array, kernel: Kernel) -> jax.Array:
    """A kernel as matrices, (*stack, inputs, outputs); no copy if its axes have that order."""
    return jnp.transpose(array, _order(kernel)).reshape(kernel.matrices)


def from_matrices(array: jax.Array, kernel: Kernel) -> jax.Array:
    """Inverse of :func:`to_matrices`."""
    order = _order(kernel)
    split = array.reshape([kernel.shape[i] for i in order])
    return jnp.transpose(split, sorted(range(len(order)), key=order.__getitem__))


def _order(kernel: Kernel) -> list[int]:
    """Axes of a kernel, those of the stack first, then inputs, then outputs."""
    assert kernel.axes is not None, "checked by `known`"
    return [i for role in _ROLES for i, own in enumerate(kernel.axes) if own == role]
