"""Plans as text and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from mpjax.planning.memory import gib
from mpjax.planning.plan import Cost, StepPlan
from mpjax.report.table import render

_LEAST = 1e-12  # smallest denominator of a ratio


def format_plan(plan: StepPlan) -> str:
    """Table of both costs, with the chip above and the verdict below."""
    config, chip = plan.config, plan.chip
    sizes = ", ".join(f"{axis}={size}" for axis, size in plan.mesh.items())
    lines = [
        f"{config.model}, {config.task}, {config.method}, {config.batch_size} x "
        f"{config.max_length} tokens, {config.dtype}, on {plan.topology} as {sizes}",
        f"{chip.describe()} (each way; Cloud TPU documentation)",
        "",
        render(_header(plan), _rows(plan)),
        "",
        _verdict(plan),
    ]
    lines += [f"  {remedy}" for remedy in plan.remedies]
    if not plan.full_effort:
        lines.append(
            "compiled quickly: a run fuses more and mostly needs less memory and traffic; "
            "--full-effort compiles as train does, in minutes"
        )
    kinds = [kind for cost in _costs(plan) for kind in (cost.collectives or {}).values()]
    if not all(kind.certain for kind in kinds):
        lines.append(
            "* upper bound: all branches of a conditional count, and all iterations of a loop that "
            "may stop early (a loop without a known bound counts once); the HBM bytes likewise"
        )
    return "\n".join(lines)


def to_json(plan: StepPlan) -> dict[str, Any]:
    """Costs in bytes, FLOPs and seconds as JSON values; None where a step does not fit."""
    costs = {"step": plan.step} | ({"dense": plan.dense} if plan.dense else {})
    return {
        "model": plan.config.model,
        "task": plan.config.task,
        "method": plan.config.method,
        "batch_size": plan.config.batch_size,
        "max_length": plan.config.max_length,
        "topology": plan.topology,
        "mesh": plan.mesh,
        "chip": dataclasses.asdict(plan.chip),
        "full_effort": plan.full_effort,
        "fits": plan.fits,
        "remedies": list(plan.remedies),
        **{name: _numbers(plan, cost) for name, cost in costs.items()},
    }


def _numbers(plan: StepPlan, cost: Cost) -> dict[str, Any]:
    line = plan.roofline(cost)
    return {
        "memory": {**dataclasses.asdict(cost.memory), "total": cost.memory.total},
        "flops": cost.flops,
        "hbm_bytes": cost.hbm_bytes,
        "collectives": cost.collectives
        and {kind: dataclasses.asdict(found) for kind, found in cost.collectives.items()},
        "sent_bytes": None if cost.collectives is None else cost.sent,
        "seconds": line and {**dataclasses.asdict(line), "step": line.seconds, "bound": line.bound},
        "tokens_per_second": line and plan.tokens / line.seconds,
    }


def _costs(plan: StepPlan) -> list[Cost]:
    return [plan.step] if plan.dense is None else [plan.step, plan.dense]


def _header(plan: StepPlan) -> list[str]:
    head = ["per device and step", plan.config.method]
    return head if plan.dense is None else [*head, "dense", "pruning adds"]


def _rows(plan: StepPlan) -> list[list[str]]:
    costs = _costs(plan)
    rows = []
    for name in ("arguments", "outputs", "temporaries", "code", "total"):
        rows.append(_row(f"memory: {name}", [getattr(c.memory, name) for c in costs], gib))
    rows.append(_row("GFLOPs", [c.flops / 1e9 for c in costs], "{:.4g}".format))
    rows.append(_row("HBM bytes", [c.hbm_bytes for c in costs], gib))
    kinds = dict.fromkeys(kind for c in costs for kind in c.collectives or {})
    for kind in kinds:
        found = [(c.collectives or {}).get(kind) for c in costs]
        star = "" if all(t is None or t.certain for t in found) else "*"
        rows.append(_row(f"{kind}{star}: count", [t.count if t else 0 for t in found], str))
        rows.append(_row(f"{kind}{star}: sent", [t.sent if t else 0 for t in found], gib))
    rooflines = [plan.roofline(c) for c in costs]
    for name in ("compute", "memory", "interconnect", "seconds"):
        label = "step, at least" if name == "seconds" else f"time: {name}"
        rows.append(_row(f"{label} (ms)", [r and 1e3 * getattr(r, name) for r in rooflines],
                         "{:.2f}".format))  # fmt: skip
    rates = [r and plan.tokens / r.seconds for r in rooflines]
    rows.append(_row("tokens/s, all devices", rates, "{:,.0f}".format))
    return rows


def _row(label: str, values: list[Any], form: Any) -> list[str]:
    cells = ["-" if value is None else form(value) for value in values]
    if len(values) == 1:
        return [label, *cells]
    ours, dense = values
    if ours is None or dense is None:
        added = "-"
    elif abs(dense) < _LEAST:
        added = "" if not ours else form(ours)
    else:
        added = f"{100 * (ours / dense - 1):+.2f}%"
    return [label, *cells, added]


def _verdict(plan: StepPlan) -> str:
    hbm, total = plan.chip.free_bytes, plan.step.memory.total
    if plan.fits:
        line = plan.roofline(plan.step)
        assert line is not None
        return (
            f"fits: {gib(total)} of {gib(hbm)}. The longest of compute, memory and interconnect, "
            f"each at its peak, is {line.bound}"
        )
    return f"does not fit: about {gib(total)} of {gib(hbm)}. What helps:"
