"""Published runs: their table, their recipes, and our own runs beside them.

    python -m experiments.paper list --task squad --method soft_movement --distilled
    python -m experiments.paper run squad-soft-movement-kd-06 --dry-run
    python -m experiments.paper run squad-soft-movement-kd-06 --data squad --scale 0.05
    python -m experiments.paper compare --results runs --plot runs.png
    python -m experiments.paper receipt runs/squad-dense --output experiments/results/dense.json

`mpjax/pages/reading/published.csv` is the authors' result sheet of Sanh, Wolf and Rush (2020), one
line a run, with an id in front: ``TASK-METHOD[-SCOPE][-kd]-NN``. The scope is given for magnitude
and movement, which ran with both; ``kd`` marks distilled runs; NN counts the runs of a group from
01, the densest. The file is sorted by id.

Files: `published` chooses among the recorded runs, `recipe` turns one into options of
``mpjax train``, `listing` prints their table, `receipt` writes the facts of a finished run of ours,
`finished` reads runs and receipts back, `compare` and `plot` show them beside the published points.
"""
