"""Compute dtype of `--dtype auto`: bfloat16 where the hardware multiplies it faster."""

from pathlib import Path
from typing import Any

import jax

AUTO = "auto"
# Flags of /proc/cpuinfo for products of bfloat16, and the first jax that was seen to use them: 0.10
# turns such products into float32.
_CPU_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
_FIRST_JAX = (0, 12)
_FIRST_CUDA = 8.0  # compute capability


def chosen_dtype(dtype: str) -> str:
    """``dtype``, or for `AUTO` the one that JAX's devices multiply faster.

    bfloat16 on TPUs, on NVIDIA GPUs from compute capability 8.0, and with jax 0.12 or newer on a
    CPU with AMX or AVX-512 instructions for it, if that is the only device; else float32.

    >>> chosen_dtype("float32")
    'float32'
    """
    if dtype != AUTO:
        return dtype
    return "bfloat16" if _multiplies_halves(jax.devices()[0]) else "float32"


def _multiplies_halves(device: Any) -> bool:
    if device.platform == "cpu":
        alone = jax.device_count() == 1  # with several, gradients are slower: see `products`
        return alone and jax.__version_info__ >= _FIRST_JAX and bool(_CPU_FLAGS & _cpu_flags())
    if device.platform == "tpu":
        return True
    try:  # of ROCm a name such as gfx942
        return float(getattr(device, "compute_capability", 0)) >= _FIRST_CUDA
    except ValueError:
        return False


def _cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """Flags of the CPU that Linux names; none elsewhere."""
    try:
        text = Path(path).read_text()
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(next((value for key, _, value in lines if key.strip() == "flags"), "").split())
