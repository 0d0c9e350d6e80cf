"""How the paper's tables belong together, whose numbers stand beside them, and how layers, k and T answer to ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from editverdict.inference.rows import Row
from editverdict.reporting import paper_answers as answers_of
from editverdict.reporting import paper_efficiency as costs_of
from editverdict.reporting import paper_rows as rows_of
from editverdict.reporting.paper_rows import Record

Reader = Callable[[Row], list[Record]]

_LAYERS = (
    "Layers are counted from 0, as in the paper; ours are the layers measured in our model, other layers of another "
    "depth, from the lowest edited one up where something is edited."
)
_RATES = (
    "R_k over identified directions only (those above the resolution of the measurement), mean |c_k| over paired "
    "tokens; every column is a mean over single edits of each edit's own statistic."
)
_CHAIN = (
    "R_k summarised over directions, then over layers; performance on all edits so far. First the paper's statistic on "
    "our first chain: Spearman's ρ over its steps, which the trend of both in T confounds whatever the link. Then the "
    "association within T over chains, the trend taken out, p by permuting chains and corrected by Holm over all cells."
)
_ANSWERS = (
    "Scores are of the questions about all edits of a chain, in the paper's unit, over all chains; the paper lets a "
    "language model judge answers, and its sequences are of 10 to 1,301 edits."
)
_TASKS = (
    "Accuracy in percent, mean over chains; the average is over the tasks of a suite that have a right choice. The "
    "tasks are those of the profile's suite, so that of the paper's columns only the average has a counterpart; what "
    "guessing scores is not taken off, as in the paper."
)
_OTHER_TASKS = "the profile's suite has other tasks, whose scores stand above; the average alone has a counterpart"
_EVENTS = (
    "Percent of questions about events, over all chains; the average is that of portability and locality, as printed. "
    "The paper lets a language model judge answers."
)
_CORRELATED = ("corr-rome-negative", "corr-memit-negative", "corr-alphaedit-weak")
_DROPS = ("rq1-drop-single-to-seq", "scr-dominates-avg")


@dataclass(frozen=True)
class Part:
    """Tables that are laid out alike and whose numbers come from the same claim."""

    tables: tuple[int, ...]
    title: str
    claims: tuple[str, ...]
    """Ids of claims, or what they start with (``corr-``)."""
    readers: tuple[tuple[str, Reader], ...]
    """What a block of numbers is called (empty: the only one), and how it is read off a row."""
    mapping: str
    own_method: bool = False
    """The tables are about one method each."""
    together: bool = False
    """The methods of one model and dataset stand in one table, side by side."""
    cell_by_cell: bool = False
    """Every cell stands beside the paper's at its nearest setting, and an empty one says why."""
    needs: str = ""
    """What a run must have for it to be measured at all, where that is not plain from its methods."""
    no_column: str = "its row has no such number"
    """Why a line that has numbers has none in some of the paper's columns."""


PARTS = (
    Part(
        (1, 5, 6, 7),
        "Collapse: spectra of hidden states",
        ("collapse-eff-rank",),
        (("", rows_of.spectrum_of_layers),),
        f"{_LAYERS} σ_min and the condition number are those of the smallest identified direction.",
    ),
    Part(
        (8,),
        "Collapse in an encoder-decoder",
        ("amp-t5",),
        (("", rows_of.spectrum_of_modules),),
        "Modules are named as in the paper; act is what wi becomes behind the activation. σ_min and the condition "
        "number are those of the smallest identified direction.",
    ),
    Part(
        (9, 10, 11),
        "Small perturbation: ‖Δh‖ after one edit",
        ("smallpert-norm",),
        (("", rows_of.norms_of_layers),),
        f"{_LAYERS} Norms over paired tokens, per edit, then the mean over single edits (the paper: over 100,000 "
        "samples). The last column puts them beside the size of the states, which the paper does not print.",
    ),
    Part(
        (12,),
        "Small perturbation in an encoder-decoder",
        ("smallpert-t5-heterogeneous",),
        (("", rows_of.norms_of_modules),),
        "Modules that the edits reach, named as in the paper; per edit, then the mean over single edits.",
    ),
    Part(
        (13, 14, 15, 16, 17, 18),
        "Stability: principal subspaces along a chain of edits",
        ("pc-decay-with-edits",),
        (("", rows_of.cosines_of_layers),),
        "Cosine of the largest principal angle (the printed values fall with k, so it is this one, whatever it is "
        "called), same tokens before and after, mean over chains. k = 10 is kept; 100, 200 and 2000 of the paper's "
        f"4096 become the same share of our d. T is this run's schedule. {_LAYERS} The paper shows layer 30 alone; "
        "ours are all, so that none is picked.",
        own_method=True,
    ),
    Part(
        (19,),
        "Stability in an encoder-decoder: input projections",
        ("pc-t5-immediate-loss",),
        (("", rows_of.cosines_of_inputs),),
        "After one edit, mean over edits; the k that lie within the identified directions of a module. act is what wi "
        "becomes behind the activation.",
    ),
    Part(
        (20,),
        "Stability in an encoder-decoder: output projections",
        ("pc-t5-immediate-loss",),
        (("", rows_of.cosines_of_outputs),),
        "After one edit, mean over edits; the k that lie within the identified directions of a module.",
    ),
    Part(
        (21, 22, 23),
        "Amplification: R_k over directions after one edit",
        ("amp-mean-max-extreme",),
        (("", rows_of.rates_of_layers),),
        f"{_RATES} {_LAYERS}",
    ),
    Part(
        (24,),
        "Amplification in an encoder-decoder",
        ("amp-t5",),
        (("", rows_of.rates_of_modules),),
        f"{_RATES} The paper's 10²⁰ stands for directions without variance; ours are left out and counted.",
    ),
    Part(
        (2, 25, 26, 27, 28),
        "Correlation of R_k with performance",
        ("corr-",),
        (
            ("the paper's statistic, on our first chain (trend-confounded)", rows_of.trends_of_one_chain),
            ("association within T over chains, p after Holm", rows_of.associations_within_t),
        ),
        _CHAIN,
        together=True,
    ),
    Part(
        (3, 31, 32),
        "Editing: single and sequential",
        _DROPS,
        (("", answers_of.both_settings), ("retrieval, same chains", answers_of.retrieval)),
        f"{_ANSWERS} SCR's single edits are not asked here.",
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (29, 30),
        "Editing: after the sequence",
        _DROPS,
        (("", answers_of.sequential), ("retrieval, same chains", answers_of.retrieval)),
        _ANSWERS,
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (33,),
        "Capability: tasks to be worked out",
        ("rq2-capability-10edits", "rq2-capability-100edits", "rq2-capability-100edits-alphaedit"),
        (("", answers_of.capability),),
        _TASKS,
        together=True,
        cell_by_cell=True,
        no_column=_OTHER_TASKS,
    ),
    Part(
        (34,),
        "Capability: knowledge and language",
        ("rq2-broader-tasks",),
        (("", answers_of.capability),),
        _TASKS,
        together=True,
        cell_by_cell=True,
        no_column=_OTHER_TASKS,
    ),
    Part(
        (35,),
        "Events: single edits",
        ("rq3-single-unsatisfactory", "rq3-sequential-breakdown"),
        (("", answers_of.events_single),),
        _EVENTS,
        together=True,
        cell_by_cell=True,
        needs="claims on events need a dataset of events (ELKEN) in the profile",
    ),
    Part(
        (36,),
        "Events: after the sequence",
        ("rq3-sequential-breakdown", "rq3-scr-best"),
        (("", answers_of.events_sequential), ("retrieval, same chains", answers_of.events_retrieval)),
        _EVENTS,
        together=True,
        cell_by_cell=True,
        needs="claims on events need a dataset of events (ELKEN) in the profile",
    ),
    Part(
        (37,),
        "Editing: along the sequence",
        ("rq1-drop-single-to-seq", "rq1-collapse-sequential", *_CORRELATED),
        (
            ("single edits and the end of the chains", answers_of.ends_of_chains),
            ("on the way, where chains are asked there", answers_of.on_the_way),
            ("at the method's horizon, reliability alone", answers_of.at_the_horizon),
        ),
        f"{_ANSWERS} N = 1 is each edit alone, averaged.",
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (38,),
        "Editing: facts that the model is sure of, and others",
        ("rq1-confidence-split",),
        (("", answers_of.by_confidence),),
        f"{_ANSWERS} Each chain is split at its median of log P(old object) in the unedited model; the paper states "
        "neither whose log probability nor the split.",
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (40,),
        "Token-level locality",
        ("tok-preedit-100", "tok-param-low", "tok-wise-strong", "tok-grace-100", "tok-scr-competitive"),
        (("", answers_of.tokens_kept), ("retrieval, same chains", answers_of.tokens_kept_by_retrieval)),
        "Free answers to locality questions before and after, token by token, the end of an answer included: same "
        "token at the same place, of the longer answer; and all of it. The paper gives no formula, and neither model, "
        "data nor length of its sequences and answers; our sequences are the chains of this run.",
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (41,),
        "AlphaEdit under two weights of its L2 term",
        ("alpha-single-vs-seq-tradeoff",),
        (("", answers_of.by_l2),),
        _ANSWERS,
        cell_by_cell=True,
        needs="it is about AlphaEdit under two weights of L2, which are methods of profile overnight",
    ),
    Part(
        (43,),
        "Edited models with a memory",
        ("comb-scr-beats-combined",),
        (("", answers_of.with_memory),),
        _ANSWERS,
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (42,),
        "SCR beside a method: time and quality",
        ("comb-tradeoff",),
        (("", costs_of.time_and_quality),),
        "Edit and inference time in seconds of our machine, medians; scores over all chains. Seconds of two machines "
        "say nothing beside each other: compare within a side.",
        together=True,
        cell_by_cell=True,
    ),
    Part(
        (44,),
        "SCR: memory in use",
        ("sens-vram-flat",),
        (("", costs_of.memory_in_use),),
        "Largest memory during a query, median: on a CPU the resident size of the process, which is no video memory.",
        cell_by_cell=True,
    ),
    Part(
        (45,),
        "SCR: latency",
        ("sens-latency-moderate",),
        (("", costs_of.latency),),
        "Seconds of our machine per query of exactly 50 new tokens, median. Seconds of two machines say nothing beside "
        "each other: compare within a side.",
        cell_by_cell=True,
    ),
    Part(
        (46,),
        "SCR: scores by size of the memory and number of texts",
        ("sens-performance-robust",),
        (("", costs_of.scores),),
        "The paper lets a language model judge answers. Top-k is the number of texts that are retrieved, of which the "
        "model confirms at most one.",
        cell_by_cell=True,
    ),
)
FIGURES = Part(
    (),
    "Figures 2 and 6: R_k per direction along a chain",
    ("cum-R-increases-with-steps",),
    (("", rows_of.curves_along_chains),),
    "R_k of each identified direction, mean over chains, at the edited and at the last measured layer; Figure 6 at "
    "each T of this run's schedule, Figure 2 at the largest. The paper's figures print no numbers. The placebo is a "
    "chain of random updates of equal norm.",
)
FIGURE_TEXTS = {
    6: "The paper draws R_k against k for its methods, models and numbers of edits and reads off it that R_k is "
    "largest where σ_k is smallest, that many directions exceed 1 after a single edit, and that R_k rises with T.",
    2: "The paper draws R_k against k at layer 30 (of 32) of Llama-3.1-8B-Instruct after 1000 edits by MEMIT, at which "
    "its own Table 37 has that model at zero in every score.",
}
