"""The built-in toy language: corpus, tokenizer and tasks, made from seeds alone."""

from mpjax.tasks.demo.task import corpus, sentiment, text, tokenizer, write_tokenizer

__all__ = ["corpus", "sentiment", "text", "tokenizer", "write_tokenizer"]
