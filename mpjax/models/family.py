"""A model family: what reading, building and writing its models needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from mpjax.models.config import EncoderConfig


@dataclass(frozen=True)
class Family:
    """What reading, building and writing a model of one ``model_type`` needs.

    ``prefix`` is the name of the body, both in our params and in front of the body's tensors in a
    folder with a head; a folder of the bare body has no prefix and names starting with ``parts``.
    """

    config: Callable[[Mapping[str, Any]], EncoderConfig]
    module: Callable[..., nn.Module]  # (config, dtype, param_dtype, head=...)
    modules: Callable[[EncoderConfig, str], dict[str, str]]  # module path -> Hugging Face name
    prefix: str
    parts: tuple[str, ...]
    architectures: Mapping[str, str]  # head -> class name in config.json
    aliases: Mapping[str, str]  # other spellings of a tensor: fragment found -> fragment meant
    tied: Mapping[str, str]  # copy that a masked LM may store -> the tensor that it must equal
