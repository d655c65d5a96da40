"""A GPT-2-like language model on a text file, with a penalty on the scores.

    python -m experiments.examples.gpt2
    python -m experiments.examples.gpt2 --text war-and-peace.txt --steps 2000

Bytes are the tokens. Without `--text` it reads the reference manual that Python carries for
`help()`. Trained dense, then on, pruned: by a density, and by soft movement, where λ decides how
many weights a threshold leaves. Scores are bits per byte of the last tenth of the text.
"""

import argparse
import dataclasses
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import mpjax

LAYERS, WIDTH, HEADS, LENGTH, BATCH = 2, 64, 4, 64, 16
KERNELS = r"layer_\d/(qkv|out|up|down)/kernel"  # embeddings and norms stay


class Layer(nn.Module):
    """Layer of GPT-2: causal attention and feed-forward, norms before each."""

    @nn.compact
    def __call__(self, x):
        batch, length, _ = x.shape
        qkv = nn.Dense(3 * WIDTH, name="qkv")(nn.LayerNorm(name="norm_1")(x))
        query, key, value = jnp.moveaxis(qkv.reshape(batch, length, 3, HEADS, -1), 2, 0)
        seen = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + nn.Dense(WIDTH, name="out")(seen.reshape(x.shape))
        up = nn.gelu(nn.Dense(4 * WIDTH, name="up")(nn.LayerNorm(name="norm_2")(x)))
        return x + nn.Dense(WIDTH, name="down")(up)


class Gpt2(nn.Module):
    """Bytes (n, length) to logits (n, length, 256); the output shares the embedding."""

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(256, WIDTH, name="embed")
        places = self.param("places", nn.initializers.normal(0.01), (1, LENGTH, WIDTH))
        x = embed(tokens) + places
        for i in range(LAYERS):
            x = Layer(name=f"layer_{i}")(x)
        return embed.attend(nn.LayerNorm(name="norm")(x))


def bits_per_byte(params, rows):
    """Mean cross entropy in bits of rows (n, LENGTH + 1), each byte given those before it."""
    logits = Gpt2().apply({"params": params}, rows[:, :-1])
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:])
    return loss.mean() / jnp.log(2)


def train(params, pruning, config, steps, batches):
    """Trains with the published optimiser; returns plain weights at the final threshold."""
    tx = mpjax.make_optimizer(config, pruning, steps)
    variables = {"params": params, "scores": pruning.init_scores(params) if pruning else {}}
    opt_state = tx.init(variables)

    @jax.jit
    def update(variables, opt_state, rows):
        def loss_fn(variables):
            params = variables["params"]
            if pruning is not None:
                threshold = mpjax.pruning_state(opt_state).threshold
                params, _ = pruning.prune(params, variables["scores"], threshold)
            return bits_per_byte(params, rows)

        updates, opt_state = tx.update(jax.grad(loss_fn)(variables), opt_state, variables)
        return optax.apply_updates(variables, updates), opt_state

    for _ in range(steps):
        variables, opt_state = update(variables, opt_state, next(batches))
    if pruning is None:
        return variables["params"]
    return jax.jit(pruning.finalize, static_argnums=1)(variables, pruning.rule.final)


def main(arguments=None):
    """Prints and returns (name, bits per byte, density) of every model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--text", type=Path, help="any file; its bytes are the tokens")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--final-lambda", type=float, default=30.0, help="of soft movement")
    options = parser.parse_args(arguments)
    manual = "\n".join(topics[name] for name in sorted(topics)).encode()
    text = np.frombuffer(options.text.read_bytes() if options.text else manual, np.uint8)
    if len(text) < 100 * LENGTH:
        parser.error(f"--text {options.text} has {len(text)} bytes; give at least {100 * LENGTH}")
    split, draws = len(text) * 9 // 10, np.random.default_rng(0)
    windows = np.lib.stride_tricks.sliding_window_view(text, LENGTH + 1)
    dev = windows[split::LENGTH][:256].astype(np.int32)

    def batches():
        while True:
            yield windows[draws.integers(split - LENGTH, size=BATCH)].astype(np.int32)

    def pruning(rule, **changes):
        return mpjax.Pruning(mpjax.make_rule(rule, **changes), KERNELS)

    config = mpjax.OptimizerConfig(learning_rate=2e-3, warmup_steps=options.steps // 10)
    # 200 steps of 0.01 move no score from 0 below the threshold, σ⁻¹(0.1) = -2.2.
    penalised = dataclasses.replace(
        config, final_lambda=options.final_lambda, score_learning_rate=5e-2
    )
    cases = {
        "dense": (None, config),
        "magnitude": (pruning("magnitude", final=options.density), config),
        "movement": (pruning("movement", final=options.density), config),
        "soft movement": (pruning("soft_movement", final=0.1), penalised),  # sigmoid(S) > 0.1
    }
    start = jax.jit(Gpt2().init)(jax.random.key(0), dev[:1, :-1])["params"]
    dense = train(start, None, config, options.steps, batches())
    counts = np.bincount(text, minlength=256) / len(text)
    print(f"no model, byte frequencies alone: {-(counts * np.log2(counts + 1e-30)).sum():.2f} bits")
    print(f"{'':14} bits per byte  density")
    results = []
    for name, (case, optimizer) in cases.items():
        params = train(dense, case, optimizer, options.steps, batches())
        bits = float(jax.jit(bits_per_byte)(params, dev))
        results.append((name, bits, mpjax.linear_density(params, KERNELS)))
        print("{:14} {:13.2f} {:8.1%}".format(*results[-1]))
    return results


if __name__ == "__main__":
    main()
