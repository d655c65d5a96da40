"""An NNX model with batch statistics and dropout, pruned by the recommended recipe.

    python -m experiments.examples.nnx               # needs scikit-learn, which holds the images

`Pruning` takes the `nnx.State` of `nnx.split` or the module itself, and returns the same kind. The
optimiser is `mpjax.make_optimizer`: warm-up, clipping, schedules and one Adam for each group.
"""

import argparse
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import mpjax

KERNELS = r"layers/.*/kernel"  # of the state: layers/0/kernel, layers/1/kernel, ...


class Net(nnx.Module):
    """Three hidden layers with batch norm and dropout: (n, 64) to (n, 10)."""

    def __init__(self, rngs):
        sizes = (64, 128, 128, 128)
        self.layers = nnx.List(nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes))
        self.norms = nnx.List(nnx.BatchNorm(size, momentum=0.9, rngs=rngs) for size in sizes[1:])
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.dropout(nnx.relu(norm(layer(x))))
        return self.head(x)


def train(model, pruning, config, steps, batches):
    """Trains a module and returns it pruned, as a module; the one given stays as it was."""
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)  # rest: batch statistics, dropout's keys
    variables = {"params": params, "scores": pruning.init_scores(params) if pruning else {}}
    tx = mpjax.make_optimizer(config, pruning, steps)
    opt_state = tx.init(variables)

    @jax.jit
    def update(variables, rest, opt_state, images, labels):
        def loss_fn(variables):
            params = variables["params"]
            if pruning is not None:
                density = mpjax.pruning_state(opt_state).threshold
                params, _ = pruning.prune(params, variables["scores"], density)
            net = nnx.merge(graph, params, rest, copy=True)
            loss = optax.softmax_cross_entropy_with_integer_labels(net(images), labels).mean()
            return loss, nnx.split(net, nnx.Param, ...)[2]

        grads, rest = jax.grad(loss_fn, has_aux=True)(variables)
        updates, opt_state = tx.update(grads, opt_state, variables)
        return optax.apply_updates(variables, updates), rest, opt_state

    for _ in range(steps):
        variables, rest, opt_state = update(variables, rest, opt_state, *next(batches))
    trained = nnx.merge(graph, variables["params"], rest)
    trained.eval()
    if pruning is None:
        return trained
    return pruning.finalize({"params": trained, "scores": variables["scores"]}, pruning.rule.final)


def main(arguments=None):
    """Prints and returns (name, accuracy, density) of every network."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--density", type=float, default=0.05)
    options = parser.parse_args(arguments)
    digits, draws = load_digits(), np.random.default_rng(0)
    order = draws.permutation(len(digits.target))
    images, labels = digits.data[order].astype(np.float32) / 16, digits.target[order]

    def batches():
        while True:
            rows = draws.integers(1347, size=64)  # the other 450 are for testing
            yield images[rows], labels[rows]

    config = mpjax.OptimizerConfig(learning_rate=1e-3, warmup_steps=options.steps // 10)
    # The recipe of `mpjax train --density`: scores are moving averages of |w · ∂L/∂w|, and the
    # learning rate peaks when most weights are cut.
    recommended = dataclasses.replace(
        config, score_optimizer="sensitivity", score_beta=0.95, learning_rate=4e-3,
        warmup_steps=2 * options.steps // 5, initial_warmup=0.25, final_warmup=0.5,
    )  # fmt: skip
    final = options.density
    movement = mpjax.make_rule("movement", final=final, scope="global")
    cases = {
        "dense": (None, config),
        "magnitude": (mpjax.Pruning(mpjax.make_rule("magnitude", final=final), KERNELS), config),
        "sensitivity": (mpjax.Pruning(movement, KERNELS, dense_gradient=True), recommended),
    }
    dense = train(Net(nnx.Rngs(0)), None, config, options.steps, batches())
    results = []
    print(f"{'':12} accuracy  density")
    for name, (pruning, optimizer) in cases.items():
        net = train(dense, pruning, optimizer, options.steps, batches())
        right = net(images[1347:]).argmax(axis=-1) == labels[1347:]
        density = mpjax.linear_density(nnx.state(net, nnx.Param), KERNELS)
        results.append((name, float(jnp.mean(right)), density))
        print("{:12} {:8.1%} {:8.1%}".format(*results[-1]))
    return results


if __name__ == "__main__":
    main()
