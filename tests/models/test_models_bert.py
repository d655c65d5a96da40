"""BERT encoder: equal to transformers and to a NumPy oracle; laws of padding, dropout, dtypes."""

import os
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from scipy.special import erf

from mpjax import models
from mpjax.errors import InputError
from mpjax.models.dropout import dropout, hashed_bits

TINY = models.BertConfig(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=20,
    initializer_range=0.2,  # large enough that every part shows in the logits
    id2label=("a", "b", "c"),
)
# Layers, heads, head size, intermediate, token types and vocabulary, none of them round.
CONFIGS = [
    TINY,
    replace(TINY, num_hidden_layers=1, num_attention_heads=1, hidden_act="relu", vocab_size=17),
    replace(TINY, num_hidden_layers=4, num_attention_heads=4, hidden_act="gelu_new"),
    replace(TINY, hidden_size=35, num_attention_heads=5, intermediate_size=7, type_vocab_size=3),
    replace(TINY, hidden_act="silu", layer_norm_eps=1e-5, id2label=("only",)),
]
HF_CLASS = {
    "classification": "BertForSequenceClassification",
    "tokens": "BertForTokenClassification",
    "qa": "BertForQuestionAnswering",
    "mlm": "BertForMaskedLM",
    "features": "BertModel",
}


def batch_for(config, seed=0, examples=5, length=13):
    """Random ids and token types; rows of 1 to ``length`` real tokens, the rest padding."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[length, 1], rng.integers(1, length + 1, examples - 2)])
    return (
        rng.integers(0, config.vocab_size, (examples, length)).astype(np.int32),
        (np.arange(length)[None, :] < lengths[:, None]).astype(np.int32),
        rng.integers(0, config.type_vocab_size, (examples, length)).astype(np.int32),
    )


def random_model(config, head, dtype=jnp.float32, seed=3):
    """A model with all parameters random, biases and scales included."""
    model = models.new_model(config, head, seed=seed, param_dtype=dtype)
    leaves, tree = jax.tree.flatten(model.params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noisy = [
        x + 0.1 * jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)
    ]
    return replace(model, params=jax.tree.unflatten(tree, noisy))


def apply(model, *inputs, **kwargs):
    return np.asarray(model.module.apply({"params": model.params}, *inputs, **kwargs))


def torch_logits(folder, head, inputs, dtype):
    """Logits of a folder by transformers, with its own attention and loaders."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    cls = getattr(transformers, HF_CLASS[head])
    reference = cls.from_pretrained(folder, attn_implementation="eager").eval().to(dtype)
    with torch.no_grad():
        out = reference(*(torch.tensor(x.astype(np.int64)) for x in inputs))
    if head == "qa":
        return torch.stack([out.start_logits, out.end_logits], -1).numpy()
    return (out.last_hidden_state if head == "features" else out.logits).numpy()


def check_parity(folder, head, dtype, tolerance):
    torch = pytest.importorskip("torch")
    model = models.load_model(folder, head, param_dtype=dtype)
    inputs = batch_for(model.config)
    ours = apply(model, *inputs)
    theirs = torch_logits(folder, head, inputs, getattr(torch, np.dtype(dtype).name))
    assert ours.dtype == np.dtype(dtype)
    # Hidden states of padding mean nothing, but both sides compute them; compare them as well.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_float64_logits_equal_transformers(config, head, x64, tmp_path):
    model = random_model(config, head, jnp.float64)
    models.save_model(tmp_path / "m", config, model.params, head)
    check_parity(tmp_path / "m", head, jnp.float64, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
def test_float32_logits_equal_transformers(head, tmp_path):
    config = replace(TINY, initializer_range=0.05)  # logits of the size that real models have
    model = random_model(config, head)
    models.save_model(tmp_path / "m", config, model.params, head)
    check_parity(tmp_path / "m", head, jnp.float32, 2e-5)


@pytest.mark.parametrize("head", models.HEADS)
def test_a_real_bert_equals_transformers(head, tmp_path):
    folder = os.environ.get("MPJAX_TEST_BERT")
    if not folder:
        pytest.skip("MPJAX_TEST_BERT names no folder of a pretrained BERT")
    saved = tmp_path / "m"  # with a new head that both sides share
    model = models.load_model(folder, head, seed=1)
    models.save_model(saved, model.config, model.params, head)
    check_parity(saved, head, jnp.float32, 2e-5)
    with jax.enable_x64(True):
        check_parity(saved, head, jnp.float64, 1e-9)


# An oracle in NumPy, from Hugging Face names, for machines without PyTorch.


def numpy_norm(x, t, name, eps):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    return x * t[name + ".weight"] + t[name + ".bias"]


def numpy_dense(x, t, name):
    return x @ t[name + ".weight"].T + t[name + ".bias"]


def numpy_bert(t, config, ids, mask, types):
    """Hidden states (B, L, H), one head at a time."""
    e, size = "bert.embeddings.", config.head_size
    x = t[e + "word_embeddings.weight"][ids] + t[e + "token_type_embeddings.weight"][types]
    x = x + t[e + "position_embeddings.weight"][: ids.shape[1]]
    x = numpy_norm(x, t, e + "LayerNorm", config.layer_norm_eps)
    for i in range(config.num_hidden_layers):
        p = f"bert.encoder.layer.{i}."
        q, k, v = (numpy_dense(x, t, p + "attention.self." + n) for n in ("query", "key", "value"))
        context = np.zeros_like(q)
        for h in range(config.num_attention_heads):
            part = slice(h * size, (h + 1) * size)
            scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(size)
            weights = np.exp(scores - scores.max(-1, keepdims=True)) * mask[:, None, :]
            weights /= weights.sum(-1, keepdims=True)
            context[..., part] = weights @ v[..., part]
        a = x + numpy_dense(context, t, p + "attention.output.dense")
        a = numpy_norm(a, t, p + "attention.output.LayerNorm", config.layer_norm_eps)
        f = numpy_gelu(numpy_dense(a, t, p + "intermediate.dense"))
        x = numpy_norm(
            a + numpy_dense(f, t, p + "output.dense"),
            t,
            p + "output.LayerNorm",
            config.layer_norm_eps,
        )
    return x


def numpy_gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


@pytest.mark.slow
@pytest.mark.parametrize("head", ["classification", "qa", "mlm"])
def test_float64_logits_equal_numpy(head, x64):
    model = random_model(TINY, head, jnp.float64)
    t = models.to_torch_names(model.params, TINY, head)
    ids, mask, types = batch_for(TINY)
    x = numpy_bert(t, TINY, ids, mask, types)
    if head == "classification":
        logits = numpy_dense(np.tanh(numpy_dense(x[:, 0], t, "bert.pooler.dense")), t, "classifier")
    elif head == "qa":
        logits = numpy_dense(x, t, "qa_outputs")
    else:
        y = numpy_gelu(numpy_dense(x, t, "cls.predictions.transform.dense"))
        y = numpy_norm(y, t, "cls.predictions.transform.LayerNorm", TINY.layer_norm_eps)
        logits = y @ t["bert.embeddings.word_embeddings.weight"].T + t["cls.predictions.bias"]
    np.testing.assert_allclose(apply(model, ids, mask, types), logits, rtol=0, atol=1e-10)


def test_absent_mask_and_token_types_mean_ones_and_zeros():
    model = random_model(TINY, "classification")
    ids = batch_for(TINY)[0]
    full = apply(model, ids, np.ones_like(ids), np.zeros_like(ids))
    np.testing.assert_array_equal(apply(model, ids), full)


@pytest.mark.slow
def test_padding_has_no_influence():
    model = random_model(TINY, "classification")
    ids, mask, types = batch_for(TINY)
    other = np.where(mask == 1, ids, (ids + 7) % TINY.vocab_size)
    np.testing.assert_array_equal(apply(model, ids, mask, types), apply(model, other, mask, types))
    shorter = apply(model, ids[1:2, :1], mask[1:2, :1], types[1:2, :1])
    np.testing.assert_allclose(apply(model, ids, mask, types)[1:2], shorter, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_row_of_padding_alone_is_finite_and_so_are_its_gradients():
    model = random_model(TINY, "qa")
    ids = batch_for(TINY)[0]
    mask = np.zeros_like(ids)

    def loss(params):
        return jnp.square(model.module.apply({"params": params}, ids, mask)).mean()

    value, gradients = jax.value_and_grad(loss)(model.params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_jit_equals_eager():
    model = random_model(TINY, "mlm")
    inputs = batch_for(TINY)
    jitted = jax.jit(model.module.apply)({"params": model.params}, *inputs)
    np.testing.assert_allclose(jitted, apply(model, *inputs), rtol=0, atol=1e-5)


def test_too_long_an_input_names_the_limit():
    model = random_model(TINY, "qa")
    with pytest.raises(InputError, match=r"21 tokens long .* 20 positions"):
        apply(model, np.ones((1, 21), np.int32))


@pytest.mark.slow
def test_an_id_outside_the_vocabulary_shows():
    model = random_model(TINY, "classification")
    assert np.isnan(apply(model, np.full((1, 4), TINY.vocab_size))).all()


def primitives(jaxpr, name):
    """Every equation of one primitive, inner jaxprs included."""
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == name]
    for eqn in jaxpr.eqns:
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += primitives(inner, name)
    return found


def trace(config, head="classification", dtype=jnp.float32, deterministic=False):
    model = models.new_model(config, head, dtype=dtype)
    inputs = batch_for(config)

    def run(params, key):
        return model.module.apply(
            {"params": params}, *inputs, deterministic=deterministic, rngs={"dropout": key}
        )

    return jax.make_jaxpr(run)(model.params, jax.random.key(0)).jaxpr


@pytest.mark.parametrize(
    ("hidden", "attention", "classifier", "sites"),
    [
        (0.1, 0.1, None, lambda layers: 1 + 3 * layers + 1),
        (0.1, 0.0, 0.0, lambda layers: 1 + 2 * layers),
        (0.0, 0.1, None, lambda layers: layers),
        (0.0, 0.0, 0.1, lambda layers: 1),
        (0.0, 0.0, 0.0, lambda layers: 0),
    ],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_dropout_sits_where_bert_has_it(hidden, attention, classifier, sites, layers):
    config = replace(
        TINY,
        num_hidden_layers=layers,
        hidden_dropout_prob=hidden,
        attention_probs_dropout_prob=attention,
        classifier_dropout=classifier,
    )
    assert len(primitives(trace(config), "random_bits")) == sites(layers)
    assert not primitives(trace(config, deterministic=True), "random_bits")


@pytest.mark.slow
def test_dropout_depends_on_the_key_alone():
    model = random_model(TINY, "classification")
    inputs = batch_for(TINY)

    def run(seed):
        return apply(model, *inputs, deterministic=False, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3
    assert np.abs(run(1) - apply(model, *inputs)).max() > 1e-3


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("last", [64, 7, 1])
def test_dropout_keeps_its_share_and_the_mean(rate, last):
    x = jnp.ones((300, 64 // last + 20, last))
    y = np.asarray(dropout(jax.random.key(5), x, rate))
    spread = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 5 * spread
    np.testing.assert_allclose(np.unique(y[y != 0]), 1 / (1 - rate), rtol=1e-4)
    dropped = (y == 0).astype(float)
    for lag in (1, max(last // 2, 1)):
        flat = dropped.reshape(-1)
        together = (flat[:-lag] * flat[lag:]).mean()
        assert abs(together - rate**2) < 6 * spread


def test_hashed_bits_look_random_along_every_axis_and_between_keys():
    shape = (16, 8, 64, 64)
    keys = [jax.random.key(0), jax.random.key(1), jax.random.fold_in(jax.random.key(0), 1)]
    words = [np.asarray(hashed_bits(key, shape)) for key in keys]
    n = words[0].size
    for word in words:
        for place in range(4):  # every byte is as often every number: χ² of 255 degrees
            counts = np.bincount((word >> np.uint32(8 * place)).reshape(-1) & 255, minlength=256)
            chi = float(((counts - n / 256) ** 2 / (n / 256)).sum())
            assert abs(chi - 255) < 5 * np.sqrt(510)
        marks = (word < 2**31).astype(float)
        for axis in range(4):  # sums over an axis vary as those of independent marks
            sums = marks.sum(axis)
            assert sums.var() == pytest.approx(shape[axis] / 4, rel=5 * np.sqrt(2 / sums.size))
        for lag in (1, 2, 63, 64, 65, 64 * 64, 8 * 64 * 64):
            flat = marks.reshape(-1) - 0.5
            assert abs((flat[lag:] * flat[:-lag]).mean()) < 5 * 0.25 / np.sqrt(n)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        agreed = np.unpackbits((words[i] ^ words[j]).view(np.uint8)).mean()
        assert abs(agreed - 0.5) < 5 * 0.5 / np.sqrt(32 * n)


def test_hashed_bits_of_old_keys_and_of_no_axis():
    key = jax.random.key(3)
    np.testing.assert_array_equal(
        hashed_bits(key, (5, 7)), hashed_bits(jax.random.key_data(key), (5, 7))
    )
    assert hashed_bits(key, ()).shape == () and hashed_bits(key, (0, 3)).shape == (0, 3)


@pytest.mark.slow
def test_bfloat16_products_with_float32_norms_and_softmax():
    jaxpr = trace(TINY, dtype=jnp.bfloat16, deterministic=True)
    products = primitives(jaxpr, "dot_general")
    # 6 dense and 2 attention products a layer, the pooler and the classifier.
    assert len(products) == 8 * TINY.num_hidden_layers + 2
    assert {v.aval.dtype for eqn in products for v in eqn.invars} == {jnp.dtype(jnp.bfloat16)}
    for name in ("exp", "rsqrt", "erf"):
        equations = primitives(jaxpr, name)
        assert equations
        assert {v.aval.dtype for eqn in equations for v in eqn.invars} == {np.dtype(np.float32)}

    model = random_model(TINY, "classification")
    half = models.encoder(TINY, "classification", dtype=jnp.bfloat16)
    inputs = batch_for(TINY)
    logits = half.apply({"params": model.params}, *inputs)
    assert isinstance(logits, jax.Array)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, apply(model, *inputs), rtol=0, atol=0.15)


def test_products_see_two_axes_only():
    """The gradient of a dense layer on 3-D tokens would transpose whole activations on CPU."""
    jaxpr = trace(TINY, "mlm", deterministic=True)
    ranks = sorted({v.aval.ndim for eqn in primitives(jaxpr, "dot_general") for v in eqn.invars})
    assert ranks == [2, 4]  # dense layers; attention


@pytest.mark.parametrize("head", models.HEADS)
def test_the_patterns_pick_the_six_matrices_and_the_embeddings(head):
    flat = flatten_dict(models.new_model(TINY, head).params, sep="/")
    prunable = [p for p in flat if re.fullmatch(models.PRUNABLE, p)]
    assert len(prunable) == 6 * TINY.num_hidden_layers
    assert all(flat[p].ndim == 2 for p in prunable)
    hidden, inner = TINY.hidden_size, TINY.intermediate_size
    weights = sum(flat[p].size for p in prunable)
    assert weights == TINY.num_hidden_layers * (4 * hidden**2 + 2 * hidden * inner)
    frozen = {p for p in flat if re.fullmatch(models.FROZEN, p)}
    leaves = ("word/embedding", "position/embedding", "token_type/embedding")
    norm = ("norm/scale", "norm/bias")
    assert frozen == {f"bert/embeddings/{leaf}" for leaf in (*leaves, *norm)}


def test_bert_base_has_the_published_number_of_prunable_weights():
    from mpjax.models.hf.weights import shapes

    base = shapes(models.BertConfig(), "classification")
    sizes = [np.prod(s) for p, s in base.items() if re.fullmatch(models.PRUNABLE, p)]
    assert (len(sizes), sum(sizes)) == (72, 84_934_656)


def test_unknown_head_names_the_known_ones():
    with pytest.raises(InputError, match="classification, tokens, qa, mlm, features"):
        models.encoder(TINY, "regression")
