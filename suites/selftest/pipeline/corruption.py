"""An honest run on the toy, and copies of it in which a stage is corrupted from outside.

Stages are wrapped from outside; the checks themselves are left alone and see nothing but arrays, counts and hashes.
Each corrupted run starts from the store of the honest run, without the artifacts of the corrupted stage, and judges
four edits where the honest run judges twenty-four: a failed check comes before any lack of units.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.capture.passes import full_pass
from editverdict.inference.rows import Row
from editverdict.pipeline import base, changes, covariances, paired
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
PROFILE = """
profiles:
  - id: {name}
    describes: enough units of everything for decisive verdicts on the toy
    models: [rehearsal-llama]
    methods: [ROME]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {{id: completion-4, max_new_tokens: 4}}
    sizes: {{single_edits: {edits}, chains: {chains}, chain_length: {length}, long_chain: {length}, base_texts: {texts},
            base_tokens: {tokens}, norm_tokens: {subset}, angle_tokens: {subset}, text_blocks: 20, random_seeds: 20}}
"""
ENOUGH = {"edits": 24, "chains": 6, "length": 4, "texts": 120, "tokens": 1920, "subset": 480}
PROFILES = {
    "enough": ENOUGH,
    "quick": ENOUGH | {"edits": 4},
    "tiny": ENOUGH | {"edits": 2, "chains": 2, "length": 2},
    "few": ENOUGH | {"edits": 4, "texts": 3, "tokens": 32, "subset": 32},
}
COLLAPSE = (
    "collapse-eff-rank",
    "collapse-sigma-min",
    "collapse-cond",
    "collapse-spectrum-decay",
    "collapse-deeper-layers",
    "collapse-universal",
)
AMPLIFICATION = (
    "amp-low-sigma-larger-R",
    "amp-many-gt1-single-edit",
    "amp-mean-max-extreme",
    "amp-c-comparable",
    "amp-cross-architecture",
)
ANGLES = ("pc-dominant-stable-early", "pc-tail-drifts-faster")
NORMS = ("smallpert-norm", "smallpert-depth-continuity")
CHANGES = (*NORMS, *ANGLES, *AMPLIFICATION)
REAL = "amp-sigma-min-numerically-real"
PAIRED = "smallpert-paired"
IDENTITY = "amp-identity"
TELESCOPING = "cum-telescoping"
ALL = (*COLLAPSE, *CHANGES, REAL, PAIRED, IDENTITY, TELESCOPING)
SPECTRA = ("base-pass", "exact-spectrum", "subset", "permuted-ranks", "planted-minimum", "smallest-direction")
SPECTRA += ("lower-inputs", "change", "no-op-again")
"""Kinds of artifact that hold hidden states of the unedited model, or stand on them."""
EDITED = ("change", "telescoping")
"""Kinds that hold hidden states of edited models."""


@dataclasses.dataclass
class World:
    """Trials of one profile, each on a store of its own; model, corpus and data are loaded once for all of them."""

    honest: Trial
    folder: Path
    number: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def again(self, without: Iterable[str], profile: str = "quick", **changed: Any) -> Trial:
        """A trial on a copy of the honest store that lacks some kinds of artifact."""
        place = self.folder / f"store-{next(self.number)}"
        drop = {".locks", ".tmp", *without}
        if self.honest.store.root.exists():  # else nobody has run the honest one yet, and everything is made here
            shutil.copytree(self.honest.store.root, place, ignore=lambda _folder, names: drop & set(names))
        chosen = self.honest.library.profiles[profile]
        # Hashing a tokenizer takes half a second, and every row names its protocol; nothing else is remembered.
        kept = {key: value for key, value in self.honest._memo.items() if key[0] == "protocol"}
        made = dataclasses.replace(self.honest, store=Store(place), profile=chosen, _memo=kept, **changed)
        made.__dict__["corpus"] = self.honest.corpus
        return made


def judged(own: Trial, *claims: str) -> dict[str, Row]:
    """Rows of claims, judged as the plugin has it."""
    cases = {case.claim.id: case for case in matrix(own.library, own.profile)}
    return {claim: judge_case(own, cases[claim]).row for claim in claims}


def failed_checks(row: Row) -> set[str]:
    """Names of the validity checks that are not ok."""
    return {check.name for check in row.checks if not check.ok}


def verdicts(rows: dict[str, Row]) -> dict[str, tuple[str, str]]:
    """Claim -> verdict and reason, for messages."""
    return {claim: (row.verdict, row.reason) for claim, row in rows.items()}


def all_invalid(rows: dict[str, Row], check: str, honest: dict[str, Row]) -> None:
    """Assert that every row is invalid because of (at least) one check, and was not so without the corruption."""
    assert {row.verdict for row in rows.values()} == {"invalid"}, verdicts(rows)
    blind = {claim: failed_checks(row) for claim, row in rows.items() if check not in failed_checks(row)}
    assert blind == {}, verdicts(rows)
    unnamed = {claim: row.reason for claim, row in rows.items() if not any(n in row.reason for n in failed_checks(row))}
    assert unnamed == {}
    assert not {honest[claim].verdict for claim in rows} & {"invalid", "broken"}, verdicts(honest)


def instead_of_passes(monkeypatch: pytest.MonkeyPatch, other: Callable[..., None]) -> None:
    """Let another function run every pass over the unedited model from which its artifacts are made."""
    for module in (base, covariances, paired):
        assert module.full_pass is full_pass
        monkeypatch.setattr(module, "full_pass", other)


def change_pass(monkeypatch: pytest.MonkeyPatch, corrupt: Callable[[dict[Any, torch.Tensor]], dict[Any, Any]]) -> None:
    """Let something happen to what a pass over the unedited model has recorded, before anybody reads it."""

    def wrapped(loaded: Any, batches: Any, visit: Any, **options: Any) -> None:
        full_pass(loaded, batches, lambda batch, seen: visit(batch, corrupt(dict(seen))), **options)

    instead_of_passes(monkeypatch, wrapped)


def change_states(monkeypatch: pytest.MonkeyPatch, corrupt: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let something happen to all hidden states of the unedited model between the pass and whoever reads it."""
    change_pass(monkeypatch, lambda seen: {place: corrupt(x) if place[0] == "h" else x for place, x in seen.items()})


# --------------------------------------------------------------------------- re-ordered samples
def all_over(m: int) -> torch.Tensor:
    return torch.randperm(m, generator=torch.Generator().manual_seed(3))


def by_one(m: int) -> torch.Tensor:
    return torch.arange(m).roll(1)


def a_tenth(m: int) -> torch.Tensor:
    order = torch.arange(m)
    chosen = all_over(m)[: m // 10]
    order[chosen] = chosen.roll(1)
    return order


def reorder(
    monkeypatch: pytest.MonkeyPatch, order: Callable[[int], torch.Tensor], *, unedited: torch.Tensor | None = None
) -> None:
    """Re-order the rows of passes from the edited layer up; of edited ones only where the unedited weight is given."""
    honest_pass = changes.tail_pass

    def wrapped(loaded: Any, batches: Any, lower: Any, start: int, layers: Any, **options: Any) -> Any:
        found = honest_pass(loaded, batches, lower, start, layers, **options)
        if unedited is not None and torch.equal(loaded.sites.down_proj(start).weight, unedited):
            return found
        return {layer: states[order(len(states))] for layer, states in found.items()}

    monkeypatch.setattr(changes, "tail_pass", wrapped)


# --------------------------------------------------------------------------- fixtures
@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Iterator[World]:
    """The toy with a store that all workers have in common."""
    folder = tmp_path_factory.mktemp("corrupted")
    profiles = folder / "specs" / "profiles"
    profiles.mkdir(parents=True)
    for name, sizes in PROFILES.items():
        (profiles / f"{name}.yaml").write_text(PROFILE.format(name=name, **sizes))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    options = Options(profile="enough", specs=(folder / "specs",), store=common / "honest-store")
    yield World(make_trial(options, ROOT / "specs"), folder)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def honest(world: World) -> dict[str, Row]:
    """Rows of the honest run; what the corrupted ones edit with is in its store, too."""
    quick = world.honest.library.profiles["quick"]
    judged(dataclasses.replace(world.honest, profile=quick, _memo={}), *ALL)
    return judged(world.honest, *ALL)
