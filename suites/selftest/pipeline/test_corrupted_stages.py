"""Corrupting the pipeline from outside makes the affected cases invalid.

Stages are wrapped from outside; the checks themselves are left alone and see nothing but arrays, counts and hashes.
Each corrupted run starts from the store of an honest run, without the artifacts of the corrupted stage. Each case that
must become invalid is shown not to be so in the honest run.
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

from editverdict.inference.rows import Row
from editverdict.pipeline import base, changes, trial
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

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
    sizes: {{single_edits: 20, chains: 5, chain_length: 4, long_chain: 4, base_texts: {texts}, base_tokens: {tokens},
            norm_tokens: {subset}, angle_tokens: {subset}, text_blocks: 20, random_seeds: 20}}
"""
COLLAPSE = (
    "collapse-eff-rank",
    "collapse-sigma-min",
    "collapse-cond",
    "collapse-spectrum-decay",
    "collapse-deeper-layers",
    "collapse-universal",
)
AMPLIFICATION = ("amp-low-sigma-larger-R", "amp-many-gt1-single-edit", "amp-mean-max-extreme", "amp-c-comparable")
CHANGES = ("smallpert-norm", "smallpert-depth-continuity", "pc-tail-drifts-faster", *AMPLIFICATION)
REAL = "amp-sigma-min-numerically-real"
PAIRED = "smallpert-paired"
SPECTRA = ("base-pass", "exact-spectrum", "subset", "permuted-ranks", "planted-minimum", "smallest-direction", "change")
"""Kinds of artifact that hold hidden states of the unedited model, or stand on them."""


@dataclasses.dataclass
class World:
    """Trials of one profile, each on a store of its own; model, corpus and data are loaded once for all of them."""

    honest: Trial
    folder: Path
    number: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def again(self, without: Iterable[str], **changed: Any) -> Trial:
        """A trial on a copy of the honest store that lacks some kinds of artifact."""
        place = self.folder / f"store-{next(self.number)}"
        drop = {".locks", ".tmp", *without}
        shutil.copytree(self.honest.store.root, place, ignore=lambda _folder, names: drop & set(names))
        made = dataclasses.replace(self.honest, store=Store(place), _memo={}, **changed)
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("corrupted")
    profiles = folder / "specs" / "profiles"
    profiles.mkdir(parents=True)
    enough = {"name": "enough", "texts": 120, "tokens": 1920, "subset": 480}
    few = {"name": "few", "texts": 3, "tokens": 32, "subset": 32}
    for sizes in (enough, few):
        (profiles / f"{sizes['name']}.yaml").write_text(PROFILE.format(**sizes))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    options = Options(profile="enough", specs=(folder / "specs",), store=common / "honest-store")
    yield World(make_trial(options, ROOT / "specs"), folder)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def honest(world: World) -> dict[str, Row]:
    return judged(world.honest, *COLLAPSE, *CHANGES, REAL, PAIRED)


# --------------------------------------------------------------------------- without corruption
def test_without_corruption_every_check_holds(honest: dict[str, Row]) -> None:
    assert {claim: failed_checks(row) for claim, row in honest.items() if failed_checks(row)} == {}
    assert honest[REAL].verdict == honest[PAIRED].verdict == "supported"


def test_without_corruption_the_cases_are_decided(honest: dict[str, Row]) -> None:
    decided = {claim for claim, row in honest.items() if row.verdict in ("supported", "refuted")}
    assert decided >= {*COLLAPSE, *AMPLIFICATION, "smallpert-norm"}, verdicts(honest)


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


@pytest.mark.parametrize(
    ("order", "claims"), [(all_over, CHANGES), (by_one, ("smallpert-norm",)), (a_tenth, ("smallpert-norm",))]
)
def test_samples_reordered_between_base_and_edited_pass(
    world: World,
    honest: dict[str, Row],
    monkeypatch: pytest.MonkeyPatch,
    order: Callable[[int], torch.Tensor],
    claims: tuple[str, ...],
) -> None:
    own = world.again(["change"])
    loaded = own.model("rehearsal-llama")
    weight = loaded.sites.down_proj(loaded.spec.layers.edit).weight.clone()
    reorder(monkeypatch, order, unedited=weight)
    rows = judged(own, *claims)
    assert {row.verdict for row in rows.values()} == {"invalid"}, verdicts(rows)
    assert all(failed_checks(row) == {"samples-paired"} for row in rows.values()), verdicts(rows)
    assert not {honest[claim].verdict for claim in claims} & {"invalid", "broken"}


def test_samples_reordered_in_every_later_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    own = world.again(["change"])
    reorder(monkeypatch, all_over)
    rows = judged(own, *CHANGES, PAIRED, REAL)
    assert {rows[claim].verdict for claim in CHANGES} == {"invalid"}, verdicts(rows)
    for claim in CHANGES:
        assert failed_checks(rows[claim]) >= {"samples-paired", "no-op-zero", f"requires:{PAIRED}"}
    assert rows[PAIRED].verdict == "invalid"
    assert rows[REAL].verdict == "supported"  # spectra know nothing of pairs


# --------------------------------------------------------------------------- too few samples
def test_fewer_samples_than_dimensions(world: World, honest: dict[str, Row]) -> None:
    library = world.honest.library
    own = world.again(SPECTRA, profile=library.profiles["few"], _samples={})
    rows = judged(own, *COLLAPSE, REAL, PAIRED, *CHANGES)
    n, width = own.sample("rehearsal-llama").n_tokens, own.model("rehearsal-llama").sites.down_proj(0).out_features
    assert n < width, "the profile must be what the test says"
    assert {row.verdict for row in rows.values()} == {"invalid"}, verdicts(rows)
    assert all("enough-samples" in failed_checks(rows[claim]) for claim in (*COLLAPSE, REAL)), verdicts(rows)
    assert all("enough-tokens" in failed_checks(rows[claim]) for claim in (*CHANGES, PAIRED)), verdicts(rows)
    # Too few units as well, which alone would be inconclusive: invalid comes first.
    assert 0 < rows[PAIRED].n_units < rows[PAIRED].min_units
    assert "invalid" not in {row.verdict for row in honest.values()}


def test_texts_that_get_lost_on_the_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trial.tokenize_sample

    def some(*args: Any, **options: Any) -> Any:
        sample = whole(*args, **options)
        return dataclasses.replace(sample, ids=sample.ids[: len(sample.ids) // 2])

    monkeypatch.setattr(trial, "tokenize_sample", some)
    rows = judged(world.again(SPECTRA, _samples={}), "collapse-eff-rank", "collapse-sigma-min")
    assert {row.verdict for row in rows.values()} == {"invalid"}, verdicts(rows)
    assert all(failed_checks(row) == {"enough-samples"} for row in rows.values()), verdicts(rows)


# --------------------------------------------------------------------------- centring, noise floor
def change_states(monkeypatch: pytest.MonkeyPatch, corrupt: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let something happen to all hidden states of the unedited model between the pass and whoever reads it."""
    honest_pass = base.full_pass

    def wrapped(loaded: Any, batches: Any, visit: Any, **options: Any) -> None:
        def visit_changed(batch: Any, seen: dict[Any, torch.Tensor]) -> None:
            visit(batch, {place: corrupt(x) if place[0] == "h" else x for place, x in seen.items()})

        honest_pass(loaded, batches, visit_changed, **options)

    monkeypatch.setattr(base, "full_pass", wrapped)


def test_centring_over_features(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    change_states(monkeypatch, lambda x: x - x.mean(-1, keepdim=True))
    rows = judged(world.again(SPECTRA), *COLLAPSE, REAL, *AMPLIFICATION)
    assert {row.verdict for row in rows.values()} == {"invalid"}, verdicts(rows)
    assert all("centred-over-samples" in failed_checks(rows[claim]) for claim in (*COLLAPSE, REAL)), verdicts(rows)
    assert all(f"requires:{REAL}" in failed_checks(rows[claim]) for claim in AMPLIFICATION), verdicts(rows)
    assert not {honest[claim].verdict for claim in rows} & {"invalid", "broken"}


def shrink(along: torch.Tensor, factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Scale the component along a unit vector, in the precision of the states."""

    def corrupt(x: torch.Tensor) -> torch.Tensor:
        axis = along.to(x.dtype)
        return x - (1.0 - factor) * (x @ axis)[..., None] * axis

    return corrupt


@pytest.fixture
def direction() -> torch.Tensor:
    """A unit vector [48], nowhere near (1, ..., 1)."""
    vector = torch.randn(48, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return torch.nn.functional.normalize(vector - vector.mean(), dim=0)


def test_noise_floor_of_float32_reached(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, direction: torch.Tensor
) -> None:
    # A direction at 1e-8 of its size is rounding in float32, but real in float64: exact mode sees it.
    change_states(monkeypatch, shrink(direction, 1e-8))
    rows = judged(world.again(SPECTRA), REAL, *AMPLIFICATION, *COLLAPSE)
    assert rows[REAL].verdict == "refuted", verdicts(rows)
    assert {rows[claim].verdict for claim in AMPLIFICATION} == {"invalid"}, verdicts(rows)
    assert all(f"requires:{REAL}" in failed_checks(rows[claim]) for claim in AMPLIFICATION), verdicts(rows)
    assert rows["collapse-sigma-min"].verdict == rows["collapse-cond"].verdict == "supported", verdicts(rows)
    assert rows["collapse-sigma-min"].descriptive["layers_in_exact_mode"] == [0, 1, 2, 3]
    assert honest["collapse-sigma-min"].verdict == honest["collapse-cond"].verdict == "refuted"
    assert honest[REAL].verdict == "supported"


def test_a_direction_that_is_not_there_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch, direction: torch.Tensor
) -> None:
    # Not even float64 tells what its size is: whatever is measured there is rounding, so there is nothing to judge.
    change_states(monkeypatch, shrink(direction, 0.0))
    rows = judged(world.again(SPECTRA), *COLLAPSE, *AMPLIFICATION)
    assert {row.verdict for row in rows.values()} == {"invalid"}, verdicts(rows)
    assert all("above-resolution" in failed_checks(rows[claim]) for claim in COLLAPSE), verdicts(rows)
