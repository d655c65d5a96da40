"""Arrays on disk: any type and shape, in parts, and without a copy in memory."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mpjax.arrays import BLOCK, keep, keep_parts, kept

TYPES = ("bool", "uint8", "uint16", "int32", "int64", "float16", "float32", "float64")


def make(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of every type, those of small items first."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 2 if name == "bool" else 99, (rows, 3, i)).astype(name)
        for i, name in enumerate(TYPES)
    }


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_what_is_kept_is_read_and_safetensors_reads_it_too(rows: int, tmp_path: Path) -> None:
    arrays, path = make(rows), tmp_path / "deep" / "arrays.safetensors"
    assert keep(path, arrays)
    ours, theirs = kept(path), load_file(path)
    assert ours is not None and list(ours) == list(arrays)
    for name, array in arrays.items():
        for found in (ours[name], theirs[name]):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
        assert ours[name].flags.aligned and not ours[name].flags.writeable
    assert list(path.parent.iterdir()) == [path]


def test_parts_make_the_file_of_the_whole(tmp_path: Path) -> None:
    arrays = make(10)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    keep(whole, arrays)
    cuts = ((0, 4), (4, 4), (4, 10))  # one of them empty
    assert keep_parts(parts, ({n: a[i:j] for n, a in arrays.items()} for i, j in cuts))
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"b": np.zeros((2, 3), np.int32)}, "a part has the arrays"),
        ({"a": np.zeros((2, 4), np.int32)}, "a part of a is int32"),
        ({"a": np.zeros((2, 3), np.int64)}, "a part of a is int64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        keep_parts(tmp_path / "x.safetensors", [{"a": np.zeros((2, 3), np.int32)}, part])
    assert list(tmp_path.iterdir()) == []


def test_memory_holds_a_part_and_never_the_whole(tmp_path: Path) -> None:
    part, parts, path = 1 << 20, 16, tmp_path / "large.safetensors"

    def made() -> Iterator[dict[str, np.ndarray]]:
        for i in range(parts):
            yield {"a": np.full((part // 8, 8), i % 251, np.uint8)}

    tracemalloc.start()
    try:
        assert keep_parts(path, made())
        arrays = kept(path)
        assert arrays is not None
        rows = np.random.default_rng(0).integers(len(arrays["a"]), size=64)
        np.testing.assert_array_equal(arrays["a"][rows, 0], rows // (part // 8))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > part * parts
    assert peak < 2 * part + 2 * BLOCK  # of 16 parts
