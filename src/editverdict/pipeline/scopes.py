"""What a case is to the paper: a replication of one of its settings, an extension, or a rehearsal.

Computed from the specs and from what was really measured. Claims of the benchmark stand on edits: C.1 of the paper has
a hundred of them per data set (each alone, ten groups of ten, all in one sequence), Table 37 one sequence over all.
"""

from __future__ import annotations

from typing import Literal

from editverdict.editors.base import KnowsItsTexts
from editverdict.pipeline.edits import editor_of, state_method
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.trial import Trial

Scope = Literal["replication", "extension", "rehearsal"]

PAPER_TEXTS = 100_000
"""Texts behind the paper's spectra (B.1)."""
PAPER_T = (1, 10, 20, 50, 100, 200, 500, 1_000)
"""Lengths of its sequences of edits (C.1 and Table 37)."""
PAPER_WHOLE = {"zsre": 1_301, "wikidata-counterfact": 839}
"""All edits of a data set: the longest sequence there."""
PAPER_JUDGED = 100
"""Edits of a data set that its scores are of (C.1)."""
PAPER_ANSWERS = 250
"""Answers on which its judge was held against people (C.1)."""
TIMED_T = (100, 1_000)
"""Edits after which it prints the time or memory of a query (Tables 42, 44 and 45)."""
WITHOUT_WEIGHTS = frozenset(
    {
        "locality_before_editing",
        "retrieval_latency_ratio",
        "retrieval_memory_ratio",
        "retrieval_score_range",
        "schedule_of_the_paper",
        "text_edit_share",
        "tokens_kept",
    }
)
"""Quantities of cases without a method of their own that no edited weights come into."""


def scope_of(trial: Trial, case: Case, edits: int | None = None, units: int | None = None) -> tuple[Scope, str]:
    """The scope of a case, and why.

    Parameters
    ----------
    trial, case
        Whose.
    edits
        T of the states that were measured (0: the unedited model); None: nothing was, and the plan stands in.
    units
        Units of the primary definition that were measured.

    Returns
    -------
    tuple
        ``replication``, ``extension`` or ``rehearsal``; everything in which the case is not a setting of the paper.
    """
    library, claim = trial.library, case.claim
    model = library.models[case.model]
    if model.weights == "random":
        return "rehearsal", f"{case.model} has random weights"
    new = [] if model.in_paper else [f"model {case.model} is not in the paper"]
    with_corpus = claim.suite == "hypotheses" or _edits_by_corpus(trial, case)
    if with_corpus and not library.corpora[trial.profile.corpus].in_paper:
        new.append(f"corpus {trial.profile.corpus} is not the paper's")
    if case.method and not library.methods[case.method].in_paper:
        new.append(f"method {case.method} is not in the paper")
    if case.dataset and not library.datasets[case.dataset].in_paper:
        new.append(f"dataset {case.dataset} is not in the paper")
    if trial.profile.sizes.base_texts < PAPER_TEXTS and claim.suite == "hypotheses":
        new.append(f"{trial.profile.sizes.base_texts} texts where the paper has {PAPER_TEXTS}")
    if claim.suite == "benchmark":
        new += _sizes(case, *(_planned(trial, case) if edits is None or not units else (edits, units)))
    if new:
        return "extension", "; ".join(new)
    return "replication", f"model, method, data{', corpus' if with_corpus else ''} and sizes are the paper's"


def _planned(trial: Trial, case: Case) -> tuple[int | None, int | None]:
    """T and number of units that the profile plans; None where only the case itself would say."""
    sizes, wanted = trial.profile.sizes, case.claim.edits
    units = {"chain": sizes.chains, "edit": min(sizes.single_edits, sizes.chains * sizes.chain_length)}
    return (wanted if isinstance(wanted, int) else None), units.get(case.claim.unit)


def _sizes(case: Case, edits: int | None, units: int | None) -> list[str]:
    """In which of its sizes a case of the benchmark is not a setting of the paper."""
    unit = case.claim.unit
    if unit == "answer":
        few = units is not None and units < PAPER_ANSWERS
        return [f"{units} labelled answers where the paper has {PAPER_ANSWERS}"] if few else []
    if unit == "prompt":  # the paper does not say how many queries it timed
        if edits in (None, *TIMED_T):
            return []
        return [f"queries after {edits} edits where the paper's are after {' and '.join(f'{t:,}' for t in TIMED_T)}"]
    new = []
    if edits and edits not in PAPER_T and edits != PAPER_WHOLE.get(str(case.dataset)):
        new.append(f"chains of {edits} edits, a length that the paper does not have")
    if units is None or edits is None:
        return new
    judged = units * max(edits, 1) if unit == "chain" else units
    if judged < PAPER_JUDGED:
        new.append(f"{judged} {'edits' if edits else 'facts'} where the paper has {PAPER_JUDGED}")
    return new


def _edits_by_corpus(trial: Trial, case: Case) -> bool:
    """Whether texts of the profile's corpus come into edits that the case stands on."""
    if "dataset" not in case.claim.subject:
        return False  # answers that lie there already
    if case.method:
        return _reads_corpus(trial, case.method, case.model)
    if case.claim.quantity in WITHOUT_WEIGHTS:
        return False
    return any(_reads_corpus(trial, name, case.model) for name in trial.profile.methods_of(case.claim.id))


def _reads_corpus(trial: Trial, method: str, model_id: str) -> bool:
    """Whether a method takes anything from the corpus: covariances, texts to train on. Unless it says no, yes."""
    try:
        editor = editor_of(trial, state_method(trial, method), model_id)
    except Exception:  # of another tool, or it cannot be made: a row that says so must exist all the same
        return True
    return editor.reads_corpus if isinstance(editor, KnowsItsTexts) else True
