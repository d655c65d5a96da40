"""Where RoBERTa's parameters live: our module paths beside the names in a Hugging Face folder."""

from mpjax.models.bert_names import body_modules
from mpjax.models.config import EncoderConfig

_HEADS = {
    "classification": {"pre_classifier": "classifier.dense", "classifier": "classifier.out_proj"},
    "features": {"roberta/pooler": "roberta.pooler.dense"},
    "qa": {"qa": "qa_outputs"},
    "mlm": {"mlm": "lm_head", "mlm/dense": "lm_head.dense", "mlm/norm": "lm_head.layer_norm"},
}


def roberta_modules(config: EncoderConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name, for every module of the model with this head.

    >>> from mpjax.models import RobertaConfig
    >>> roberta_modules(RobertaConfig(num_hidden_layers=1), "classification")["classifier"]
    'classifier.out_proj'
    """
    return body_modules(config, "roberta") | _HEADS[head]
