"""One cut of a run's dense weights: by its scores, at random, and by size.

Says whether scores choose weights that the model can spare *together*. Every matrix loses the same
share of its weights. Beside the dev loss stand two numbers over the weights that are cut:

* energy: their share of Σ W², 1 for all of the prunable weights;
* moved: how far training has moved them toward zero, Σ |W₀| − |W| over Σ |W₀|, where W₀ is the
  model that the run started from. The cut moves them the rest of the way at once.

``part`` moves the chosen weights only a part of their way to zero: a loss that rises from the first
part on says that the direction is wrong, and not only the step too large.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mpjax import models, tasks
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.pruning import flatten, unflatten
from mpjax.report.table import percent, render
from mpjax.runs.checkpoints import read_latest
from mpjax.runs.folder import RunDir
from mpjax.runs.opening import load_for_task
from mpjax.training.evaluate import dev_logits
from mpjax.training.job import DevSet
from mpjax.training.predict import make_predict
from mpjax.training.prepare import encode

SHARES = (0.01, 0.02, 0.05, 0.10)
PARTS = {"scores": (0.1, 0.5, 1.0), "random": (1.0,), "size": (1.0,)}
HEADER = ("weights cut", "chosen by", "part of the way", "energy", "moved", "dev loss", "accuracy")

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Cut:
    """Dev loss and accuracy after one cut; share, part, energy and moved as fractions."""

    share: float
    by: str
    part: float
    energy: float
    moved: float
    loss: float
    accuracy: float


def chosen(by: str, share: float, weights: Arrays, scores: Arrays, seed: int = 0) -> Arrays:
    """Weights to cut, as bool arrays: the lowest share of every matrix, ties left out.

    Args:
      by: ``scores``, ``random`` or ``size``, that is |W|.

    >>> w = {"a": np.array([[-3.0, 1.0], [2.0, -0.5]])}
    >>> chosen("size", 0.5, w, w)["a"].tolist(), chosen("scores", 0.25, w, w)["a"].tolist()
    ([[False, True], [False, True]], [[True, False], [False, False]])
    """
    rng = np.random.default_rng(seed)
    found = {}
    for path, score in scores.items():
        ranks = {"scores": score, "size": np.abs(weights[path])}.get(by)
        ranks = rng.random(score.shape) if ranks is None else ranks
        found[path] = ranks < np.partition(ranks.ravel(), int(share * ranks.size))[
            int(share * ranks.size)
        ]  # fmt: skip
    return found


def facts(cut: Arrays, weights: Arrays, start: Arrays) -> tuple[float, float]:
    """Energy and moved of a cut, see the module.

    >>> facts({"a": np.array([True, False])}, {"a": np.array([3.0, 4])}, {"a": np.array([-4.0, 4])})
    (0.36, 0.25)
    """
    energy = sum(float((weights[p][c] ** 2).sum()) for p, c in cut.items())
    whole = sum(float((weights[p] ** 2).sum()) for p in cut)
    before = sum(float(np.abs(start[p][c]).sum()) for p, c in cut.items())
    after = sum(float(np.abs(weights[p][c]).sum()) for p, c in cut.items())
    return energy / whole, 1 - after / before if before else 0.0


def measure(run: str, model: str, data: str, shares: Sequence[float] = SHARES) -> list[Cut]:
    """Cuts of a run's newest checkpoint, the dense model first.

    Args:
      run: folder of a classification run, finished or not, that has scores of single weights.
      model: folder that it started from.
      data: folder of the task's data.

    Raises:
      InputError: no such run, no checkpoint, or another kind of task or structure.
    """
    if not is_run(run):
        raise InputError(f"RUN {run} is no run folder; give the --output of mpjax train")
    recorded = read_object(RunDir(Path(run)).config)
    task = tasks.get(recorded["task"])
    if task.head != "classification":
        raise InputError(f"RUN {run} is of the task {task.name}; give one of classification")
    state = read_latest(RunDir(Path(run)).checkpoints)
    weights, scores = ({p: np.asarray(x) for p, x in flatten(state[key]).items()}
                       for key in ("params", "scores"))  # fmt: skip
    if not scores or any(score.shape != weights[path].shape for path, score in scores.items()):
        raise InputError(f"RUN {run} has no scores of single weights; give one of movement")
    folder = models.local_folder(model)
    loaded = load_for_task(folder, task, "float32", recorded["seed"])
    start = {path: np.asarray(leaf) for path, leaf in flatten(loaded.params).items()}
    rows = task.read(data, "dev")
    encoded = encode(task, rows, models.load_tokenizer(folder), recorded["max_length"], None)
    dev, predict = DevSet(task, rows, encoded), make_predict(loaded.module)

    def row(share: float, by: str, part: float, cut: Arrays) -> Cut:
        params = weights | {p: np.where(c, (1 - part) * weights[p], weights[p])
                            for p, c in cut.items()}  # fmt: skip
        tree: Any = unflatten({path: jnp.asarray(leaf) for path, leaf in params.items()})
        logits = dev_logits(predict, tree, dev, 64)
        return Cut(share, by, part, *facts(cut, weights, start), *_scores(logits, encoded.arrays))

    none = {path: np.zeros(score.shape, bool) for path, score in scores.items()}
    found = [row(0, "-", 0, none)]
    for share in shares:
        for by, parts in PARTS.items():
            cut = chosen(by, share, weights, scores)
            found += [row(share, by, part, cut) for part in parts]
    return found


def table(cuts: Sequence[Cut]) -> str:
    """The cuts as a table."""
    return render(
        HEADER,
        [
            (percent(c.share, 0), c.by, percent(c.part, 0), percent(c.energy, 1),
             percent(c.moved, 1), f"{c.loss:.3f}", f"{c.accuracy:.1f}")
            for c in cuts
        ],
        left=2,
    )  # fmt: skip


def _scores(logits: np.ndarray, arrays: Arrays) -> tuple[float, float]:
    labels = arrays["labels"]
    top = logits - logits.max(-1, keepdims=True)
    likely = top - np.log(np.exp(top).sum(-1, keepdims=True))
    loss = -likely[np.arange(len(labels)), labels].mean()
    return float(loss), 100 * float((logits.argmax(-1) == labels).mean())
