"""The tokenizer of a Hugging Face folder."""

import os
import tempfile
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models.packed.file import is_packed, small_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)


def load_tokenizer(folder: str | Path) -> Any:
    """Loads the fast tokenizer of a model folder (``transformers.PreTrainedTokenizerFast``).

    Raises `InputError` when the folder has no tokenizer.
    """
    path = Path(folder).expanduser()
    files = tokenizer_files(path)
    if not is_packed(path):
        return _load(path, path)
    with tempfile.TemporaryDirectory() as unpacked:
        for name, content in {**files, **small_files(path, ["config.json"])}.items():
            (Path(unpacked) / name).write_bytes(content)
        return _load(Path(unpacked), path)


def _load(path: Path, source: Path) -> Any:
    from transformers import AutoTokenizer  # takes seconds to import

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, use_fast=True, local_files_only=True, trust_remote_code=False
        )
        tokenizer("a", "a")  # some damage shows in use only
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # bare Exceptions, and panics, which are none
        raise InputError(
            f"the tokenizer of {source} cannot be read ({type(error).__name__}: {shown(error)}); "
            "copy the tokenizer files of the pretrained model into it again"
        ) from error
    return tokenizer


def tokenizer_files(folder: str | Path) -> dict[str, bytes]:
    """Content of the tokenizer files of a folder by name; `InputError` without a tokenizer."""
    path = Path(folder).expanduser()
    if not (os.path.isdir(path) or is_packed(path)):
        raise InputError(f"tokenizer folder {shown(path)} does not exist")
    files = small_files(path, TOKENIZER_FILES)
    # The vocabulary is in one of these; the other files only configure it.
    vocabularies = {"tokenizer.json", "vocab.txt", "vocab.json"}
    if not vocabularies & set(files):
        raise InputError(
            f"{path} has no tokenizer: expected tokenizer.json, vocab.txt or vocab.json; "
            "copy the tokenizer files of the pretrained model into it"
        )
    return files
