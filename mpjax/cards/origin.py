"""The model that a run started from: its name on the hub, and what its own card says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpjax.cards.marks import CARD
from mpjax.cards.paths import is_path
from mpjax.config.recorded import CONFIG, DERIVED
from mpjax.errors import InputError
from mpjax.files import read_bytes, read_object

_MOST_RUNS = 16  # a run may start from a run: as many are followed
_LARGEST_CARD = 1 << 20  # bytes
_CACHED = re.compile(r"models--(.+)")  # folder of a model in the hub's cache
_LICENSE = ("license", "license_name", "license_link")
_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")  # codes that the hub takes


@dataclass(frozen=True)
class Origin:
    """Source of a run's weights.

    Attributes:
      hub: name on the hub, None where the weights came from a folder that has none.
      shown: that name, or the folder's without its place.
      licence: ``license``, ``license_name`` and ``license_link`` of the source's card.
      languages: of the source's card.
    """

    shown: str
    hub: str | None = None
    licence: Mapping[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = ()


def origin(model: str) -> Origin:
    """Source of a run by its ``--model``: a hub name or a folder; runs are followed to theirs."""
    for _ in range(_MOST_RUNS):
        earlier = _model_of_run(model)
        if earlier is None:
            break
        model = earlier
    hub, card = _hub_name(model), _card(model)
    return Origin(hub or Path(model).name, hub, _licence(card), _languages(card))


def _model_of_run(model: str) -> str | None:
    """``--model`` of the run in a folder, or of which the folder holds the model."""
    for folder in (Path(model), Path(model).parent):
        try:
            options = read_object(folder / CONFIG) if os.path.isfile(folder / CONFIG) else {}
        except InputError:
            return None
        if DERIVED in options and isinstance(options.get("model"), str):
            return options["model"]
    return None


def _hub_name(model: str) -> str | None:
    """Name on the hub of a model that is no folder here, or a folder of the hub's cache."""
    if not is_path(model):
        return None if os.path.exists(model) else model
    for part in Path(model).parts:
        if match := _CACHED.fullmatch(part):
            return match[1].replace("--", "/")
    return None


def _card(model: str) -> dict[str, Any]:
    """Front matter of the source's card; {} where there is none at hand, or none that is sound."""
    from huggingface_hub import ModelCard, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path: Any = Path(model) / CARD
    if not is_path(model):
        try:
            path = try_to_load_from_cache(model, CARD)
        except HFValidationError:
            return {}
    if not isinstance(path, str | Path) or not os.path.isfile(path):
        return {}
    if os.path.getsize(path) > _LARGEST_CARD:
        return {}
    try:
        text = read_bytes(Path(path)).decode()
        if not text.startswith("---"):
            return {}
        return ModelCard(text, ignore_metadata_errors=True).data.to_dict()
    except Exception:  # of a stranger's YAML; a card without what cannot be read is still right
        return {}


def _licence(card: Mapping[str, Any]) -> dict[str, str]:
    found = {key: card[key] for key in _LICENSE if isinstance(card.get(key), str)}
    return found if "license" in found else {}


def _languages(card: Mapping[str, Any]) -> tuple[str, ...]:
    found = card.get("language")
    names = found if isinstance(found, list) else [found]
    return tuple(name for name in names if isinstance(name, str) and _LANGUAGE.fullmatch(name))
