"""SQuAD (Rajpurkar et al. 2016, 2018): questions answered by a span of a passage."""
