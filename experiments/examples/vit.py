"""A vision transformer whose layers are scanned, pruned by weights, by 2:4 and by whole heads.

    python -m experiments.examples.vit               # needs scikit-learn, which holds the images

`nn.scan` keeps the layers in one array, and attention's kernels have two axes of outputs: `axes`
tells which is which. Every layer then has a cut of its own, and a structure sees matrices.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import mpjax
from mpjax.pruning import NofM, Part, Shared, Structure

LAYERS, WIDTH, HEADS = 2, 48, 4
KERNELS = r"layers/.*kernel"
# query, key, value: (layers, width, heads, head size); out: (layers, heads, head size, width)
AXES = {
    r".*/(query|key|value)/kernel": "stack input output output",
    r".*/out/kernel": "stack input input output",
    r".*/(up|down)/kernel": "stack input output",
}
# One score removes a head from four kernels, or a hidden unit from two.
HEADS_AND_UNITS = (
    Part(
        r".*/attention/.*",
        Shared("heads", (("(query|key|value)/kernel", 1), ("out/kernel", 0)), WIDTH // HEADS),
    ),
    Part(r".*", Shared("units", (("up/kernel", 1), ("down/kernel", 0)))),
)


class Layer(nn.Module):
    """Pre-norm attention and feed-forward layer; returns (x, None), as `nn.scan` expects."""

    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(HEADS, name="attention")(nn.LayerNorm()(x))
        hidden = nn.gelu(nn.Dense(4 * WIDTH, name="up")(nn.LayerNorm()(x)))
        return x + nn.Dense(WIDTH, name="down")(hidden), None


class Vit(nn.Module):
    """Images (n, 8, 8) as 16 patches of 2 x 2, to logits (n, 10)."""

    @nn.compact
    def __call__(self, images):
        patches = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 4)
        places = self.param("places", nn.initializers.normal(0.02), (1, 16, WIDTH))
        x = nn.Dense(WIDTH, name="embed")(patches) + places
        layers = nn.scan(
            Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=LAYERS
        )
        x, _ = layers(name="layers")(x)
        return nn.Dense(10, name="head")(nn.LayerNorm()(x).mean(axis=1))


def train(params, pruning, steps, batches):
    """Trains with the published optimiser; returns plain weights at the final density."""
    config = mpjax.OptimizerConfig(learning_rate=1e-3, warmup_steps=steps // 10)
    tx = mpjax.make_optimizer(config, pruning, steps)
    variables = {"params": params, "scores": pruning.init_scores(params) if pruning else {}}
    opt_state = tx.init(variables)

    @jax.jit
    def update(variables, opt_state, images, labels):
        def loss_fn(variables):
            params = variables["params"]
            if pruning is not None:
                density = mpjax.pruning_state(opt_state).threshold
                params, _ = pruning.prune(params, variables["scores"], density)
            logits = Vit().apply({"params": params}, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, opt_state = tx.update(jax.grad(loss_fn)(variables), opt_state, variables)
        return optax.apply_updates(variables, updates), opt_state

    for _ in range(steps):
        variables, opt_state = update(variables, opt_state, *next(batches))
    if pruning is None:
        return variables["params"]
    return jax.jit(pruning.finalize, static_argnums=1)(variables, pruning.rule.final)


def main(arguments=None):
    """Prints and returns (name, accuracy, density) of every network."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--density", type=float, default=0.1, help="where no structure fixes it")
    options = parser.parse_args(arguments)
    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = digits.images[order].astype(np.float32) / 16, digits.target[order]

    def batches():
        draws = np.random.default_rng(1)  # the same for every network
        while True:
            rows = draws.integers(1347, size=32)  # the other 450 are for testing
            yield images[rows], labels[rows]

    def pruning(rule, final, parts=()):
        made = mpjax.make_rule(rule, final=final)
        return mpjax.Pruning(made, KERNELS, Structure(parts), axes=AXES)

    final = options.density
    cases = {
        "dense": None,
        "movement": pruning("movement", final),
        "movement, 2:4": pruning("movement", 0.5, (Part(".*", NofM(2, 4)),)),
        "heads and units": pruning("movement", 0.25, HEADS_AND_UNITS),
    }
    start = jax.jit(Vit().init)(jax.random.key(0), images[:1])["params"]
    dense = train(start, None, options.steps, batches())
    predict: Any = jax.jit(Vit().apply)
    results = []
    print(f"{'':16} accuracy  density")
    for name, case in cases.items():
        params = train(dense, case, options.steps, batches())
        logits = predict({"params": params}, images[1347:])
        right = logits.argmax(axis=-1) == labels[1347:]
        results.append((name, float(jnp.mean(right)), mpjax.linear_density(params, KERNELS)))
        print("{:16} {:8.1%} {:8.1%}".format(*results[-1]))
    return results


if __name__ == "__main__":
    main()
