"""Pretrained encoders in Linen, and the Hugging Face folders they come from and go to."""

from mpjax.models.blocks import HEADS
from mpjax.models.config import BertConfig, EncoderConfig
from mpjax.models.distilbert import DistilBertConfig
from mpjax.models.family import FAMILIES, Family, encoder
from mpjax.models.folder import (
    Model,
    is_training_checkpoint,
    load_model,
    new_model,
    read_config,
    stored_head,
)
from mpjax.models.hub import resolve
from mpjax.models.paths import FROZEN, PRUNABLE
from mpjax.models.roberta import RobertaConfig
from mpjax.models.saving import save_model
from mpjax.models.scores import Scored
from mpjax.models.structure import make_structure
from mpjax.models.tokenizer import load_tokenizer, tokenizer_files
from mpjax.models.weights import dense_shapes, from_torch_names, to_torch_names, torch_names

__all__ = [
    "FAMILIES",
    "FROZEN",
    "HEADS",
    "PRUNABLE",
    "BertConfig",
    "DistilBertConfig",
    "EncoderConfig",
    "Family",
    "Model",
    "RobertaConfig",
    "Scored",
    "dense_shapes",
    "encoder",
    "from_torch_names",
    "is_training_checkpoint",
    "load_model",
    "load_tokenizer",
    "make_structure",
    "new_model",
    "read_config",
    "resolve",
    "save_model",
    "stored_head",
    "to_torch_names",
    "tokenizer_files",
    "torch_names",
]
