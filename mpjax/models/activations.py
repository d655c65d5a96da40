"""Activation functions by their ``hidden_act`` names."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
from jax import Array, lax


def gelu_erf(x: Array) -> Array:
    """Exact GELU, ``x/2 · (1 + erf(x/√2))``. Any shape; keeps the dtype.

    Written with ``erf``, as in PyTorch, rather than ``erfc``, which is slower on CPU.
    """
    return (0.5 * x) * (1.0 + lax.erf(x * (1.0 / math.sqrt(2.0))))


def gelu_tanh(x: Array) -> Array:
    """Tanh approximation of GELU: ``x/2 · (1 + tanh(√(2/π)(x + 0.044715x³)))``."""
    return jax.nn.gelu(x, approximate=True)


def gelu_fast(x: Array) -> Array:
    """`gelu_tanh` with √(2/π) rounded to ten digits, as `transformers` defines ``gelu_fast``."""
    return 0.5 * x * (1.0 + lax.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "gelu": gelu_erf,
        "gelu_python": gelu_erf,
        "gelu_new": gelu_tanh,
        "gelu_pytorch_tanh": gelu_tanh,
        "gelu_fast": gelu_fast,
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
        "swish": jax.nn.silu,
    }
)
