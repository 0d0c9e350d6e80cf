"""Validity of what is measured module by module (encoder-decoders), found again in another way as in ``validity``.

States of a few texts are run again, one text at a time, and read by hooks of this file at the architecture's own paths.
Sums along a few fixed directions, norms and components of sixteen directions are taken beside the tallies that the
numbers come from. What the checks found is stored with each artifact; of what was stored without, nothing is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from editverdict.capture.modules import module_pass
from editverdict.capture.passes import row_texts
from editverdict.capture.texts import Positions, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry import recomputed
from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.sketch import Sketch
from editverdict.models.sources import LoadedModel
from editverdict.numerics.spectrum import Spectrum
from editverdict.pipeline.validity import TEXTS_PER_STATE, Finding, alone, rows_of, samples_of, tokens_of

COLUMNS = 16
"""Directions whose components are projected anew."""
ROWS = 4096
"""Rows that are looked at together: a chunk of them in float64 would be twice the chunk."""
LARGEST_K = 1000
"""Subspaces beyond it are only held against what holds for any two: their cosines anew would take a cube of k."""
NAME = re.compile(r"(Enc|Dec)(\d+)-FFN-(wi|act|wo)")
Stored = Sequence[tuple[str, bool, str]]
"""What checks found when something was measured: name, whether it holds, in words."""


# --------------------------------------------------------------------------- the model once more
def states_alone(
    loaded: LoadedModel, texts: Sequence[Sequence[int]], names: Iterable[str], positions: Positions
) -> dict[str, Tensor]:
    """States of some texts at some modules, one text at a time: name -> [m, d], text by text.

    Raises
    ------
    ValueError
        A name is not that of a module, e.g. ``Dec23-FFN-wi``.
    """
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    handles = []

    def reader(name: str, part: str) -> Any:
        def hook(_module: nn.Module, args: Any, output: Tensor) -> None:
            seen = args[0] if part == "act" else output
            rows[name].append(samples_of(seen.detach()[0], positions).cpu())

        return hook

    paths = {str(entry): where for entry, where in loaded.sites.spec.modules.items()}
    try:
        for name in rows:
            found = NAME.fullmatch(name)
            if found is None:
                raise ValueError(f"expected the name of a module such as Dec23-FFN-wi, found {name!r}")
            side, block, part = found.groups()
            path = paths[f"{side}-{'wi' if part == 'wi' else 'wo'}"].format(int(block))
            handles.append(loaded.model.get_submodule(path).register_forward_hook(reader(name, part)))
        module_pass(loaded, [alone(ids, loaded.device) for ids in texts], {}, lambda _batch, _seen: None)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in rows.items()}


def check_states(
    loaded: LoadedModel, batches: Sequence[TokenBatch], states: Mapping[str, Tensor], edit: tuple[State, float] | None
) -> CheckOutcome:
    """states-reproduced: a few texts of some batches, run again alone in the same state.

    Parameters
    ----------
    batches, states
        What was run, and module -> [m, d] as it was read.
    edit
        The state that is in force, and its scale; None: the model as it is now.
    """
    owner = row_texts(batches)
    places = torch.linspace(0.1, 0.5, TEXTS_PER_STATE).tolist()
    texts = list(dict.fromkeys(int(owner[round(place * (len(owner) - 1))]) for place in places))
    rows = rows_of(owner, texts)
    with nullcontext() if edit is None else installed(loaded.model, *edit):
        again = states_alone(loaded, [tokens_of(batches, text) for text in texts], states, batches[0].positions)
    stored = {name: found[rows] for name, found in states.items() if len(found) > int(rows.max())}
    return recomputed.check_reproduced(stored, again)


# --------------------------------------------------------------------------- sums beside the tallies
class Witness:
    """What is kept of a module's base and edited states while chunks go by, apart from what the numbers come from.

    Parameters
    ----------
    full
        Spectrum of the unedited states over the full sample, with its directions.
    """

    def __init__(self, full: Spectrum) -> None:
        chosen = torch.linspace(0, full.d - 1, min(full.d, COLUMNS), dtype=torch.float64).round().long()
        self._chosen, self._columns = chosen, full.basis[:, chosen].clone()
        self._scale = float(full.sigma.norm()) / full.n**0.5
        self.edited = Sketch(full.d)
        self._sizes: list[Tensor] = []
        self._components: list[Tensor] = []

    def add(self, before: Tensor, after: Tensor) -> None:
        """Take in paired samples [m, d]."""
        for own, rows in zip(torch.split(before, ROWS), torch.split(after, ROWS), strict=True):
            self.edited.update(rows)
            change = rows.double() - own.double()
            self._sizes.append(change.square().sum(dim=1).sqrt())
            self._components.append(change @ self._columns)

    def outcomes(self, norms: Mapping[str, float], pooled: Mapping[str, Tensor]) -> list[CheckOutcome]:
        """change-recomputed and components-recomputed of a module's norms and pooled components ([d] each)."""
        sizes, components = torch.cat(self._sizes)[:, None], torch.cat(self._components)
        here = {name: values[self._chosen] for name, values in pooled.items()}
        return [
            recomputed.check_change(torch.zeros_like(sizes), sizes, norms, self._scale),
            recomputed.check_components(torch.eye(components.shape[1]).double(), components, here),
            recomputed.check_energy(norms, len(sizes), pooled["rms"]),
        ]


def check_subspaces(ours: Tensor, theirs: Tensor, angles: Mapping[str, Mapping[str, Any]]) -> list[CheckOutcome]:
    """angles-recomputed of leading bases [d, >= k]; ``angles``: k -> cosines, as stored."""
    named = with_k(angles)
    small = {label: profile for label, profile in named.items() if profile["k"] <= LARGEST_K}
    return [recomputed.check_angle_order(named), recomputed.check_angles(ours, theirs, small)]


def with_k(angles: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Stored cosines with their k, which their labels are."""
    return {label: {**profile, "k": int(label)} for label, profile in angles.items()}


# --------------------------------------------------------------------------- what was found
def stored(outcomes: Iterable[CheckOutcome]) -> list[list[Any]]:
    """For a record: [name, whether it holds, in words] each."""
    return [[outcome.name, outcome.ok, outcome.detail] for outcome in outcomes]


def read(record: Mapping[str, Any]) -> tuple[tuple[str, bool, str], ...]:
    """What :func:`stored` kept under ``validity``; empty if it was measured without checks."""
    return tuple((str(name), bool(ok), str(detail)) for name, ok, detail in record.get("validity", ()))


def findings(where: str, found: Stored, wanted: Sequence[str]) -> list[Finding]:
    """Stored findings of one artifact; each check that is wanted and was not made fails."""
    lacking = [name for name in wanted if name not in {one[0] for one in found}]
    return [Finding(where, CheckOutcome(name, ok, detail)) for name, ok, detail in found] + [
        Finding(where, CheckOutcome(name, False, "it was stored without this check: let it be measured again"))
        for name in lacking
    ]
