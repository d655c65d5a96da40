"""The benchmark of the memory of a step by arithmetic, on one device and on a mesh."""

import pytest

from experiments.bench.__main__ import main


def test_a_mesh_is_measured_and_mistakes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["step_memory", "--model", "tiny", "--length", "16", "--rules", "soft_movement"]
    assert main([*words, "--batches", "4", "--mesh", "fsdp=2"]) == 0
    printed = capsys.readouterr().out
    assert "--mesh fsdp=2" in printed and "4 x 16" in printed
    assert 0.8 < float(printed.split()[-1]) < 1.2
    assert main([*words, "--mesh", "fsdp=2"]) == 2
    assert "--batches: 1 rows are no multiple of 2 shards" in capsys.readouterr().err
    assert main([*words, "--mesh", "fsdp=512"]) == 2
    assert "--mesh needs 512 devices" in capsys.readouterr().err
