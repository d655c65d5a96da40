"""Advice about weights in forms that are not read."""

import re
from collections.abc import Iterable

_CONVERT = "(from_tf=True).save_pretrained(folder) of transformers below version 5, with TensorFlow"
_ADVICE = (
    (
        r"tf_model.*\.h5",
        f"{{}} is of TensorFlow: convert it by from_pretrained{_CONVERT}",
    ),
    (
        r".+\.ckpt\.(index|meta|data-.*)|model\.ckpt.*|checkpoint",
        "{} is of a TensorFlow 1 checkpoint: convert it by transformers-cli convert of "
        "transformers below version 5, with TensorFlow",
    ),
    (
        r"adapter_model\..+",
        "{} is an adapter without its model: merge the two by merge_and_unload() of peft, and save",
    ),
    (
        r".+\.(pt|pth|ckpt|bin)",
        "{} is a file of PyTorch: save its state dict as pytorch_model.bin beside config.json",
    ),
    (
        r".+\.(onnx|ot|gguf|tflite|pb|h5|msgpack|npz)",
        "{} is made for another program: give the folder of the model that it was made from",
    ),
    (
        r".+\.safetensors",
        "it has several safetensors files: give a folder with those of one model",
    ),
)


def advice(names: Iterable[str]) -> str:
    """How to convert what a folder has in place of weights; "" if nothing looks like them.

    >>> advice(["config.json", "model.onnx"])
    'model.onnx is made for another program: give the folder of the model that it was made from'
    """
    files = sorted(names)
    for pattern, text in _ADVICE:
        found = next((name for name in files if re.fullmatch(pattern, name)), None)
        if found is not None:
            return text.format(found[:80])
    return ""
