"""The shape of ``evidence/<case>.json``: the arrays behind a case's pictures.

The pipeline writes dictionaries of this shape; the renderers read them back through these models. A value that could
not be measured is ``null`` (or NaN) and is left out of the picture, which then says how many are missing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Values = tuple[float | None, ...]


class EvidencePart(BaseModel):
    """Base of the evidence models: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Group(EvidencePart):
    """The numbers of one subject or control, one per resampling unit."""

    name: str
    """E.g. ``ROME`` or ``placebo (comparator)``; the first group of a picture is the case itself."""
    values: Values


class UnitsPicture(EvidencePart):
    """Strip plot: one dot per resampling unit, with the interval and the expected region."""

    kind: Literal["units"]
    title: str
    label: str
    """The quantity with its unit, e.g. ``r_eff / d``."""
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    """Bounds of the expected region where ``op`` is ``within``."""
    op: Literal["<=", "<", ">=", ">", "within"]


class SpectrumLayer(EvidencePart):
    """Singular values of the hidden states of one layer, descending."""

    layer: int
    sigma: Values


class NullSpectrum(EvidencePart):
    """What an unstructured matrix of the same shape would give."""

    name: str
    sigma: Values


class SpectrumPicture(EvidencePart):
    """Singular values against their index, with the noise floor and a null."""

    kind: Literal["spectrum"]
    title: str
    layers: Annotated[tuple[SpectrumLayer, ...], Field(min_length=1)]
    noise_floor: float | None = None
    null: NullSpectrum | None = None


class AmplificationCurve(EvidencePart):
    """R_k of one method for every identified direction k, ordered by descending sigma_k."""

    name: str
    sigma: Values
    r: Values

    @model_validator(mode="after")
    def _paired(self) -> AmplificationCurve:
        if len(self.sigma) != len(self.r):
            raise ValueError(f"'sigma' has {len(self.sigma)} values and 'r' {len(self.r)}; they are paired")
        return self


class AmplificationPicture(EvidencePart):
    """R_k per direction on a log scale, as in the paper's Figures 2 and 6, with the comparator."""

    kind: Literal["amplification"]
    title: str
    curves: Annotated[tuple[AmplificationCurve, ...], Field(min_length=1)]
    one: float = 1.0
    """The line at which the perturbation equals the direction's own scale."""


class AnglesCurve(EvidencePart):
    """Cosine of the largest principal angle at each k."""

    name: str
    cos: Values


class AnglesPicture(EvidencePart):
    """Principal-angle cosines against the subspace size k, with baselines and chance."""

    kind: Literal["angles"]
    title: str
    ks: tuple[int, ...]
    curves: Annotated[tuple[AnglesCurve, ...], Field(min_length=1)]
    chance: Values | None = None
    """The cosine of two unrelated subspaces, per k."""

    @model_validator(mode="after")
    def _one_per_k(self) -> AnglesPicture:
        lengths = {c.name: len(c.cos) for c in self.curves} | ({"chance": len(self.chance)} if self.chance else {})
        for name, length in lengths.items():
            if length != len(self.ks):
                raise ValueError(f"'{name}' has {length} values for {len(self.ks)} values of k")
        return self


class SeriesCurve(EvidencePart):
    """One number against the number of edits."""

    name: str
    x: tuple[float, ...]
    y: Values

    @model_validator(mode="after")
    def _paired(self) -> SeriesCurve:
        if len(self.x) != len(self.y):
            raise ValueError(f"'x' has {len(self.x)} values and 'y' {len(self.y)}; they are paired")
        return self


class SeriesPicture(EvidencePart):
    """Numbers against the number of edits T."""

    kind: Literal["series"]
    title: str
    x: str
    y: str
    curves: Annotated[tuple[SeriesCurve, ...], Field(min_length=1)]
    log: bool = False
    """Whether both axes are logarithmic, so that a power law is a straight line."""


class ParetoPoint(EvidencePart):
    """One method at its two costs."""

    name: str
    group: str
    """Kind of method: one marker each."""
    x: float | None
    y: float | None
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    on_front: bool = False
    """Whether no other method is better on one count and as good on the other."""


class ParetoPicture(EvidencePart):
    """Two costs of several methods, both better when small, as in the paper's Figures 5 and 9."""

    kind: Literal["pareto"]
    title: str
    x: str
    """What is across, on a log scale."""
    y: str
    points: Annotated[tuple[ParetoPoint, ...], Field(min_length=1)]
    one: float = 1.0
    """The line of what costs nothing beside the unedited model."""


class AnswersPicture(EvidencePart):
    """A table of example answers."""

    kind: Literal["answers"]
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | bool | None, ...], ...]


Picture = Annotated[
    UnitsPicture
    | SpectrumPicture
    | AmplificationPicture
    | AnglesPicture
    | SeriesPicture
    | ParetoPicture
    | AnswersPicture,
    Field(discriminator="kind"),
]


class Evidence(EvidencePart):
    """All pictures of one case."""

    pictures: tuple[Picture, ...]
