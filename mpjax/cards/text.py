"""The card as a file: front matter, and the sections below it."""

from __future__ import annotations

import re

from huggingface_hub import ModelCard

from mpjax.cards.facts import Facts, RunFacts
from mpjax.cards.front import front_matter
from mpjax.cards.markdown import code, table
from mpjax.cards.marks import signed
from mpjax.cards.sections import density, limits, loading
from mpjax.cards.training import provenance, training
from mpjax.config.checks import DENSE
from mpjax.report.table import percent

_PLAIN = re.compile(r"[\w.-]+")  # a name without markup


def make_card(facts: Facts) -> bytes:
    """Card of a model, in the form of the hub, with the mark of `signed`."""
    sections = [
        f"# {facts.name if _PLAIN.fullmatch(facts.name) else code(facts.name)}",
        _summary(facts),
        *([_scores(facts.run)] if facts.run else []),
        loading(facts),
        density(facts.density),
        *([training(facts.run), provenance(facts.run)] if facts.run else []),
        limits(facts),
    ]
    text = f"---\n{front_matter(facts).to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"
    ModelCard(text)  # parses the front matter: a card that the hub cannot read is a mistake of ours
    return signed(text)


def _summary(facts: Facts) -> str:
    """One paragraph: what it is, what is left of it, how good it is."""
    family = facts.config.model_type
    left = f"{percent(facts.density.linear)} of the weights of its encoder matrices are not zero"
    if facts.run is None:
        return f"A {family} model, written by mpjax: {left}."
    run = facts.run
    made = "fine-tuned" if run.options["method"] == DENSE else "fine-pruned"
    return (
        f"{code(run.origin.shown)} ({family}), {made} for the task {code(run.options['task'])} "
        f"with mpjax, movement pruning in JAX: {left}, and it scores {run.score:.1f} "
        f"({run.metric}, percent, dev set)."
    )


def _scores(run: RunFacts) -> str:
    """Dev scores of the run, and of its teacher and a dense run where they are known."""
    rows = [
        ["**this model**", percent(run.result["linear_density"]), f"**{run.score:.2f}**"],
        *(
            [f"{other.role}, run {code(other.run)}", "", f"{other.score:.2f}"]
            for other in run.compared
        ),
    ]
    others = [
        f"{name} {float(value):.2f}"
        for name, value in run.result["score"].items()
        if name != run.metric and isinstance(value, int | float)
    ]
    more = f"\n\nOther scores of this model: {', '.join(others)}." if others else ""
    return f"## Scores\n\n{table(['', 'density', f'{run.metric} (dev)'], rows)}{more}"
