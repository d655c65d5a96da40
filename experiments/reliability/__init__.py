"""Hostile files, kills, flipped bits and long runs: what is promised, shown on this machine.

python -m experiments.reliability fuzz [--inputs 40000] [--seed 0] [--only glue,packed]
python -m experiments.reliability replay FILE
"""
