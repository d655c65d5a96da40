"""Masked language modelling of the toy language: what the quickstart pretrains on."""

from mpjax.tasks.demo.task import DemoMaskedLM

TASK = DemoMaskedLM("demo_mlm", "mlm")
