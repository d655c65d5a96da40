"""Recipes side by side on small tasks: runs, a table over densities, a plot, a list of a search.

    python -m experiments.recipes run sst2 sensitivity --density 0.10 --seed 0 --model MINILM \\
        --data SST-2 --output runs --dry-run
    python -m experiments.paper receipt runs/sst2-sensitivity-10-seed0 \\
        --output experiments/results/recipes/sst2/sensitivity-10-seed0.json
    python -m experiments.recipes table --markdown
    python -m experiments.recipes plot --output recipes.png
    python -m experiments.recipes search --results runs
    python -m experiments.recipes cut RUN --model MINILM --data SST-2

`table` and `plot` take one set of options for each recipe, task and density, and refuse others.
`search` takes any, and lists one row for each set of options, the best score first.

Files: `launch` has the settings of the tasks and trains, `detect` finds the recipe of a recorded
run, `runs` reads runs and receipts, `groups` puts the seeds of one set of options together,
`table` and `plot` show them, `one_cut` cuts a model once.
"""
