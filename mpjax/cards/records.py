"""Records of a run as a card reads them, checked: anyone may have written or damaged them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mpjax.config.checks import check_types
from mpjax.config.recorded import DERIVED
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.log import log
from mpjax.runs.folder import RunDir

# Names on the hub of our scores; scores without one stay in the text.
METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "macro_f1": "f1",
    "exact_match": "exact_match",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "precision": "precision",
    "recall": "recall",
}
_NAME = re.compile(r"[\w.:-]+")  # of tasks, methods and metrics; it begins no markup
_RESULT = {"metric": str, "score": dict, "linear_density": float, "steps": int, "seconds": float}


class Records(NamedTuple):
    """Contents of `config.json`, of its derived sizes, of `result.json`, and the sessions."""

    options: dict[str, Any]
    derived: dict[str, Any]
    result: dict[str, Any]
    sessions: tuple[Mapping[str, Any], ...]


def read_records(folder: Path) -> Records | None:
    """Records of a finished run; None where they are not whole, which is said unless unfinished.

    Options that a run of an earlier version lacks have their defaults.
    """
    run = RunDir(folder)
    if not run.result.is_file():
        return None
    try:
        options, result = read_object(run.config), read_object(run.result)
        sessions = read_object(run.provenance).get("sessions", [])
        derived = options.pop(DERIVED)
        options = _options(options)
        _check_sizes(derived)
        _check_result(result)
        return Records(options, derived, result, _sessions(sessions))
    except (InputError, KeyError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else error
        log.warning("the card says nothing of the run in %s, its records: %s", shown(folder), said)
        return None


def _options(recorded: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    options = {**defaults, **recorded}
    check_types(TrainConfig(**{name: options[name] for name in defaults}))
    for name in ("task", "method"):
        _check(_NAME.fullmatch(options[name]), name, options[name])
    for name in ("density", "learning_rate"):
        _check(options[name] is None or math.isfinite(options[name]), name, options[name])
    return options


def _check_sizes(derived: Any) -> None:
    _check(isinstance(derived, dict), DERIVED, derived)
    for name, size in (
        ("train_rows", derived["train_rows"]),
        ("dev_rows", derived.get("dev_rows", 0)),
    ):
        _check(_is(size, int), name, size)


def _check_result(result: Mapping[str, Any]) -> None:
    for name, kind in _RESULT.items():
        _check(_is(result[name], kind), name, result[name])
    metric, score = result["metric"], result["score"]
    for name in (metric, *(name for name in METRICS if name in score)):
        _check(_is(score[name], float), name, score[name])
    for name in score:
        _check(_NAME.fullmatch(name), "score", name)


def _sessions(found: Any) -> tuple[Mapping[str, Any], ...]:
    """Sessions with the parts that a card reads; a part of another form is left out."""
    whole = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    for session in whole:
        for name in ("versions", "hardware"):
            if not isinstance(session.get(name, {}), dict):
                del session[name]
    return tuple(whole)


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value is of a kind; numbers must be finite, and truth values are none."""
    if kind in (int, float):
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return isinstance(value, kind)


def _check(good: object, name: str, value: Any) -> None:
    if not good:
        raise InputError(f"{name} is {shown(repr(value), 60)}")
