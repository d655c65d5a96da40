"""Pretrained encoders in Linen, and the Hugging Face folders they come from and go to."""

from mpjax.models.blocks import HEADS
from mpjax.models.config import BertConfig, EncoderConfig
from mpjax.models.distilbert import DistilBertConfig
from mpjax.models.family import FAMILIES, Family, encoder
from mpjax.models.folder import Model, load_model, new_model
from mpjax.models.hub import resolve
from mpjax.models.roberta import RobertaConfig
from mpjax.models.saving import save_model
from mpjax.models.structure import make_structure
from mpjax.models.tokenizer import load_tokenizer, tokenizer_files
from mpjax.models.weights import from_torch_names, to_torch_names, torch_names

# Regular expressions for re.fullmatch on the "/"-path of a parameter, the same in every family.
PRUNABLE = r".*/encoder/layer_\d+/(attention/(query|key|value|output)|ffn/(in|out))/kernel"
FROZEN = r".*/embeddings/.*"

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
    "encoder",
    "from_torch_names",
    "load_model",
    "load_tokenizer",
    "make_structure",
    "new_model",
    "resolve",
    "save_model",
    "to_torch_names",
    "tokenizer_files",
    "torch_names",
]
