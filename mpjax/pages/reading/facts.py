"""Facts of a run for the summary of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpjax.cards.comparison import alike, options_of
from mpjax.config.checks import DENSE
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.pages.reading.published import PublishedRun, nearest
from mpjax.pages.reading.record import Run, mapping, number


@dataclass(frozen=True)
class Facts:
    """One row of the summary; None = not known.

    Attributes:
      method: with structure, scope and teacher where they are not the usual ones.
      asked, density: kept / prunable weights in [0, 1], as asked for and as reached.
      asked_by: other way to ask, such as λ; "" without.
      remaining: encoder remaining in [0, 1].
      metric, score: primary metric of the task, in percent.
      dense, teacher: scores of the dense run of the page and of the teacher.
    """

    run: str
    task: str
    method: str
    asked: float | None
    asked_by: str
    density: float | None
    remaining: float | None
    metric: str
    score: float | None
    dense: float | None
    teacher: float | None
    published: PublishedRun | None
    steps: str
    seconds: float | None


def facts(run: Run, runs: Sequence[Run]) -> Facts:
    """Facts of a run among the runs of a page."""
    result = mapping(run.result)
    done, total = last_step(run), number(run.derived.get("total_steps"))
    return Facts(
        run=run.name,
        task=run.option("task") or str(result.get("task", "unknown")),
        method=described(run),
        asked=density_asked(run),
        asked_by=_asked_by(run),
        density=number(result.get("linear_density")),
        remaining=number(result.get("encoder_remaining")),
        metric=metric(run),
        score=final_score(run),
        dense=_dense_score(run, runs),
        teacher=_teacher_score(run),
        published=nearest(run),
        steps=f"{done:,}" if total in (None, done) else f"{done:,} of {total:,.0f}",
        seconds=number(result.get("seconds")),
    )


def described(run: Run) -> str:
    """Method in words, with what is unusual about it."""
    words = [run.option("method").replace("_", " ") or "unknown"]
    optimizer = run.option("score_optimizer")
    if optimizer not in ("", TrainConfig.score_optimizer):
        words = [optimizer]  # of the recipes: it, not the rule, tells what ranks the weights
    for name in ("structure", "scope"):
        if run.option(name) not in ("", getattr(TrainConfig, name)):
            words.append(run.option(name))
    if run.config.get("teacher") is not None:
        words.append("distilled")
    if run.config.get("fill_from") is not None:
        words.append("filled")
    return ", ".join(words)


def metric(run: Run) -> str:
    """Name of the primary score of a run; the first of its dev scores while it is not finished."""
    named = mapping(run.result).get("metric")
    if isinstance(named, str):
        return named
    scores = [mapping(line["eval"]) for line in run.metrics if "eval" in line]
    return next((name for score in scores for name in score), "")


def final_score(run: Run) -> float | None:
    """Primary score of a finished run, in percent."""
    return number(mapping(mapping(run.result).get("score")).get(metric(run)))


def density_asked(run: Run) -> float | None:
    """Density that the options ask for; None for a filled run, which keeps that of another one."""
    if run.option("method") == DENSE:
        return None if run.config.get("fill_from") else 1.0
    asked = number(run.config.get("density"))
    if asked is None and run.option("method") in ("magnitude", "movement"):
        asked = number(run.config.get("final_threshold"))
    return asked


def last_step(run: Run) -> int:
    """Last step with a line in the metrics."""
    return max((line["step"] for line in run.metrics), default=0)


def _asked_by(run: Run) -> str:
    lam = number(run.config.get("final_lambda"))
    return f"λ = {lam:g}" if lam and density_asked(run) is None else ""


def _dense_score(run: Run, runs: Sequence[Run]) -> float | None:
    """Score of the dense run of equal task and rows among the runs of a page."""
    start = ("model", "limit_train")
    for other in runs:
        same = all(other.config.get(name) == run.config.get(name) for name in start)
        dense = other is not run and other.option("method") == DENSE
        dense = dense and not other.config.get("fill_from")
        if dense and same and run.config and alike(other.config, run.config):
            return final_score(other)
    return None


def _teacher_score(run: Run) -> float | None:
    """Score of the teacher on the rows of the run, if it is a run, or the model of one, here."""
    name = run.option("teacher")
    for folder in (Path(name), Path(name).parent) if name else ():
        if not alike(options_of(folder), run.config):
            continue
        try:
            result = read_object(folder / "result.json")
        except InputError:
            continue
        return number(mapping(result.get("score")).get(metric(run)))
    return None
