"""Built-in toy language: corpus, tokenizer and tasks, generated from seeds."""

from mpjax.tasks.demo.task import corpus, sentiment, text, tokenizer, write_tokenizer

__all__ = ["corpus", "sentiment", "text", "tokenizer", "write_tokenizer"]
