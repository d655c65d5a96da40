"""Traffic of a pruned step on a TPU slice beside that of the dense step."""

from typing import Any

from mpjax.config.train import TrainConfig
from mpjax.planning.plan import plan_step
from mpjax.planning.show import to_json

TARGET = 1.05


def run(
    model: str, rules: list[str], full_effort: bool = False, topology: str = "v5e:4x4"
) -> dict[str, Any]:
    """Bytes moved and sent per device, pruned and dense, fsdp over 16 chips; prints the table."""
    result = {}
    print(f"{model}, squad, 256 x 384, bfloat16, {topology}, fsdp=16; target {TARGET}")
    print(f"{'':<16}{'HBM':>10}{'dense':>10}{'ratio':>8}{'sent':>10}{'dense':>10}{'ratio':>8}")
    for method in rules:
        options: dict[str, Any] = {
            "model": model, "task": "squad", "method": method, "batch_size": 256,
            "max_length": 384, "mesh": "fsdp=16", "dtype": "bfloat16", "scan_layers": True,
        }  # fmt: skip
        plan = plan_step(TrainConfig(**options), topology, full_effort)
        assert plan.dense is not None and plan.fits and plan.dense.hbm_bytes
        pairs = [
            (plan.step.hbm_bytes or 0, plan.dense.hbm_bytes), (plan.step.sent, plan.dense.sent)
        ]  # fmt: skip
        cells = "".join(f"{a / 1e9:>7.2f} GB{b / 1e9:>7.2f} GB{a / b:>8.3f}" for a, b in pairs)
        print(f"{method:<16}{cells}", flush=True)
        result[method] = to_json(plan)
    return result
