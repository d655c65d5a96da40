"""Hostile files, kills, flipped bits and long runs: promises, and the numbers that show them.

    python -m experiments.reliability fuzz [--inputs 40000] [--seed 0] [--only glue,packed]
    python -m experiments.reliability replay FILE
    python -m experiments.reliability kills [--kills 12] [--variants movement,sweep]
    python -m experiments.reliability flips [--flips 200]
    python -m experiments.reliability soak [--steps 1000]
    python -m experiments.reliability save
    python -m experiments.reliability all [--output experiments/results/reliability.json]

``fuzz`` damages sound files and command lines by a seed and reads them in worker processes, which
are replaced when they hang or die. Allowed are success and one clear sentence (an `InputError` of
one line below 600 characters); an unclear sentence, a traceback, 10 seconds, other content in spite
of a checksum, and memory above three times the file plus 500 MB are failures. With ``--work DIR``
the failing inputs stay in DIR/fuzz/failures. ``kills`` ends ``mpjax train`` by SIGKILL at random
moments and when new files appear, gives the command again until it ends, and compares metrics and
model byte for byte with a run that was left alone. ``flips`` flips one bit in the checkpoints of a
run and continues it. ``soak`` watches the memory of a long run; ``save`` times what checkpoints
cost. The exit code is 1 if a promise was broken.

Files: `targets` is the table of readers, made of `originals` (sound files), damage (`mutations`,
`containers`, `words`) and `readers`; `target` runs one input and classifies it, `worker` does so in
a process of its own, `fuzz` counts; `variants` is the table of commands for `kills`; `flips`,
`soak` and `disk` are the other parts.
"""
