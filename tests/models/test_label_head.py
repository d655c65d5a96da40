"""Label words: logits of transformers' masked LM at the first token, and the folders of them."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from test_models_bert import batch_for as bert_batch
from test_models_bert import random_model
from test_models_families import TINY, batch_for, reference, torch_logits, types_for

from mpjax import models
from mpjax.errors import InputError
from mpjax.pruning import Pruning, make_rule

LABELS, WORDS, IDS = ("a", "b", "c"), ("one", "two", "three"), (52, 7, 30)
CONFIGS = {**TINY, "bert": replace(models.BertConfig(), **{
    name: getattr(TINY["distilbert"], name)
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                 "intermediate_size", "max_position_embeddings", "initializer_range")
})}  # fmt: skip


def worded(family="bert"):
    """Model of label words with random parameters, the bias of the words included."""
    mlm = random_model(replace(CONFIGS[family], initializer_range=0.05), "mlm")
    return models.with_label_words(mlm, LABELS, WORDS, IDS)


def apply(model, **batch):
    return np.asarray(jax.jit(model.module.apply)({"params": model.params}, **batch))


def inputs(family):
    """Ids, mask and, if the family has them, token types; padding only where the mask says so."""
    config = CONFIGS[family]
    if family == "bert":
        return dict(
            zip(("input_ids", "attention_mask", "token_type_ids"), bert_batch(config), strict=True)
        )
    ids, mask = batch_for(config)
    types = dict(zip(["token_type_ids"], types_for(config, ids), strict=False))
    return {"input_ids": ids, "attention_mask": mask, **types}


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGS)
def test_logits_are_those_of_the_words_at_the_first_token(family, tmp_path):
    model, batch = worded(family), inputs(family)
    models.save_model(tmp_path / "m", model.config, model.params, model.head)
    loaded = models.load_model(tmp_path / "m", "label_words")
    ours = apply(loaded, **batch)
    assert ours.shape == (len(batch["input_ids"]), 3) and np.ptp(ours) > 0.1
    np.testing.assert_array_equal(ours, apply(model, **batch))
    theirs = reference(tmp_path / "m", "mlm")
    assert theirs.config.label_words == [*WORDS]
    assert [theirs.config.id2label[i] for i in range(3)] == [*LABELS]
    expected = torch_logits(theirs, "mlm", **batch)[:, 0, theirs.config.label_word_ids]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)
    from mpjax import sparse

    np.testing.assert_allclose(sparse.sparse_model(loaded)(batch), expected, rtol=0, atol=2e-5)


def test_a_folder_keeps_its_words_through_other_orders_and_loses_them_with_another_head(tmp_path):
    model, batch = worded(), inputs("bert")
    folder = models.save_model(tmp_path / "m", model.config, model.params, model.head)
    assert models.stored_head(folder) == "label_words" and models.has_label_words(folder)
    moved = models.load_model(folder, "label_words", labels=("c", "a", "b"))
    assert models.word_ids(moved.config) == (30, 52, 7)
    assert moved.config.extra["label_words"] == ["three", "one", "two"]
    np.testing.assert_array_equal(apply(moved, **batch), apply(model, **batch)[:, [2, 0, 1]])
    mlm = models.load_model(folder, "mlm")
    assert not {"label_words", "label_word_ids"} & set(mlm.config.extra)
    ids = jax.tree.leaves(mlm.params)
    assert all(map(np.array_equal, ids, jax.tree.leaves(model.params)))
    extra = model.config.extra | {"pruning_method": "topK", "threshold": 0.5}
    scores = Pruning(make_rule("movement", final=0.5), models.PRUNABLE).init_scores(model.params)
    scored = replace(model.config, extra=extra)
    models.save_model(tmp_path / "s", scored, model.params, model.head, scores=scores)
    found = models.load_with_scores(tmp_path / "s", models.stored_head(tmp_path / "s"))
    assert found.stored_scores is not None and models.word_ids(found.config) == IDS
    other = models.save_model(tmp_path / "o", mlm.config, mlm.params, "mlm")
    assert models.stored_head(other) == "mlm" and not models.has_label_words(other)


@pytest.mark.parametrize(
    "ids", [[1, 2], [1, 2, 2], [1, 2, 61], [1, 2, True], [1, 2, -1], "abc", None]
)
def test_ids_that_are_no_rows_of_the_table_are_refused(ids, tmp_path):
    model = worded()
    folder = models.save_model(tmp_path / "m", model.config, model.params, model.head)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"label_word_ids": ids}))
    with pytest.raises(InputError, match=r"config\.json: label_word_ids must list 3 different"):
        models.load_model(folder, "label_words")
