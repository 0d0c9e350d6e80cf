"""Prompts, batched decoding, scoring of given targets, and answering from a context."""
