"""A convolutional network on handwritten digits, pruned in an optax loop of one's own.

    python -m experiments.examples.digits            # needs scikit-learn, which holds the images

A dense network is trained, then trained further while a cubic schedule takes its density from 100%
to 2%. Of mpjax it uses `Pruning` and the schedule: optimiser, batches and loop are optax and JAX.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from sklearn.datasets import load_digits

import mpjax

KERNELS = r"(conv|hidden).*/kernel"  # all but the head


class Net(nn.Module):
    """Two convolutions and a hidden layer: (n, 8, 8, 1) to (n, 10)."""

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Conv(32, (3, 3), name="conv_0")(images))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2, name="conv_1")(x))
        x = nn.relu(nn.Dense(128, name="hidden")(x.reshape(len(x), -1)))
        return nn.Dense(10, name="head")(x)


def data():
    """Images (n, 8, 8, 1) in [0, 1] and their digits: 1,347 to train on, 450 to test on."""
    digits = load_digits()
    images = digits.images[..., None].astype(np.float32) / 16
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order]
    return (images[:1347], labels[:1347]), (images[1347:], labels[1347:])


def train(params, rule, steps, batches):
    """Trains weights and scores; returns the plain weights at the rule's final density."""
    net, pruning = Net(), mpjax.Pruning(rule, where=KERNELS)
    density = mpjax.cubic_schedule(rule.initial, rule.final, steps, warmup_steps=steps // 10)
    # Scores are parameters with an optimiser of their own; a rule without scores has {}.
    variables = {"params": params, "scores": pruning.init_scores(params)}
    tx = optax.partition(
        {"weights": optax.adam(1e-3), "scores": optax.adam(1e-2)},
        {"params": "weights", "scores": "scores"},
    )
    opt_state = tx.init(variables)

    @jax.jit
    def update(variables, opt_state, step, images, labels):
        def loss_fn(variables):
            pruned, _ = pruning.prune(variables["params"], variables["scores"], density(step))
            logits = net.apply({"params": pruned}, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        grads = jax.grad(loss_fn)(variables)
        updates, opt_state = tx.update(grads, opt_state, variables)
        return optax.apply_updates(variables, updates), opt_state

    for step in range(steps):
        variables, opt_state = update(variables, opt_state, step, *next(batches))
    return pruning.finalize(variables, rule.final)


def main(arguments=None):
    """Prints and returns (name, accuracy, density) of every network."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--density", type=float, default=0.02)
    options = parser.parse_args(arguments)
    (images, labels), (test_images, test_labels) = data()
    draws = np.random.default_rng(1)

    def batches():
        while True:
            rows = draws.integers(len(images), size=64)
            yield images[rows], labels[rows]

    start = Net().init(jax.random.key(0), images[:1])["params"]
    nothing = mpjax.make_rule("magnitude", final=1.0)  # a density of 1 prunes nothing
    dense = train(start, nothing, options.steps, batches())
    rules = {
        "dense": nothing,  # trained as long as the others
        "magnitude": mpjax.make_rule("magnitude", final=options.density),
        "movement": mpjax.make_rule("movement", final=options.density),
        "movement, global": mpjax.make_rule("movement", scope="global", final=options.density),
    }
    results = []
    print(f"{'':18} accuracy  density")
    for name, rule in rules.items():
        params = train(dense, rule, options.steps, batches())
        right = Net().apply({"params": params}, test_images).argmax(axis=-1) == test_labels
        results.append((name, float(jnp.mean(right)), mpjax.linear_density(params, KERNELS)))
        print("{:18} {:8.1%} {:8.1%}".format(*results[-1]))
    return results


if __name__ == "__main__":
    main()
