"""Hugging Face folders: configs, weights, tokenizers, and the hub."""
