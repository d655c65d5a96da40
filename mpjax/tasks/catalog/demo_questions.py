"""Toy extractive question answering on stories about gifts."""

from mpjax.tasks.demo.task import DemoQuestions

TASK = DemoQuestions("demo_questions", "qa", metric="f1", stream=3)
