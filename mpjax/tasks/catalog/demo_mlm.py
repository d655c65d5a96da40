"""Masked language modelling of the toy language, for pretraining in the quickstart."""

from mpjax.tasks.demo.task import DemoMaskedLM

TASK = DemoMaskedLM("demo_mlm", "mlm")
