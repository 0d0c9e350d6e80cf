"""Activation passes over texts."""

from editverdict.capture.passes import full_pass, record, row_texts, row_tokens, tail_pass
from editverdict.capture.texts import TextSample, TokenBatch, tokenize_sample

__all__ = ["TextSample", "TokenBatch", "full_pass", "record", "row_texts", "row_tokens", "tail_pass", "tokenize_sample"]
