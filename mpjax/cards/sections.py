"""Sections of a card about the model itself: how to load it, what is left of it, its limits."""

from __future__ import annotations

from mpjax.cards.facts import Facts, RunFacts
from mpjax.cards.markdown import table
from mpjax.cards.marks import PLACE
from mpjax.models import LABEL_WORDS, stored_as
from mpjax.report import EncoderDensity
from mpjax.report.table import percent

# Class of transformers by head.
_AUTO = {
    "classification": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "qa": "AutoModelForQuestionAnswering",
    "mlm": "AutoModelForMaskedLM",
    "features": "AutoModel",
}


def loading(facts: Facts) -> str:
    """How to load the model in transformers and in mpjax."""
    name = _AUTO[stored_as(facts.head)]
    theirs = (
        f"With transformers:\n\n```python\nfrom transformers import {name}, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{PLACE}")\n'
        f'model = {name}.from_pretrained("{PLACE}")\n{_logits(facts)}```'
        if facts.for_transformers
        else "transformers cannot express this model: its layers differ in size, or in their norm. "
        f"`mpjax export {PLACE} --output FOLDER` writes it as transformers reads it where that is "
        "possible."
    )
    task = facts.run.options["task"] if facts.run else None
    data = facts.run.data.local if facts.run else None
    score = (
        f"\n\n```\nmpjax evaluate --model {PLACE} --task {task}{' --data DATA' if data else ''}\n"
        f"mpjax inspect {PLACE}\n```"
        if task
        else f"\n\n```\nmpjax inspect {PLACE}\n```"
    )
    ours = (
        "With mpjax, as a Flax module with its parameters:\n\n```python\nimport mpjax\n\n"
        f'model = mpjax.load_model("{PLACE}", "{facts.head}")\n'
        '# model.module.apply({"params": model.params}, **batch)\n```'
    )
    place = f"`{PLACE}` stands for the repository, or for the folder of this card."
    return "\n\n".join(["## Use", theirs, ours + score, place])


def _logits(facts: Facts) -> str:
    """Line of Python for the logits of classes that label words stand for; "" without them."""
    if facts.head != LABEL_WORDS:
        return ""
    return (
        "# Logits of the classes, in the order of id2label:\n"
        "# model(**inputs).logits[:, 0, model.config.label_word_ids]\n"
    )


def density(measured: EncoderDensity) -> str:
    """Remaining weights by layer and matrix type."""
    found = measured.to_json()
    types = list(found["types"])
    rows = [
        [
            str(layer["layer"]),
            *(percent(layer["matrices"].get(type), 1) for type in types),
            percent(layer["linear_density"], 1),
        ]
        for layer in found["layers"]
    ]
    total = [percent(found["types"][type], 1) for type in types]
    rows.append(["**all**", *total, f"**{percent(measured.linear)}**"])
    return (
        "## Density\n\nWeights that are not zero, of each matrix of the encoder:\n\n"
        f"{table(['layer', *types, 'all'], rows)}\n\n"
        f"{found['kept_weights']:,} of {found['prunable_weights']:,} weights are left. With biases "
        f"and LayerNorm, {percent(measured.encoder_remaining)} of the encoder remains, which is "
        "the count of the paper. Embeddings, pooler and head are not counted."
    )


def limits(facts: Facts) -> str:
    """Sentences to read before using the model."""
    said = [
        "The weights are stored as dense arrays with zeros in them: pruning alone makes the model "
        "neither smaller on disk nor faster. `mpjax pack` stores it small; `mpjax shrink` makes it "
        "faster where whole heads or feed-forward units are gone.",
        *facts.notes,
        *([] if facts.run is None else _of_run(facts.run)),
        "Faults and biases of the model that it started from, and of the data, are still in it; "
        "pruning can add to them, most for rare inputs. None of that was measured.",
    ]
    return "## Limits\n\n" + "\n".join(f"* {sentence}" for sentence in said)


def _of_run(run: RunFacts) -> list[str]:
    options, said = run.options, []
    rows = run.derived.get("dev_rows")
    first = f"the first {options['limit_eval']:,} rows of the" if options["limit_eval"] else "the"
    said.append(
        f"The score is that of {first} dev set{f' ({rows:,} rows)' if rows else ''} after one run "
        f"with seed {options['seed']}; no other seed and no test set stand behind it."
    )
    if options["limit_train"]:
        said.append(f"It was trained on {options['limit_train']:,} rows, not on all there are.")
    if options["task"].startswith("demo_"):
        said.append("The data are a toy language: the model knows no English.")
    said.append(f"Inputs of more than {options['max_length']} tokens were not seen in training.")
    return said
