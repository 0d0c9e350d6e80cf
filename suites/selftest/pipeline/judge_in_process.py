"""Judges items as a process of its own, to be killed in the middle: ``store spec-as-json items-as-json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from editverdict.evaluation.judging import Item
from suites.selftest.pipeline.judged import trial_with

if __name__ == "__main__":
    from editverdict.pipeline.judging import judged
    from editverdict.schema.judges import OpenAIJudgeSpec

    store, spec, items = sys.argv[1:]
    trial = trial_with(Path(store), OpenAIJudgeSpec.model_validate_json(spec))
    judged(trial, [Item(q, tuple(a), s) for q, a, s in json.loads(items)])
