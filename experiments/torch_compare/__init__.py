"""Training of one run in JAX and in PyTorch, step by step, and the distance of the two.

    python -m experiments.torch_compare --model DIR --task sst2 --data DIR --method movement \\
        --density 0.1 --steps 100 [--float64] [--dropout] [--until 20] [--score]
        [--torch-device cuda] [--json FILE]

Takes the options of ``mpjax train``; nothing is written but the JSON. Batches, their order and the
initial head are the same on both sides. Dropout is off unless asked for: the two draw different
random numbers. Both sides follow the schedule of ``--steps`` and stop after ``--until``.
``--score`` scores both on the dev set at the end, as plain parameters and by one code.

Files: `jax_side` wraps the train step of the library; `trainer`, `masks` and `layouts` are a
trainer in PyTorch that shares no numerics with it; `compare` runs the two; `__main__` prints.
"""
