"""Sound files that are then damaged: tiny models, data, runs and recorded cases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.parity.case import Case
from experiments.parity.shapes import parameters
from mpjax import cli, models
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.demo import stories
from mpjax.tasks.seeds import Dice

WIDTH = 16  # tokens of a row
_SIZES: dict[str, Any] = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 48,
}  # fmt: skip


def base(root: Path) -> Path:
    """Folder that all targets may read: ``model``, a classifier, and ``data``, sentences."""
    folder = root / "base"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        save_model(folder / "model", "classification")
        (folder / "data").mkdir()
        for split, rows in (("train", 40), ("dev", 12)):
            (folder / "data" / f"{split}.tsv").write_text(sentences(rows, len(split)))
        (folder / "ready").touch()
    return folder


def save_model(folder: Path, head: str, **changes: Any) -> Path:
    """A model of the toy language with random weights."""
    words = demo.write_tokenizer(folder.parent / "tokenizer")
    config = models.BertConfig(vocab_size=len(demo.tokenizer()), **_SIZES | changes)
    return models.save_model(folder, config, models.new_model(config, head).params, head, words)


def sentences(rows: int, seed: int) -> str:
    """Text of an SST-2 file."""
    made = [demo.sentiment(Dice(seed, 0, i)) for i in range(rows)]
    return "\n".join(["sentence\tlabel", *(f"{r['sentence']}\t{r['label']}" for r in made)]) + "\n"


def glue_files(folder: Path, root: Path) -> None:
    """Classes with and without a header line, numbers, and two sentences in JSON lines."""
    del root
    texts = [demo.sentiment(Dice(7, 0, i))["sentence"] for i in range(6)]
    cola = "".join(f"gj04\t{i % 2}\t\t{text}\n" for i, text in enumerate(texts))
    score = [f"{i}\t{text}\t{texts[0]}\t{i / 2}" for i, text in enumerate(texts)]
    pairs = [
        {"premise": texts[0], "hypothesis": text, "label": i % 3, "idx": i}
        for i, text in enumerate(texts)
    ]
    contents = {
        "sst2.tsv": sentences(6, 3),
        "cola.tsv": cola,
        "stsb.tsv": "\n".join(["index\tsentence1\tsentence2\tscore", *score]) + "\n",
        "mnli.jsonl": "".join(json.dumps(pair) + "\n" for pair in pairs),
    }
    for name, text in contents.items():
        (folder / name).write_text(text)


def squad_file(folder: Path, root: Path) -> None:
    """Questions with and without an answer."""
    del root
    rows = [stories.question(Dice(5, 0, i)) for i in range(3)]
    paragraphs = []
    for i, row in enumerate(rows):
        answers = [
            {"text": text, "answer_start": start}
            for text, start in zip(
                row["answers"]["text"], row["answers"]["answer_start"], strict=True
            )
        ]
        common = {"question": row["question"]}
        qas = [
            {"id": f"q{i}", "answers": answers, "is_impossible": False, **common},
            {"id": f"n{i}", "answers": [], "is_impossible": True, **common},
        ]
        paragraphs.append({"context": row["context"], "qas": qas})
    document = {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (folder / "dev.json").write_text(json.dumps(document))


def predictions(folder: Path, root: Path) -> None:
    """Predictions of the questions and of sentences, in both forms."""
    squad_file(folder, root)
    (folder / "dev.tsv").write_text(sentences(6, 3))
    lines = [{"index": i, "prediction": i % 2} for i in range(6)]
    tabs = ["index\tprediction", *(f"{r['index']}\t{r['prediction']}" for r in lines)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    (folder / "predictions.tsv").write_text("\n".join(tabs) + "\n")
    answers = {f"{kind}{i}": "cat" if kind == "q" else "" for i in range(3) for kind in "qn"}
    (folder / "predictions.json").write_text(json.dumps(answers))


def model(folder: Path, root: Path) -> None:
    """A copy of the classifier."""
    shutil.copytree(base(root) / "model", folder, dirs_exist_ok=True)


def packed(folder: Path, root: Path) -> None:
    """The classifier with half of its weights zero, packed bit for bit."""
    from mpjax.export import pack_model

    loaded = models.load_model(base(root) / "model", "classification")
    kernel = np.array(loaded.params["bert"]["encoder"]["layer_0"]["ffn"]["in"]["kernel"])
    kernel[::2] = 0
    loaded.params["bert"]["encoder"]["layer_0"]["ffn"]["in"]["kernel"] = kernel
    sparse = folder.parent / "sparse"
    shutil.rmtree(sparse, ignore_errors=True)
    models.save_model(sparse, loaded.config, loaded.params, "classification", base(root) / "model")
    pack_model(sparse, folder / "model.mpz")


def train_words(root: Path, output: Path, *more: str) -> list[str]:
    """Command line of a run of six steps that keeps two checkpoints."""
    made = base(root)
    return [
        "train", "--model", str(made / "model"), "--task", "sst2", "--data", str(made / "data"),
        "--output", str(output), "--method", "movement", "--density", "0.3", "--steps", "6",
        "--warmup", "1", "--batch-size", "8", "--eval-batch-size", "8", "--max-length", str(WIDTH),
        "--learning-rate", "1e-2", "--log-every", "1", "--checkpoint-every", "2",
        "--single-length", "--devices", "1", "--cache", str(made / "cache"), *more,
    ]  # fmt: skip


def finished_run(folder: Path, root: Path) -> None:
    """A whole run."""
    if status := cli.main(train_words(root, folder / "run")):
        raise InputError(f"the run in {folder} ended with status {status}; see its message above")


def stopped_run(folder: Path, root: Path) -> None:
    """A run that was interrupted in the middle, after its second checkpoint."""
    from mpjax.runs.checkpoints import Checkpoints

    save = Checkpoints.save

    def save_and_stop(self: Any, state: Any, step: int, score: Any = None) -> None:
        save(self, state, step, score)
        if step == 4:
            self.wait()
            raise KeyboardInterrupt

    Checkpoints.save = save_and_stop
    try:
        if (status := cli.main(train_words(root, folder / "run"))) != 130:
            raise InputError(f"the run in {folder} ended with status {status}, not interrupted")
    finally:
        Checkpoints.save = save


def recorded_case(folder: Path, root: Path | None = None, steps: int = 2) -> Path:
    """A recorded case with random numbers: it can be replayed, and agrees with nothing."""
    del root
    sizes = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 12,
             "vocab_size": 11, "max_position_embeddings": 12, "num_labels": 3}  # fmt: skip
    rates = {"learning_rate": 1e-3, "mask_scores_learning_rate": 1e-2, "weight_decay": 0.0,
             "adam_eps": 1e-8, "max_grad_norm": 1.0, "initial_warmup": 1, "final_warmup": 0.5,
             "final_lambda": 1.0, "layer_norm_eps": 1e-12}  # fmt: skip
    record = {"threshold": 1.0, "lam": 0.0, "loss": 2.0}
    settings = {
        **sizes, **rates, "name": "case", "head": "cls", "method": "topK", "regularization": "l1",
        "steps": steps, "warmup_steps": 1, "first_step": 0, "initial_threshold": 1.0,
        "final_threshold": 0.2, "distillation": None, "global_topk_frequency": None,
        "log": [{"step": step, **record} for step in range(steps)],
    }  # fmt: skip
    path = folder / "case.json"
    path.write_text(json.dumps(settings))
    rng = np.random.default_rng(0)
    types = {"init/bert.embeddings.token_type_embeddings.weight": np.zeros((2, 8))}
    shapes = parameters(Case(path, settings, types))
    layer = {n: s for n, s in shapes.items() if ".layer." in n and len(s) == 2}
    scores = {n.replace(".weight", ".mask_scores"): s for n, s in layer.items()}
    wanted = {
        f"{p}/{n}": s for p in ("init", "grad0", "final") for n, s in (shapes | scores).items()
    }
    arrays: dict[str, Any] = {name: rng.normal(size=shape) for name, shape in wanted.items()}
    for step in range(steps):
        arrays |= {
            f"mask/{step}/{n[: -len('.weight')]}": np.ones(s, bool) for n, s in layer.items()
        }
        arrays[f"logits/{step}/0"] = rng.normal(size=(2, 3))
        arrays[f"batch/{step}/labels"] = rng.integers(0, 3, 2, np.int32)
        for name, most in (("input_ids", 11), ("attention_mask", 2), ("token_type_ids", 2)):
            arrays[f"batch/{step}/{name}"] = rng.integers(0, most, (2, 6), np.int32)
    np.savez(path.with_suffix(".npz"), **arrays)
    return path
