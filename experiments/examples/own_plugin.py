"""A rule, a structure and a task that live outside of mpjax; `own` trains with them.

Any module that can be imported is a plugin: `mpjax train --plugin experiments.examples.own_plugin`.
"""

import ast
import dataclasses
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import mpjax
from mpjax.pruning import Block, top_v
from mpjax.tasks import Encoded, Task, encode_texts


@dataclasses.dataclass(frozen=True)
class GatedMagnitude(mpjax.Rule):
    """Keeps the largest |W|·σ(S/temperature): magnitude at first, bent by what scores learn."""

    name: ClassVar[str] = "gated_magnitude"

    temperature: float = 0.1

    def masks(self, kernels, scores, threshold, noise=None):
        def ranked(weights, scores):
            return jnp.abs(weights) * jax.nn.sigmoid(scores / self.temperature)

        return top_v(jax.tree.map(ranked, kernels, scores), threshold, self)


@dataclasses.dataclass(frozen=True)
class CommentOrCode(Task):
    """Is a line of a Python file a comment, without its #, or code? Every fifth file is for dev."""

    def read(self, data, split):
        files = sorted(Path(data or ".").glob("*.py"))
        chosen = [file for i, file in enumerate(files) if (i % 5 == 0) == (split == "dev")]
        if not chosen:
            raise mpjax.InputError(f"--data {data} has {len(files)} Python files; give 5 or more")
        lines = [pair for file in chosen for pair in _lines(file)]
        comments = [text for text, is_comment in lines if is_comment]
        code = [text for text, is_comment in lines if not is_comment]
        code = code[:: max(1, len(code) // max(1, len(comments)))]  # about as many as comments
        rows = [{"text": text, "label": 0} for text in comments]
        return rows + [{"text": text, "label": 1} for text in code]

    def encode(self, rows, tokenizer, max_length):
        texts = [row["text"] for row in rows]
        arrays, lengths = encode_texts(texts, None, tokenizer, max_length)
        arrays["labels"] = np.array([row["label"] for row in rows], np.int32)
        return Encoded(arrays, lengths)

    def score(self, rows, encoded, logits):
        right = logits.argmax(axis=-1) == encoded.arrays["labels"]
        return {"accuracy": 100 * float(right.mean())}


def _lines(file):
    """Lines of ten letters or more outside of long strings: text, and whether it is a comment."""
    try:
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise mpjax.InputError(
            f"{file} is no Python file: {error}; take it out of --data"
        ) from error
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    strings = {
        i for node in nodes for i in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if number not in strings and sum(map(str.isalpha, words)) >= 10:
            yield words.lstrip("#!: "), words.startswith("#")


mpjax.register_task(CommentOrCode("comment_or_code", "classification", ("comment", "code")))
# One score for the weights from one input to a whole head.
mpjax.register_structure("head_rows", lambda head_size: Block(1, head_size))
