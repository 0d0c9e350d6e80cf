"""Trials whose profile names a judge made for a test."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.specs import JudgeSpec
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"


@cache
def _plain() -> Trial:
    return make_trial(Options(profile="smoke", store=Path("nowhere")), ROOT / "specs")


def trial_with(store: Path, *judges: JudgeSpec) -> Trial:
    """Profile ``smoke`` with a store of its own and these judges, of which the first is the profile's."""
    plain = _plain()
    library = dataclasses.replace(plain.library, judges={**plain.library.judges, **{one.id: one for one in judges}})
    profile = plain.profile.model_copy(update={"judge": judges[0].id if judges else "lexical"})
    # A process of its own, whichever worker runs the test: the second of two would begin in the middle.
    alone = {"worker": 0, "n_workers": 1}
    return dataclasses.replace(plain, library=library, profile=profile, store=Store(store), _memo={}, **alone)
