"""Front matter of a card, in the form that the hub validates."""

from __future__ import annotations

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from mpjax.cards.facts import Facts, RunFacts
from mpjax.cards.records import METRICS
from mpjax.config.checks import DENSE
from mpjax.models import LABEL_WORDS, stored_as

PIPELINES = {
    "classification": "text-classification",
    "tokens": "token-classification",
    "qa": "question-answering",
    "mlm": "fill-mask",
    "features": "feature-extraction",
}


def front_matter(facts: Facts) -> ModelCardData:
    """Metadata of a card; what is not known is left out."""
    run = facts.run
    known: dict[str, Any] = {} if run is None else _of_run(facts, run)
    return ModelCardData(
        library_name="transformers" if facts.for_transformers else "mpjax",
        # Label words: the pipeline of the masked LM that is stored, not of its classes.
        pipeline_tag=PIPELINES[stored_as(facts.head)],
        tags=_tags(facts),
        **known,
    )


def _of_run(facts: Facts, run: RunFacts) -> dict[str, Any]:
    languages = list(run.data.languages or run.origin.languages)
    results = _results(facts, run)
    return {
        "base_model": run.origin.hub,
        "datasets": [run.data.hub] if run.data.hub else None,
        "language": languages[0] if len(languages) == 1 else languages or None,
        **run.origin.licence,
        "metrics": list(dict.fromkeys(result.metric_type for result in results)) or None,
        "model_name": facts.name if results else None,
        "eval_results": results or None,
    }


def _tags(facts: Facts) -> list[str]:
    tags = ["mpjax", facts.config.model_type]
    if facts.density.linear < 1:
        tags += ["pruning", "sparse"]
    method = facts.run.options["method"] if facts.run else DENSE
    return tags if method == DENSE else [*tags, method.replace("_", "-") + "-pruning"]


def _results(facts: Facts, run: RunFacts) -> list[EvalResult]:
    """Dev scores of the run, in percent, as entries of ``model-index``."""
    return [
        EvalResult(
            task_type=PIPELINES["classification" if facts.head == LABEL_WORDS else facts.head],
            dataset_type=run.data.hub or str(run.options["task"]),
            dataset_name=run.data.shown,
            dataset_config=run.data.config,
            dataset_split="validation" if run.data.hub and not run.data.local else "dev",
            metric_type=METRICS[name],
            metric_name=f"{name} (percent)",
            metric_value=round(float(value), 2),
        )
        for name, value in run.result["score"].items()
        if name in METRICS
    ]
