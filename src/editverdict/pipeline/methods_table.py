"""The table of methods: what each editing method does on one model, one edit at a time and over chains.

No claim is judged here. The table says how well a method works by its own standard (teacher-forced success), by free
answers in four dimensions, by probabilities, and what it costs, so that a reader can tell a claim that fails from a
method that was never working.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from editverdict.editors.base import EditError, State, Trains
from editverdict.evaluation.dimensions import scores_of
from editverdict.evaluation.probability import probability_scores
from editverdict.models.sites import SiteError
from editverdict.pipeline.answers import Answered, answers_before, ask, in_state
from editverdict.pipeline.edits import editor_of, singles, steps
from editverdict.pipeline.trial import NotHere, Trial

SINGLE = "single"
UNEDITED = "unedited"
TEN = 10
LINE_EVERY = 30.0
"""Seconds between two lines of progress of a worker."""


@dataclass(frozen=True)
class Part:
    """One line of the table: a method, and how it edits."""

    method: str
    schedule: str
    """``single`` or the length of the chain."""

    @property
    def name(self) -> str:
        """For progress lines and failures."""
        return f"{self.method}, {self.schedule}"


def parts_of(trial: Trial) -> list[Part]:
    """All lines of the table in its order: per method single edits, then chains of one, of ten and of full length."""
    found = []
    for method in trial.profile.methods:
        longest = trial.profile.chain_limits.get(method, trial.profile.sizes.long_chain)
        lengths = sorted({1, min(TEN, longest), longest})
        found += [Part(method, SINGLE), *(Part(method, str(length)) for length in lengths)]
    return found


def _order(trial: Trial, model_id: str, part: Part) -> tuple[bool, int]:
    """Order of work: what is trained first, then long chains, so that no worker is left with one at the end."""
    length = TEN + 1 if part.schedule == SINGLE else int(part.schedule)
    return not isinstance(editor_of(trial, part.method, model_id), Trains), -length


def measure(trial: Trial, model_id: str, dataset_id: str, part: Part) -> dict[str, Any]:
    """One line: scores, own success, cost."""
    if part.schedule == SINGLE:
        records = trial.singles(dataset_id)
        states = singles(trial, model_id, part.method, records)
        many = [([record], state) for record, state in zip(records, states, strict=True)]
    else:
        chain = trial.chains(dataset_id)[0][: int(part.schedule)]
        records = list(chain)
        many = [(records, steps(trial, model_id, part.method, chain))]
    before = answers_before(trial, model_id, records)
    asked = [
        in_state(trial, model_id, part.method, part.name, own, state, probabilities=True, success=True)
        for own, state in many
    ]
    answered = ask(trial, model_id, asked, before=before)
    line = {"method": part.method, "schedule": part.schedule, "edits": len(records)}
    return line | _scores(answered) | _costs(trial, model_id, part.method, [state for _, state in many])


def unedited_line(trial: Trial, model_id: str, dataset_id: str) -> dict[str, Any]:
    """The same scores of the model before any edit."""
    records = trial.singles(dataset_id)
    before = answers_before(trial, model_id, records)
    asked = in_state(trial, model_id, "no-op", UNEDITED, records, (), probabilities=True, success=True)
    return {"method": UNEDITED, "schedule": "", "edits": 0} | _scores(ask(trial, model_id, [asked], before=before))


def _scores(answered: Sequence[Answered]) -> dict[str, Any]:
    success = [one for a in answered for one in a.success]
    rows = [row for a in answered for row in a.rows]
    probability = [row for a in answered for row in a.probability]
    return {
        "success": sum(success),
        "asked": len(success),
        **vars(scores_of(rows)),
        **{k: v for k, v in vars(probability_scores(probability)).items() if not k.endswith("magnitude")},
    }


def _costs(trial: Trial, model_id: str, method: str, states: Sequence[State]) -> dict[str, Any]:
    made = [step for state in states for step in state]
    costs = [step.info["cost"] for step in made]
    size = sum(t.numel() * t.element_size() for step in made for t in step.tensors.values())
    edits = sum(step.edits for step in made)
    return {
        "cpu_seconds": sum(cost["cpu_seconds"] for cost in costs) / edits,
        "preparation_seconds": sum(cost["preparation_seconds"] for cost in costs),
        "peak_mib": max(cost["peak_mib"] for cost in costs),
        "kib_per_edit": size / edits / 1024,
        "version": editor_of(trial, method, model_id).version,
        "held_out": next((step.info["held_out"] for step in made if "held_out" in step.info), None),
    }


@lru_cache(maxsize=1)
def _trial_of_worker(make: Callable[[], Trial]) -> Trial:
    torch.set_num_threads(1)
    return make()


def worker_trial(make: Callable[[], Trial], name: str) -> Trial:
    """The trial of this worker process, made once; its progress goes to standard error under ``name``."""
    trial = _trial_of_worker(make)
    trial.report = _Lines(name)
    return trial


def known_failures(work: Callable[[], object]) -> str | None:
    """Do a part of a table; why it could not be done, or None. One method's bug must not cost the other lines."""
    try:
        work()
    except (EditError, SiteError, NotHere) as error:
        return str(error)
    except Exception as error:
        return f"broken: {type(error).__name__}: {error}"
    return None


def _work(make: Callable[[], Trial], model_id: str, dataset_id: str, part: Part) -> tuple[Part, str | None]:
    """Make what a line stands on; the line itself is read from the store afterwards."""
    trial = worker_trial(make, part.name)
    return part, known_failures(lambda: measure(trial, model_id, dataset_id, part))


class _Lines:
    """Progress of a worker on standard error, a line now and then."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, time.monotonic()

    def __call__(self, message: str) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            sys.stderr.write(f"  {self._name}: {message}\n")
            sys.stderr.flush()


def table(
    trial: Trial, make: Callable[[], Trial], workers: int, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All lines, and what went wrong with those that are missing; stored parts are not measured again.

    Parameters
    ----------
    trial
        For reading; its profile names model, data, methods and sizes.
    make
        How a worker process makes the same trial (it must be picklable).
    workers
        Processes.
    say
        Where progress goes.
    """
    (model_id,), (dataset_id,) = trial.profile.models[:1], trial.profile.datasets[:1]
    parts = parts_of(trial)
    failed: dict[str, str] = {}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        ordered = sorted(parts, key=lambda part: _order(trial, model_id, part))
        jobs = [pool.submit(_work, make, model_id, dataset_id, part) for part in ordered]
        for done, job in enumerate(concurrent.futures.as_completed(jobs), start=1):
            part, error = job.result()
            say(f"{done} of {len(parts)}: {part.name}" + (f" failed: {error}" if error else ""))
            if error:
                failed[part.name] = error
    lines = [unedited_line(trial, model_id, dataset_id)]
    lines += [measure(trial, model_id, dataset_id, part) for part in parts if part.name not in failed]
    return lines, failed
