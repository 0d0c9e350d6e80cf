"""Validity of what was measured: hidden states, spectra, changes and angles found again in another way.

The model is run once more on a few texts, one text at a time and read by hooks of its own, so that this way shares
neither batching, padding, stored inputs nor the recording of the passes that it checks. Everything else is compared
with arrays that the stages left behind. The checks themselves are pure functions (``geometry/recomputed.py``); here
they are given their arrays and their findings are gathered under the names that claims list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from editverdict.capture.passes import full_pass, row_texts
from editverdict.capture.texts import Positions, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry import amplification, recomputed
from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.sketch import Sketch
from editverdict.inference.rows import CheckResult
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import EXACT_RESOLUTION, MOMENTS_RESOLUTION, Spectrum
from editverdict.pipeline import base, paired
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.witness import WitnessRecord, chosen_texts, text_hashes

TEXTS_PER_STATE = 2
"""Texts run again in every edited state; each costs one pass over some fifteen tokens."""
NAMES = (
    "states-reproduced",
    "texts-distinct",
    "spectrum-recomputed",
    "above-resolution",
    "change-recomputed",
    "components-recomputed",
    "angles-recomputed",
)
"""What :func:`results` reports; of the unedited model's spectra alone the first four are known."""


class Finding(NamedTuple):
    """What a check found, and where."""

    where: str
    outcome: CheckOutcome


def results(findings: Iterable[Finding]) -> dict[str, CheckResult]:
    """One result per check: it holds where it holds everywhere."""
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.outcome.name, []).append(finding)
    made = {}
    for name, found in by_name.items():
        bad = [f"{where}: {outcome.detail}" for where, outcome in found if not outcome.ok]
        some = f"{found[0].where}: {found[0].outcome.detail}"
        more = f"; {len(found)} places looked at" if len(found) > 1 else ""
        made[name] = CheckResult(name=name, ok=not bad, detail="; ".join(bad[:3]) or some + more)
    return made


def joined(checks: Mapping[str, CheckResult], further: Iterable[Finding]) -> dict[str, CheckResult]:
    """Check results with further findings: a check holds where it holds in both."""
    made = dict(checks)
    for name, result in results(further).items():
        known = made.get(name)
        if known is not None:
            bad = [one.detail for one in (known, result) if not one.ok]
            text = "; ".join(bad or [known.detail, result.detail])
            result = CheckResult(name=name, ok=not bad, detail=text)
        made[name] = result
    return made


# --------------------------------------------------------------------------- the model once more
def alone(ids: Sequence[int], device: torch.device) -> TokenBatch:
    """One text as a batch, every token but its first a sample."""
    row = torch.tensor([list(ids)], device=device)
    keep = torch.ones_like(row, dtype=torch.bool)
    keep[:, 0] = False
    return TokenBatch(row, torch.ones_like(row), keep, torch.zeros(1, dtype=torch.long))


def samples_of(states: Tensor, positions: Positions) -> Tensor:
    """Samples of one text's states [t, d], by the same choice of tokens in words of its own."""
    if positions == "last_token":
        return states[-1:]
    return states[1:].double().mean(0, keepdim=True).to(states.dtype) if positions == "mean_token" else states[1:]


def states_again(
    loaded: LoadedModel, texts: Sequence[Sequence[int]], layers: Sequence[int], positions: Positions = "all_tokens"
) -> dict[int, Tensor]:
    """Hidden states of some texts, one at a time: layer -> [m, d], the samples of each text, text by text.

    The modules are found by the architecture's own paths and read by hooks of this function; the pass only drives them.
    """
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}

    def reader(layer: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Tensor) -> None:
            rows[layer].append(samples_of(output.detach()[0], positions).cpu())

        return hook

    handles = [
        loaded.model.get_submodule(loaded.sites.spec.down_proj.format(layer)).register_forward_hook(reader(layer))
        for layer in layers
    ]
    try:
        full_pass(
            loaded, [alone(ids, loaded.device) for ids in texts], lambda _batch, _seen: None, outputs=list(layers)
        )
    finally:
        for handle in handles:
            handle.remove()
    return {layer: torch.cat(parts) for layer, parts in rows.items()}


def tokens_of(batches: Sequence[TokenBatch], text: int) -> list[int]:
    """Token ids of a text; ValueError if it is in none of the batches."""
    for batch in batches:
        for row in (batch.text == text).nonzero().flatten().tolist():
            return [int(token) for token in batch.ids[row][batch.mask[row].bool()]]
    raise ValueError(f"text {text} is in none of {len(batches)} batches")


def rows_of(owner: Tensor, texts: Sequence[int]) -> Tensor:
    """Rows of some texts, text by text; ``owner`` [m] is the text of each row."""
    return torch.cat([(owner == text).nonzero().flatten() for text in texts])


def weights_again(trial: Trial, model_id: str) -> CheckOutcome:
    """states-reproduced: the weights in memory are those that the recipes name."""
    memo = ("weights-again", model_id)
    if memo not in trial._memo:
        loaded = trial.model(model_id)
        trial._memo[memo] = hash_weights(loaded.model)
    found, wanted = str(trial._memo[memo]), trial.model(model_id).identity.weights
    detail = f"weights in memory have hash {found[:12]}, the recipes name {wanted[:12]}"
    return CheckOutcome("states-reproduced", found == wanted, detail)


# --------------------------------------------------------------------------- the unedited model
def testimony(trial: Trial, model_id: str) -> WitnessRecord:
    """The witness of the base pass, kept in memory."""
    memo = ("testimony", model_id)
    if memo not in trial._memo:
        trial._memo[memo] = WitnessRecord.read(base.base_pass(trial, model_id).tensors("witness"))
    found: WitnessRecord = trial._memo[memo]
    return found


def _base_again(trial: Trial, model_id: str) -> tuple[list[int], dict[int, Tensor]]:
    """Texts of the base sample that its witness should hold, and the model's states of them."""
    memo = ("base-again", model_id)
    if memo not in trial._memo:
        loaded, sample = trial.model(model_id), trial.sample(model_id)
        texts = chosen_texts(sample.n_texts)
        states = states_again(
            loaded, [sample.ids[text] for text in texts], loaded.spec.layers.measured, sample.positions
        )
        trial._memo[memo] = (texts, states)
    found: tuple[list[int], dict[int, Tensor]] = trial._memo[memo]
    return found


def limits(trial: Trial, model_id: str, layer: int, spectrum: Spectrum, *, float64: bool = False) -> Tensor:
    """Half of the resolution limit along each direction of a layer, from the witness's sums: [d]."""
    states, sums = _base_again(trial, model_id)[1][layer], testimony(trial, model_id).sums[layer]
    dtype = torch.float64 if float64 else effective_dtype(states)
    arithmetic = EXACT_RESOLUTION * spectrum.d**0.5 if float64 else MOMENTS_RESOLUTION
    return recomputed.least_resolved(spectrum, sums.mean_square, dtype, arithmetic)


def of_base(trial: Trial, model_id: str) -> list[Finding]:
    """States and spectra of the base pass."""
    memo = ("base-findings", model_id)
    if memo in trial._memo:
        kept: list[Finding] = trial._memo[memo]
        return kept
    told, (texts, again) = testimony(trial, model_id), _base_again(trial, model_id)
    rows = rows_of(told.text, texts)
    stored = {layer: states[rows] for layer, states in told.states.items()}
    found = [
        Finding("base sample", recomputed.check_reproduced(stored, again)),
        Finding(model_id, weights_again(trial, model_id)),
        Finding("base sample", recomputed.check_distinct(told.texts, told.samples)),
    ]
    for layer, own in base.spectra(trial, model_id).items():
        limit = limits(trial, model_id, layer, own.spectrum)
        found.append(Finding(f"layer {layer}", recomputed.check_spectrum(own.spectrum, told.sums[layer], limit)))
    trial._memo[memo] = found
    return found


def of_spectra(trial: Trial, model_id: str, used: Mapping[int, Spectrum], exact: Sequence[int] = ()) -> list[Finding]:
    """Spectra as the collapse claims use them: every direction of every layer.

    Layers in ``exact`` are of float64 activations, so that they are held against the sums with a wider allowance and
    against the limit of float64.
    """
    found = of_base(trial, model_id)
    for layer, spectrum in used.items():
        again = layer in exact
        limit = limits(trial, model_id, layer, spectrum, float64=again)
        every = torch.ones(spectrum.d, dtype=torch.bool)
        found = [*found, Finding(f"layer {layer}", recomputed.check_used(spectrum, every, limit))]
        if again:
            outcome = recomputed.check_spectrum(
                spectrum, testimony(trial, model_id).sums[layer], limit, tolerance=recomputed.EXACT_TOLERANCE
            )
            found.append(Finding(f"layer {layer}, exact mode", outcome))
    return found


# --------------------------------------------------------------------------- the paired subset
def of_subset(trial: Trial, model_id: str, sub: paired.Subset) -> list[Finding]:
    """Base states of the subset and their bases."""
    memo = ("subset-findings", model_id, sub.key)
    if memo in trial._memo:
        kept: list[Finding] = trial._memo[memo]
        return kept
    again = Again(trial.model(model_id), sub.batches, sorted(sub.states))
    found = [
        Finding("subset", recomputed.check_reproduced(again.stored(sub.states), again.states)),
        Finding(model_id, weights_again(trial, model_id)),
        Finding("subset", recomputed.check_distinct(*text_hashes(sub.batches))),
    ]
    for layer, spectrum in sub.bases.items():
        sums = Sketch.of(sub.states[layer])
        found.append(Finding(f"subset, layer {layer}", recomputed.check_spectrum(spectrum, sums)))
    trial._memo[memo] = found
    return found


class Again:
    """A few texts of a sample, run again in a state that may be edited."""

    def __init__(
        self,
        loaded: LoadedModel,
        batches: Sequence[TokenBatch],
        layers: Sequence[int],
        state: State | None = None,
        scale: float = 1.0,
    ) -> None:
        owner = row_texts(batches)  # batches go by length: texts from their first half are short
        texts = [int(owner[round(i * (len(owner) - 1))]) for i in torch.linspace(0.1, 0.5, TEXTS_PER_STATE).tolist()]
        texts = list(dict.fromkeys(texts))
        self._rows = rows_of(owner, texts)
        with nullcontext() if state is None else installed(loaded.model, state, scale):
            self.states = states_again(
                loaded, [tokens_of(batches, text) for text in texts], layers, batches[0].positions
            )
        """Layer -> [m, d], the model's own."""

    def stored(self, states: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The same rows of stored states."""
        return {layer: x[self._rows] for layer, x in states.items() if len(x) > int(self._rows.max())}


# --------------------------------------------------------------------------- edited states
def of_change(
    spectrum: Spectrum,
    bases: Spectrum,
    before: Tensor,
    after: Tensor,
    edited: Spectrum,
    tensors: Mapping[str, Tensor],
    norms: Mapping[str, float],
    angles: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[Any]]:
    """Findings about one layer of an edited state, for its record: name -> [ok, detail].

    Parameters
    ----------
    spectrum
        Spectrum of the full base sample at the layer.
    bases, edited
        Spectra of the subset before and after the edit: the two sides of the angles.
    before, after
        ``[m, d]`` hidden states of the subset.
    tensors
        Pooling -> ``[d]`` components.
    norms, angles
        As recorded.
    """
    outcomes = [
        recomputed.check_spectrum(edited, Sketch.of(after)),
        recomputed.check_change(before, after, norms, float(spectrum.sigma.norm()) / spectrum.n**0.5),
        recomputed.check_components(spectrum.basis, after.double() - before.double(), tensors),
        recomputed.check_angles(bases.basis, edited.basis, angles),
    ]
    return {outcome.name: [outcome.ok, outcome.detail] for outcome in outcomes}


def of_states(again: Again, after: Mapping[int, Tensor]) -> dict[str, list[Any]]:
    """Findings about the hidden states of an edited state, for its record."""
    outcome = recomputed.check_reproduced(again.stored(after), again.states)
    return {outcome.name: [outcome.ok, outcome.detail]}


def of_stored(trial: Trial, model_id: str, number: int, change: Any, *, rates: bool = True) -> list[Finding]:
    """Findings of a stored change, and what its parts say about each other now.

    ``change`` is a ``pipeline.changes.Change``; ``rates`` also looks at R_k as it is computed from it.
    """
    where = f"state {number}"
    found = [
        Finding(f"{where}, {place}", CheckOutcome(name, ok, detail))
        for place, outcomes in change.validity.items()
        for name, (ok, detail) in outcomes.items()
    ]
    if not change.validity:
        found.append(Finding(where, CheckOutcome("states-reproduced", False, "it was stored without any check")))
    rms = amplification.POOLINGS.index("rms")
    for layer, norms in change.norms.items():
        place = f"{where}, layer {layer}"
        found.append(Finding(place, recomputed.check_angle_order(change.angles[layer])))
        found.append(Finding(place, recomputed.check_energy(norms, int(norms["n"]), change.pooled[layer][rms])))
        if rates:
            found += _of_rates(trial, model_id, layer, change.pooled[layer][0], place)
    return found


def _of_rates(trial: Trial, model_id: str, layer: int, pooled: Tensor, place: str) -> list[Finding]:
    """R_k as computed from pooled components: by Eq. 11, and in no direction that is rounding."""
    spectrum = base.spectra(trial, model_id)[layer].spectrum
    found = amplification.from_components(spectrum, pooled[None])
    limit = limits(trial, model_id, layer, spectrum)
    return [
        Finding(place, recomputed.check_rates(spectrum, pooled, found.r, found.identified)),
        Finding(f"layer {layer}", recomputed.check_used(spectrum, found.identified, limit)),
    ]


def of_edits(trial: Trial, model_id: str, sub: paired.Subset, changes: Sequence[Any]) -> dict[str, CheckResult]:
    """All results that claims about edited states may list."""
    found = [*of_base(trial, model_id), *of_subset(trial, model_id, sub)]
    for number, change in enumerate(changes):
        found += of_stored(trial, model_id, number, change, rates=number == 0)
    return results(found)
