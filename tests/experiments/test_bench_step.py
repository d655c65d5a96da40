"""Bounds of the step benchmark: what pruning must move, and the least ratio that follows."""

import pytest

from experiments.bench import step, timing
from experiments.bench.programs import SIZES, model_flops, prunable
from experiments.bench.step import Machine, Workload, bounds
from experiments.bench.timing import memory_rate, product_rate

WORK = Workload("base", 16, 128)
TIMES = {"dense": [3.0, 4.0, 9.0], "rule": [5.0]}


def test_bert_base_has_85_million_prunable_weights_and_a_step_of_a_teraflop():
    assert prunable(SIZES["base"]) == 84_934_656
    assert model_flops(SIZES["base"], 16, 128) == pytest.approx(1.07e12, rel=0.01)


@pytest.mark.parametrize(
    ("rule", "arrays"), [("soft_movement", 11), ("movement:global", 11), ("magnitude", 3)]
)
def test_the_floor_is_the_least_traffic_at_the_rate_of_memory(rule, arrays, capsys):
    found = bounds(rule, WORK, Machine(products=0.5e12, memory=20e9), TIMES, moved=5e9)
    least = 4 * arrays * 84_934_656
    assert found["least_bytes_added"] == least and found["bytes_added"] == 5e9
    assert found["floor"] == pytest.approx(1 + least / 20e9 / 4.0)
    assert found["share_of_peak"] == pytest.approx(1.072e12 / 4.0 / 0.5e12, rel=1e-3)
    assert "500 GFLOP/s, memory 20.0 GB/s" in capsys.readouterr().out


def test_rates_are_work_over_the_shortest_time(monkeypatch):
    # Six calls, of which the fourth takes a second and the others more.
    ticks = [
        t
        for start, taken in enumerate((9, 2, 3, 1, 2, 2))
        for t in (99 * start, 99 * start + taken)
    ]
    for rate, work in (
        (lambda: product_rate(30, 20, 10), 2 * 30 * 20 * 10),
        (lambda: memory_rate(1000), 3 * 4 * 1000),
    ):
        clock = iter(ticks)
        monkeypatch.setattr(timing.time, "perf_counter", lambda clock=clock: next(clock))
        assert rate() == work
        assert next(clock, None) is None


def test_the_dtype_is_that_of_the_product_and_of_the_step(monkeypatch):
    class Built(Exception):
        pass

    def build(*args):
        raise Built(args[-1])

    found = []
    monkeypatch.setattr(step, "product_rate", lambda *args: found.append(args[-1]) or 1.0)
    monkeypatch.setattr(step, "memory_rate", lambda: 1.0)
    monkeypatch.setattr(step, "build", build)
    work = Workload("base", 16, 128, "bfloat16")
    step.rates(work)
    assert found == ["bfloat16"]
    with pytest.raises(Built, match="bfloat16"):
        step.Runner("dense", work)
