"""The benchmark of data sets of growing size."""

import json

import pytest

from experiments.bench.data import measured


@pytest.mark.parametrize("mapped", [True, False])
def test_one_size_is_measured(mapped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    measured(70, 16, mapped)
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 70 and found["kept"] == ("mapped" if mapped else "in memory")
    assert ("disk_mb" in found) == ("open_s" in found) == mapped
    if mapped:  # ids in two bytes, mask and token type in one; length and label in four
        assert 70 * (4 * 16 + 8) <= 1e6 * found["disk_mb"] < 70 * (4 * 16 + 8) + 1000
    assert found["rows_per_s"] > 0 and found["read_s"] > 0
