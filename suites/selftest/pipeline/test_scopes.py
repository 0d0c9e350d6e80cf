"""What a case is to the paper is told from the case: its T, its edits, and the corpus only where it comes in."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from editverdict.editors.base import Editor
from editverdict.pipeline.edits import editor_of
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.scopes import scope_of
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.sessions import ROOT

PAPERS = "llama-3.1-8b-instruct"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return make_trial(Options(profile="records-100", store=tmp_path_factory.mktemp("scopes")), ROOT / "specs")


def scope(trial: Trial, claim: str, method: str | None, *measured: int, **where: Any) -> tuple[str, str]:
    spec = trial.library.claims[claim]
    data = where.get("dataset", "zsre") if "dataset" in spec.subject else None
    return scope_of(trial, Case(spec, where.get("model", PAPERS), method, data), *measured)


def test_the_papers_groups_of_edits_are_a_replication(trial: Trial) -> None:
    """C.1: ten groups of ten; a hundred alone. Table 37: one sequence, here of a hundred, or all."""
    assert scope(trial, "scr-locality-vs-preedit", "SCR", 10, 10) == (
        "replication",
        "model, method, data and sizes are the paper's",
    )
    assert scope(trial, "rq1-far-from-perfect", "ROME-identity", 1, 100)[0] == "replication"
    for t in (20, 100, 1301):
        assert scope(trial, "scr-locality-vs-preedit", "SCR", t, 6)[0] == "replication"
    assert scope(trial, "scr-locality-vs-preedit", "SCR", 839, 6, dataset="wikidata-counterfact")[0] == "replication"


@pytest.mark.parametrize(
    ("claim", "method", "measured", "why"),
    [
        ("scr-locality-vs-preedit", "SCR", (10, 6), "60 edits where the paper has 100"),
        ("rq1-far-from-perfect", "FT-L", (1, 60), "60 edits where the paper has 100"),
        ("scr-locality-vs-preedit", "SCR", (839, 6), "chains of 839 edits, a length that the paper does not have"),
        ("rq3-scr-best", "GRACE", (5, 6), "chains of 5 edits, a length that the paper does not have; "
                                          "30 edits where the paper has 100"),
        ("proto-locality-definition", None, (0, 60), "60 facts where the paper has 100"),
        ("proto-judge-agreement", None, (0, 204), "204 labelled answers where the paper has 250"),
        ("sens-vram-flat", None, (10, 20), "queries after 10 edits where the paper's are after 100 and 1,000"),
        ("scr-dominates-avg", "ROME", (10, 10), "corpus wordnet-glosses is not the paper's"),
        ("scr-dominates-avg", "easyedit:ROME", (10, 10), "corpus wordnet-glosses is not the paper's"),
        ("rq1-timing-varies", None, (20, 6), "corpus wordnet-glosses is not the paper's"),
        ("scr-dominates-avg", "ROME-identity", (), "chains of 15 edits, a length that the paper does not have"),
    ],
)  # fmt: skip
def test_what_is_not_the_papers_is_said_and_nothing_else(
    trial: Trial, claim: str, method: str | None, measured: tuple[int, ...], why: str
) -> None:
    if not measured:
        trial = planned_as(trial, claim, edits=15)
    assert scope(trial, claim, method, *measured) == ("extension", why)


def planned_as(trial: Trial, claim: str, **changes: Any) -> Trial:
    spec = trial.library.claims[claim].model_copy(update=changes)
    library = dataclasses.replace(trial.library, claims={**trial.library.claims, claim: spec})
    return dataclasses.replace(trial, library=library, _memo={})


def test_sizes_of_what_was_not_measured_are_the_plans(trial: Trial) -> None:
    assert scope(trial, "rq1-drop-single-to-seq", "FT-L")[0] == "replication"
    sizes = trial.profile.sizes.model_copy(update={"single_edits": 20, "chains": 6})
    fewer = dataclasses.replace(trial, profile=trial.profile.model_copy(update={"sizes": sizes}), _memo={})
    assert scope(fewer, "rq1-far-from-perfect", "FT-L") == ("extension", "20 edits where the paper has 100")
    assert scope(fewer, "rq1-drop-single-to-seq", "FT-L") == ("extension", "60 edits where the paper has 100")
    assert scope(fewer, "proto-judge-agreement", None)[0] == "replication"  # nothing is known of its sizes yet


def test_a_case_of_the_default_model_says_what_is_so(trial: Trial) -> None:
    found, why = scope(trial, "scr-locality-vs-preedit", "SCR", 10, 10, model="smollm2-135m", dataset="worldfacts")
    assert (found, why) == (
        "extension",
        "model smollm2-135m is not in the paper; dataset worldfacts is not in the paper",
    )
    assert scope(trial, "smallpert-norm", "ROME-identity", 1, 20)[1].startswith("corpus wordnet-glosses is not")
    assert "texts where the paper has 100000" in scope(trial, "smallpert-norm", "ROME-identity", 1, 20)[1]
    assert scope(trial, "rq3-scr-best", "ROME", 10, 10, model="rehearsal-llama")[0] == "rehearsal"


@pytest.mark.parametrize(
    ("method", "reads"),
    [("ROME", True), ("ROME-identity", False), ("RECT", True), ("SCR", False), ("GRACE", False), ("FT-L", False),
     ("AdaLoRA", False), ("no-op", False), ("MEMIT", True), ("AlphaEdit", True), ("MEND", True), ("WISE", True)],
)  # fmt: skip
def test_methods_say_whether_they_read_the_corpus(trial: Trial, method: str, reads: bool) -> None:
    editor: Editor = editor_of(trial, method, PAPERS)
    assert bool(getattr(editor, "reads_corpus", True)) is reads
