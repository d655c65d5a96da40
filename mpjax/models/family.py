"""Model family: the names and functions by which its models are read, built and written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from mpjax.models.config import EncoderConfig


@dataclass(frozen=True)
class Family:
    """Config parser, module and tensor names of one ``model_type``.

    Attributes:
      config: parses ``config.json``.
      module: makes the Linen module: ``module(config, dtype, param_dtype, head=...)``.
      modules: maps (config, head) to {module path: Hugging Face module name}.
      prefix: name of the body, among our params and in front of the body's tensors in a folder
        with a head.
      body: first words of the body's tensor names in a folder of the bare body, without prefix.
      architectures: class name in ``config.json`` by head.
      aliases: other spellings of tensor names, fragment found -> fragment meant.
      tied: tensor that a masked LM may store as a copy -> the tensor that it must equal.
    """

    config: Callable[[Mapping[str, Any]], EncoderConfig]
    module: Callable[..., nn.Module]
    modules: Callable[[EncoderConfig, str], dict[str, str]]
    prefix: str
    body: tuple[str, ...]
    architectures: Mapping[str, str]
    aliases: Mapping[str, str]
    tied: Mapping[str, str]
