"""The published runs: what they were, how to repeat one, and where our own runs stand beside them.

    python -m experiments.paper list --task squad --method soft_movement --distilled
    python -m experiments.paper run squad-soft-movement-kd-06 --dry-run
    python -m experiments.paper run squad-soft-movement-kd-06 --data squad --scale 0.05
    python -m experiments.paper compare --results runs --plot runs.png
    python -m experiments.paper receipt runs/squad-dense --output experiments/results/dense.json

`runs.csv` is the authors' result sheet of Sanh, Wolf and Rush (2020), one line a run, with an id in
front: ``TASK-METHOD[-SCOPE][-kd]-NN``. The scope is there where the paper compares two of them
(magnitude, movement), ``kd`` where the run learned from a teacher too, and NN counts the runs of
such a group from 01, the densest, on. The file is sorted by id.

One file, one idea: `published` the runs as recorded, `recipe` a run as options of ``mpjax train``,
`listing` their table, `finished` our runs and receipts read back, `receipt` how a receipt is made,
`compare` ours beside the nearest published point, `plot` both in a picture.
"""
