"""A run folder: rows, evidence, progress, manifest, claim verdicts. One writer's side; reporting reads it."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from editverdict import __version__
from editverdict.data.errors import DataError
from editverdict.data.triples import RULE
from editverdict.inference.claims import claim_verdict, generality_of
from editverdict.inference.results import append_row, merge_rows
from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.pipeline.cases import Judged
from editverdict.pipeline.contests import refresh_contests, write_facts
from editverdict.pipeline.matrix import cases_of, planned_claims
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.surveys import surveys
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.pipeline.unplanned import unplanned, why_no_case
from editverdict.schema.library import SpecLibrary
from editverdict.schema.profiles import ProfileSpec
from editverdict.store import Ledger
from editverdict.store.packaged import PackageFetchError

PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "faiss-cpu",
    "numpy",
    "scipy",
    "pytest",
    "pytest-xdist",
    "allure-pytest",
)
PAPER_MODELS = (
    "Llama-3.1-8B-Instruct",
    "DeepSeek-R1-Distill-Llama-8B",
    "Llama-2-13B",
    "Llama-2-7B-Chat",
    "Mistral-7B-Instruct",
    "Qwen3-14B",
    "T5-3B",
)
"""Models of the paper; a claim's population names some of them."""
HASHES = ("model", "tokenizer", "architecture", "corpus", "data", "judge", "encoder", "method", "profile")
"""Hashes of the rows that the manifest gathers."""
STAGES = {
    "base-pass": "hidden states and spectra of the unedited model",
    "exact-spectrum": "exact mode (float64)",
    "gaussian-null": "Gaussian controls",
    "random-twin": "randomly initialised models",
    "permuted-ranks": "coordinate-permuted comparator",
    "permuted-blocks": "the same without blocks of texts",
    "planted-minimum": "planted directions",
    "smallest-direction": "what the smallest direction depends on",
    "subset": "paired subset",
    "lower-inputs": "inputs of the edited layers",
    "covariance": "covariances",
    "prefixes": "context prefixes",
    "value": "optimised values",
    "event-triples": "facts of events",
    "step": "edits",
    "change": "hidden states after edits",
    "wide-base": "the unedited model on the larger sample for angles",
    "wide-angles": "angles on the larger sample",
    "drifting-basis": "drifting bases",
    "drifting-basis-again": "drifting bases, one chain again",
    "linearity": "first-order remainders",
    "linearity-again": "first-order remainders, one edit again",
    "no-op-again": "hidden states extracted again",
    "telescoping": "hidden states along a chain",
    "answers": "answers",
    "forced-targets": "forced targets",
    "judgement": "judgements by a model",
    "latency": "latency",
    "edit-time": "edit times",
    "scr-edit-time": "edit times of SCR",
    "scr-selection": "confirmation of invented facts by SCR",
    "memory": "memories of SCR",
    "scr-grid": "answers of SCR by memory and top-k",
    "scr-latency": "latency of SCR by memory and top-k",
    "capability": "capability",
    "artefacts": "null models of change rates",
    "artefacts-made-up": "null models on made-up states",
    "artefacts-resampled": "angles between made-up samples",
}
"""Kind of artifact -> stage as a reader would call it."""


def record(run_dir: Path, case: Case, judged: Judged) -> Row:
    """Write a case's evidence and facts, then its row, synced to disk; the row names the evidence file."""
    row = judged.row
    if judged.pictures:
        file = run_dir / "evidence" / f"{case.slug}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (
            json.dumps({"pictures": judged.pictures}, allow_nan=True).replace("NaN", "null").replace("Infinity", "null")
        )
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(text)
        draft.replace(file)
        row = row.model_copy(update={"evidence": f"evidence/{case.slug}.json"})
    write_facts(run_dir, case.slug, row, judged.facts)
    append_row(run_dir / "results.jsonl", row)
    return row


class ProgressFile:
    """The latest progress line of a worker, in a small file that whoever watches the run reads."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self._path = run_dir / "progress" / f"{name}.json"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._last = 0.0

    def __call__(self, message: str) -> None:
        """Note what is going on, at most five times a second."""
        now = time.monotonic()
        if now - self._last < 0.2:
            return
        self._last = now
        draft = self._path.with_suffix(".tmp")
        draft.write_text(json.dumps({"at": time.time(), "message": message}))
        draft.replace(self._path)


def git_state(folder: Path) -> dict[str, Any]:
    """Commit and dirty flag of the checkout that ``folder`` is in; None where it is not one."""

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(ask("status", "--porcelain")) if commit else None}


def _peak_memory(rows: Sequence[Row]) -> float:
    """Largest resident size of each worker, added up over workers."""
    peaks: dict[str, float] = {}
    for row in rows:
        peaks[row.worker] = max(peaks.get(row.worker, 0.0), row.peak_memory_mib)
    return round(sum(peaks.values()), 1)


def manifest(trial: Trial, folder: Path, seconds: float | None, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that a reader needs to know about how a run was made."""
    ledger = (
        Ledger.read(events)
        if trial.run_dir and (events := trial.run_dir / "store-events.jsonl").exists()
        else trial.store.ledger
    )
    sizes = trial.profile.sizes.model_dump()
    return {
        "editverdict": __version__,
        **git_state(folder),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "profile": trial.profile.id,
        "models": list(trial.profile.models),
        "methods": list(trial.profile.all_methods),
        "methods_for": {name: list(claims) for name, claims in trial.profile.methods_for.items()},
        "methods_elsewhere": methods_elsewhere(trial.library, trial.profile),
        "claims_left_out": list(trial.profile.claims_elsewhere),
        "claims_in_part": {name: list(methods) for name, methods in trial.profile.claims_in_part.items()},
        "surveys": surveys(trial.library, trial.paper),
        "datasets": list(trial.profile.datasets),
        "data": {name: _data_read(trial, name) for name in trial.profile.datasets},
        "chains_from": trial.profile.chains_from,
        "edit_form": trial.profile.edit_form,
        "facts_of_events": trial.profile.triples or RULE,
        "corpus": trial.profile.corpus,
        "judge": trial.profile.judge,
        "protocol": trial.profile.protocol.model_dump(mode="json"),
        "protocols": {name: one.model_dump(mode="json") for name, one in trial.profile.protocols.items()},
        "protocol_ids": sorted({row.hashes["protocol"] for row in rows if "protocol" in row.hashes}),
        "hashes": {name: sorted({row.hashes[name] for row in rows if name in row.hashes}) for name in HASHES},
        "specs": {row.claim: row.hashes["spec"] for row in rows if "spec" in row.hashes},
        "seed": trial.profile.seed,
        "sizes": sizes,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "device": trial.device.type,
            "threads_per_process": trial.profile.threads,
        },
        "peak_memory_mib": _peak_memory(rows),
        "system": f"{platform.system()} {platform.release()}",
        "seconds": seconds,
        "stages": _stages(ledger),
    }


def _data_read(trial: Trial, dataset_id: str) -> dict[str, Any]:
    """What was read of a dataset and what was left out; why not, where it could not be had."""
    if trial.library.datasets[dataset_id].format == "worldfacts":  # sound by construction, and seconds to build
        return {"built_by_code": True}
    try:
        return trial.loaded(dataset_id).summary()
    except (NotHere, DataError, PackageFetchError) as error:
        return {"error": str(error)}


def methods_elsewhere(library: SpecLibrary, profile: ProfileSpec) -> dict[str, list[str]]:
    """Other profile -> methods that it has on the same models and data, and this one, as its spec is, has not."""
    own = library.profiles[profile.id]
    left_out = {
        other.id: [method for method in other.all_methods if method not in own.all_methods]
        for other in library.profiles.values()
        if other.id != own.id
        and other.claims
        and set(own.models) <= set(other.models)
        and set(own.datasets) <= set(other.datasets)
    }
    return {name: methods for name, methods in left_out.items() if methods}


def _stages(ledger: Ledger) -> list[dict[str, Any]]:
    counts = ledger.snapshot()
    order = [*STAGES, *sorted(set(counts) - set(STAGES))]
    return [
        {
            "name": STAGES.get(kind, kind),
            "seconds": round(counts[kind].seconds, 1),
            "built": counts[kind].built,
            "reused": counts[kind].reused,
        }
        for kind in order
        if kind in counts
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def judge_claims(trial: Trial, rows: Sequence[Row], suites: Sequence[str]) -> list[ClaimVerdict]:
    """Claim verdicts over the cases that the profile plans in the suites that were run."""
    found = []
    for claim in planned_claims(trial.library, trial.profile):
        if claim.suite not in suites:
            continue
        planned = [case.id for case in cases_of(trial.library, trial.profile, claim)]
        own = [row for row in rows if row.claim == claim.id]
        found.append(
            claim_verdict(
                claim.id,
                own,
                planned,
                quantifier=claim.quantifier,
                about=claim.about,
                statement=claim.statement,
                hypothesis=claim.source.hypothesis,
                kind=claim.kind,
                generality=_generality(own, claim.population),
                ranges_over=claim.ranges_over,
                unplanned="" if planned else why_no_case(trial.library, trial.profile, claim),
            )
        )
    return found


def _generality(rows: Sequence[Row], population: str) -> str:
    named = [name for name in PAPER_MODELS if name.lower() in population.lower()]
    return generality_of(rows, named) if named else ""


def finish(
    trial: Trial, folder: Path, suites: Sequence[str], seconds: float | None
) -> tuple[list[Row], list[ClaimVerdict]]:
    """Judge the claims and write claims.json, manifest.json and comparisons.json of a run folder."""
    if trial.run_dir is None:
        raise ValueError("a trial without a run folder has nothing to finish")
    results = trial.run_dir / "results.jsonl"
    rows = merge_rows([results], on_conflict="last") if results.exists() else []
    claims = judge_claims(trial, rows, suites)
    (trial.run_dir / "claims.json").write_text(json.dumps([c.model_dump(mode="json") for c in claims], indent=1))
    made = manifest(trial, folder, seconds, rows)
    made["unplanned"] = unplanned(trial.library, trial.profile, suites)
    (trial.run_dir / "manifest.json").write_text(json.dumps(made, indent=1))
    refresh_contests(trial.run_dir, rows, trial.profile.all_methods)
    return rows, claims
