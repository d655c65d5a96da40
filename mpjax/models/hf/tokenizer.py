"""The tokenizer of a Hugging Face folder."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import parse_object, shown
from mpjax.log import warn_once
from mpjax.models.hf.casing import check_casing, is_cased
from mpjax.models.packed.file import is_packed, small_files

_SETTINGS = "tokenizer_config.json"
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

    A vocabulary of cased text whose folder does not say ``do_lower_case`` keeps its capitals, which
    is said; any other disagreement between vocabulary and tokenizer about capitals is warned about.

    Raises `InputError` when the folder has no tokenizer.
    """
    path = Path(folder).expanduser()
    files = tokenizer_files(path)
    options = _casing(files, path)
    if not is_packed(path):
        tokenizer = _load(path, path, options)
    else:
        with tempfile.TemporaryDirectory() as unpacked:
            for name, content in {**files, **small_files(path, ["config.json"])}.items():
                (Path(unpacked) / name).write_bytes(content)
            tokenizer = _load(Path(unpacked), path, options)
    check_casing(tokenizer, path)
    tokenizer.truncation_side = "right"  # long texts lose their end, whatever the folder says
    return tokenizer


def _casing(files: Mapping[str, bytes], source: Path) -> dict[str, bool]:
    """``do_lower_case`` where only the vocabulary tells it: transformers would lower-case."""
    settings = files.get(_SETTINGS, b"{}")
    if "tokenizer.json" in files or "vocab.txt" not in files:
        return {}
    vocabulary = files["vocab.txt"].decode("utf-8", "replace").split("\n")
    said = "do_lower_case" in parse_object(source / _SETTINGS, settings)
    if said or not is_cased(token.strip() for token in vocabulary):
        return {}
    warn_once(
        f"cased {source}",
        f"{shown(source)}: the vocabulary has capitals and {_SETTINGS} does not say do_lower_case, "
        "so text keeps its capitals; for other programs write it into that file, as false",
    )
    return {"do_lower_case": False}


def _load(path: Path, source: Path, options: Mapping[str, bool]) -> Any:
    from transformers import AutoTokenizer  # takes seconds to import

    try:
        return AutoTokenizer.from_pretrained(
            path, use_fast=True, local_files_only=True, trust_remote_code=False, **options
        )
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # bare Exceptions, and panics, which are none
        raise InputError(
            f"the tokenizer of {source} cannot be read ({type(error).__name__}: {shown(error)}); "
            "copy the tokenizer files of the pretrained model into it again"
        ) from error


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
