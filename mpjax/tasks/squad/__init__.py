"""SQuAD: questions answered by a span of a passage."""
