"""Flax parameters to and from the tensor names of a Hugging Face folder.

One rule covers every parameter: a Flax path is a module path plus a leaf name, the Hugging Face
name is the mapped module plus the leaf's PyTorch name, and kernels are transposed, because PyTorch
stores ``(out, in)`` and Flax ``(in, out)``.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike

from mpjax.errors import InputError
from mpjax.models.config import EncoderConfig
from mpjax.models.families import FAMILIES, encoder
from mpjax.models.family import Family
from mpjax.models.label_words import stored_as

Params = dict[str, Any]

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
_REQUIRED = ("embeddings", "encoder")  # modules without which there is no pretrained model


@dataclass(frozen=True)
class LoadedParams:
    """Loaded params, newly initialised paths, unused tensors."""

    params: Params
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class _Matched:
    """Tensors by parameter path, paths to initialise, names of unused tensors."""

    tensors: Mapping[str, np.ndarray]  # (out, in), as stored
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


@cache
def shapes(config: EncoderConfig, head: str) -> Mapping[str, tuple[int, ...]]:
    """Path -> shape of every parameter, in the order the model creates them.

    >>> from mpjax.models import BertConfig
    >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    ...                   num_attention_heads=2, intermediate_size=16)
    >>> shapes(tiny, "qa")["bert/encoder/layer_0/ffn/in/kernel"]
    (8, 16)
    """
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    made = jax.eval_shape(encoder(config, head).init, jax.random.key(0), ids)["params"]
    return MappingProxyType({path: leaf.shape for path, leaf in _flatten(made).items()})


def torch_names(config: EncoderConfig, head: str) -> dict[str, str]:
    """Path of every parameter -> its name in a Hugging Face folder, where kernels are transposed.

    >>> from mpjax.models import BertConfig
    >>> tiny = BertConfig(num_hidden_layers=1)
    >>> torch_names(tiny, "qa")["bert/encoder/layer_0/attention/query/kernel"]
    'bert.encoder.layer.0.attention.self.query.weight'
    """
    family = FAMILIES[config.model_type]
    modules = family.modules(config, stored_as(head))
    names = {}
    for path in shapes(config, head):
        module, leaf = path.rsplit("/", 1)
        names[path] = f"{modules[module]}.{_LEAVES[leaf]}"
    if head == "features":  # a folder of the bare body has no prefix
        names = {path: name.removeprefix(family.prefix + ".") for path, name in names.items()}
    return names


def dense_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Hugging Face name -> shape of every body tensor before heads and FFN units were removed."""
    dense = config.dense()
    sizes, names = shapes(dense, "features"), torch_names(dense, "features")
    return {name: _flip_shape(path, sizes[path]) for path, name in names.items()}


def to_torch_names(params: Params, config: EncoderConfig, head: str) -> dict[str, np.ndarray]:
    """Flax params as host arrays under their Hugging Face names; dtypes are kept.

    Raises `InputError` where a parameter is missing or has another shape than the config asks for.
    """
    flat = _flatten(params)
    expected = shapes(config, head)
    tensors = {}
    for path, name in torch_names(config, head).items():
        if path not in flat:
            raise InputError(f"params have no {path}, which a {head} model needs")
        array = np.asarray(jax.device_get(flat[path]))
        if array.shape != expected[path]:
            raise InputError(
                f"params: {path} has shape {array.shape}, the config asks for {expected[path]}"
            )
        tensors[name] = np.ascontiguousarray(_flip(path, array))
    return tensors


def from_torch_names(
    tensors: Mapping[str, np.ndarray],
    config: EncoderConfig,
    head: str,
    *,
    param_dtype: DTypeLike | None = None,
) -> Params:
    """Flax params from tensors under their Hugging Face names, every one of them present.

    Dtypes are kept unless ``param_dtype`` is given; float64 needs x64. Raises `InputError` for a
    missing tensor, a wrong shape, or an unknown tensor of the encoder.
    """
    matched = _match(tensors, config, head, required=None)
    flat = {path: _param(path, tensor, param_dtype) for path, tensor in matched.tensors.items()}
    return unflatten_dict(flat, sep="/")


def read_torch_names(
    tensors: Mapping[str, np.ndarray],
    config: EncoderConfig,
    head: str,
    *,
    param_dtype: DTypeLike = jnp.float32,
    seed: int = 0,
    resized: bool = False,
    source: str = "the tensors",
) -> LoadedParams:
    """Flax params from tensors; modules above the encoder are drawn from ``seed`` where absent.

    Args:
      tensors: Hugging Face names, with or without the body's prefix, old or new spelling.
      resized: the head was asked for with other labels than the folder's, so that a classifier of
        another size is drawn anew rather than refused.
      source: name of the tensors in error messages, such as the file's path.
    """
    matched = _match(tensors, config, head, resized=resized, source=source)
    flat = {}
    for path, shape in shapes(config, head).items():
        if path in matched.tensors:
            flat[path] = _param(path, matched.tensors[path], param_dtype)
        else:
            flat[path] = initial(path, shape, config, seed, param_dtype)
    return LoadedParams(unflatten_dict(flat, sep="/"), matched.fresh, matched.unused)


def check_body(tensors: Mapping[str, np.ndarray], config: EncoderConfig, source: str) -> None:
    """Raises `InputError` unless the tensors hold embeddings and encoder as the config has them."""
    _match(tensors, config, "features", source=source)


def _match(
    tensors: Mapping[str, np.ndarray],
    config: EncoderConfig,
    head: str,
    *,
    required: tuple[str, ...] | None = _REQUIRED,
    resized: bool = False,
    source: str = "the tensors",
) -> _Matched:
    """The tensor of every parameter, shapes checked.

    Args:
      required: modules that may not be drawn anew, None for all; other arguments as in
        `read_torch_names`.
    """
    family = FAMILIES[config.model_type]
    found = _canonical(tensors, family)
    expected = shapes(config, head)
    names = {path: _with_prefix(n, family) for path, n in torch_names(config, head).items()}
    modules = {path: _module(path, family) for path in expected}
    fresh_modules = set()
    for path, name in names.items():
        module, wanted = modules[path], _flip_shape(path, expected[path])
        if name not in found:
            if required is None or module in required:
                raise InputError(
                    f"{source} has no tensor {name}, which a {config.model_type} model with "
                    f"{config.num_hidden_layers} layers and head {head!r} needs; "
                    "check that the weights belong to config.json"
                )
            fresh_modules.add(module)
        elif (shape := tuple(found[name].shape)) != wanted:
            if not (resized and module == "classifier" and shape[1:] == wanted[1:]):
                raise InputError(
                    f"{source}: tensor {name} has shape {shape}, config.json asks for {wanted}; "
                    "check that the weights belong to config.json"
                )
            fresh_modules.add(module)
    unused = _unused(found, set(names.values()), family, source)
    if stored_as(head) == "mlm" and "mlm" not in fresh_modules:
        _check_tied(tensors, found, family, source)
    # A head with one tensor missing is drawn anew as a whole: half a head means nothing.
    fresh = tuple(path for path in expected if modules[path] in fresh_modules)
    kept = {path: np.asarray(found[names[path]]) for path in expected if path not in fresh}
    return _Matched(kept, fresh, unused)


def initial(
    path: str, shape: tuple[int, ...], config: EncoderConfig, seed: int, dtype: DTypeLike
) -> jax.Array:
    """A new parameter: zeros for biases, ones for scales, normal(initializer_range) otherwise.

    Depends on the seed and the path only, so that two models with a module in common start it
    alike.
    """
    leaf = path.rsplit("/", 1)[-1]
    if leaf == "bias":
        return jnp.zeros(shape, dtype)
    if leaf == "scale":
        return jnp.ones(shape, dtype)
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(path.encode()))
    return config.initializer_range * jax.random.normal(key, shape, dtype)


def check_dtype(dtype: DTypeLike) -> None:
    """`InputError` for float64 without x64, which jax would quietly make float32."""
    if jnp.dtype(dtype) == np.float64 and jnp.zeros((), float).dtype != np.float64:
        raise InputError("float64 parameters need 64-bit jax: use jax.enable_x64(True)")


def _param(path: str, tensor: np.ndarray, dtype: DTypeLike | None) -> jax.Array:
    """A stored tensor as a Flax parameter; None keeps its dtype."""
    dtype = tensor.dtype if dtype is None else dtype
    check_dtype(dtype)
    return jnp.asarray(_flip(path, tensor), dtype)


def _flatten(params: Params) -> dict[str, Any]:
    return dict(flatten_dict(params, sep="/"))


def _flip(path: str, array: np.ndarray) -> np.ndarray:
    return array.T if path.endswith("/kernel") else array


def _flip_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if path.endswith("/kernel") else shape


def _module(path: str, family: Family) -> str:
    """``encoder``, ``embeddings``, ``pooler``, or the name of the head's module."""
    first, *rest = path.split("/")
    return rest[0] if first == family.prefix else first


def _with_prefix(name: str, family: Family) -> str:
    return f"{family.prefix}.{name}" if name.split(".", 1)[0] in family.body else name


def _canonical(tensors: Mapping[str, np.ndarray], family: Family) -> dict[str, np.ndarray]:
    """The tensors under one spelling. A tensor already spelt right wins over an alias of it."""
    found, aliased = {}, {}
    for name, tensor in tensors.items():
        right = name
        for old, new in family.aliases.items():
            right = right.replace(old, new)
        target = found if right == name else aliased
        target[_with_prefix(right, family)] = tensor
    return {**aliased, **found}


def _unused(
    found: Mapping[str, np.ndarray], names: set[str], family: Family, source: str
) -> tuple[str, ...]:
    """Tensors that belong to no parameter; refused in the encoder and its embeddings."""
    rest = [n for n in found if n not in names and not n.endswith("position_ids")]
    required = tuple(f"{family.prefix}.{module}." for module in family.body if module != "pooler")
    for name in rest:
        if name.endswith("mask_scores"):
            raise InputError(
                f"{source} holds {name}: a training checkpoint with pruning scores, not a model; "
                "mpjax export makes a model of it"
            )
        if name.startswith(required):
            raise InputError(
                f"{source}: tensor {name} has no place in the model that config.json describes; "
                "check that the weights belong to config.json"
            )
    return tuple(rest)


def _check_tied(
    tensors: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    family: Family,
    source: str,
) -> None:
    """`InputError` where a stored copy of a tied tensor differs from the original.

    Our module has the original only.
    """
    for copy, original in family.tied.items():
        if copy in tensors and not np.array_equal(tensors[copy], found[original]):
            raise InputError(
                f"{source}: tensor {copy} differs from {original}; a model in which the two are "
                "not tied is not supported"
            )
