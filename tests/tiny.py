"""A model, data and a run small enough to train in a test."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

import mpjax
from mpjax import models
from mpjax.config.train import TrainConfig
from mpjax.runs.cache import use_compiled_programs
from mpjax.tasks import demo
from mpjax.tasks.seeds import Dice

STEPS = 6
ROWS = {"train": 40, "dev": 16}


CONFIGS = {
    "bert": models.BertConfig,
    "roberta": models.RobertaConfig,
    "distilbert": models.DistilBertConfig,
}


def tokenizer(folder: Path, family: str = "bert") -> Path:
    """A tokenizer of the toy language, of the family's kind and in the family's files."""
    if family != "roberta":
        demo.write_tokenizer(folder)
        if family == "distilbert":
            (folder / "tokenizer.json").unlink()
            config = '{"tokenizer_class": "DistilBertTokenizer", "do_lower_case": true}'
            (folder / "tokenizer_config.json").write_text(config)
        return folder
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(demo.corpus(0, 100), 400, special_tokens=special, show_progress=False)
    bpe.save_model(str(folder))
    return folder


def model(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """A masked-LM folder with random weights and the tokenizer of the toy language."""
    words = tokenizer(folder.parent / "tokenizer", family)
    sizes = {
        "vocab_size": 400 if family == "roberta" else len(demo.tokenizer()),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 32,
    }
    config = CONFIGS[family](**(sizes | changes))
    params = models.new_model(config, "mlm").params
    return models.save_model(folder, config, params, "mlm", words)


def data(folder: Path) -> Path:
    """SST-2 files of toy sentences, in the form the official ones have."""
    folder.mkdir(parents=True)
    for split, count in ROWS.items():
        rows = [demo.sentiment(Dice(len(split), 0, i)) for i in range(count)]
        lines = ["sentence\tlabel", *(f"{row['sentence']}\t{row['label']}" for row in rows)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def options(root: Path, **changes: Any) -> dict[str, Any]:
    """Options of a run in `root`, whose model and data are made if they are not there yet."""
    if not (root / "model").exists():
        model(root / "model")
        data(root / "data")
    common = {
        "model": str(root / "model"),
        "task": "sst2",
        "data": str(root / "data"),
        "output": str(root / "run"),
        "method": "movement",
        "density": 0.3,
        "steps": STEPS,
        "warmup": 1,
        "batch_size": 8,
        "eval_batch_size": 8,
        "max_length": 16,
        "learning_rate": 1e-2,
        "log_every": 1,
        "single_length": True,
        "devices": 1,
        "cache": "none",
    }
    return common | changes


def config(root: Path, **changes: Any) -> TrainConfig:
    """Config of these options."""
    return TrainConfig(**options(root, **changes))


def command(root: Path, **changes: Any) -> list[str]:
    """Words of the command line with these options."""
    words = ["train"]
    for name, value in options(root, **changes).items():
        flag = "--" + name.replace("_", "-")
        words += [flag] if value is True else [] if value in (None, False) else [flag, str(value)]
    return words


@contextlib.contextmanager
def compiled_programs(folder: Path) -> Iterator[Path]:
    """Lets the runs of a test module share their compiled programs, which take most of the time."""
    compilation_cache.reset_cache()
    use_compiled_programs(folder)
    try:
        yield folder / "xla"
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()


def environment() -> dict[str, str]:
    """Environment of a process that imports this checkout."""
    return {**os.environ, "PYTHONPATH": str(Path(mpjax.__file__).parents[1])}


def same(run: Path, other: Path) -> bool:
    """Whether two finished runs have equal logs and models, byte for byte."""
    files = ("metrics.jsonl", "model/model.safetensors", "model/config.json")
    return all((run / file).read_bytes() == (other / file).read_bytes() for file in files)
