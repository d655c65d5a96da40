"""Replay of recorded runs of the published PyTorch code, and the distance of this library to them.

    python -m experiments.parity CASE_DIR_OR_FILE [--json FILE]

A case is ``NAME.json`` (settings and a log by step) with ``NAME.npz`` (initial and final tensors,
batches, first gradients, logits, masks, gate noise) in float64 with dropout 0. The replay uses the
model, rules and optax chain of a normal run. The exit code is 1 if any number is more than 1e-9
away or one mask entry differs.

Files: `case` reads a recorded run, with `settings` for the values of its JSON and `arrays` for the
bytes of its npz, `rules` finds the rule of a published method name, `shapes` checks that arrays and
settings belong together, `replay` runs the case and compares it.
"""
