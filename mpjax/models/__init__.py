"""Pretrained encoders in Linen, read from and written to Hugging Face folders."""

from mpjax.models.blocks import HEADS
from mpjax.models.config import EncoderConfig
from mpjax.models.families import FAMILIES, encoder
from mpjax.models.families.bert import BertConfig
from mpjax.models.families.distilbert import DistilBertConfig
from mpjax.models.families.roberta import RobertaConfig
from mpjax.models.family import Family
from mpjax.models.hf.folder import (
    Model,
    has_label_words,
    is_training_checkpoint,
    load_model,
    load_with_scores,
    new_model,
    read_config,
    stored_head,
    with_label_words,
)
from mpjax.models.hf.hub import local_folder
from mpjax.models.hf.plain import load_plain
from mpjax.models.hf.saving import save_model
from mpjax.models.hf.scores import StoredScores
from mpjax.models.hf.tokenizer import load_tokenizer, tokenizer_files
from mpjax.models.hf.weights import dense_shapes, from_torch_names, to_torch_names, torch_names
from mpjax.models.label_words import LABEL_WORDS, stored_as, word_ids
from mpjax.models.paths import FROZEN, GROUPS, PRUNABLE
from mpjax.models.structure import parse_structure

__all__ = [
    "FAMILIES",
    "FROZEN",
    "GROUPS",
    "HEADS",
    "LABEL_WORDS",
    "PRUNABLE",
    "BertConfig",
    "DistilBertConfig",
    "EncoderConfig",
    "Family",
    "Model",
    "RobertaConfig",
    "StoredScores",
    "dense_shapes",
    "encoder",
    "from_torch_names",
    "has_label_words",
    "is_training_checkpoint",
    "load_model",
    "load_plain",
    "load_tokenizer",
    "load_with_scores",
    "local_folder",
    "new_model",
    "parse_structure",
    "read_config",
    "save_model",
    "stored_as",
    "stored_head",
    "to_torch_names",
    "tokenizer_files",
    "torch_names",
    "with_label_words",
    "word_ids",
]
