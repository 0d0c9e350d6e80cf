"""Judging answers, the four dimensions, and probability-based scores."""
