"""BERT (Devlin et al. 2019): token types, learned positions, a pooler below the classifier."""

from jax import Array

from mpjax.models.blocks import Encoder


class Bert(Encoder):
    """A BERT encoder with one head. Build it with `mpjax.models.encoder`."""

    prefix = "bert"
    # The bare encoder has no use for the pooler, but its folder has one: keep it among the
    # parameters. Under jit the unused product disappears.
    pooled = ("classification", "features")

    def summary(self, first: Array, deterministic: bool) -> Array:
        return self.dropout(first, self.config.head_dropout, deterministic)
