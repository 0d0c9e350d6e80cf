"""Training of MEND's editing networks: edits that generalise to rephrases and leave unrelated texts alone.

Source: Mitchell et al. 2022, section 3.3: L = c_edit * L_e + L_loc, with L_e = -log p_edited(y | x') on texts x' that
ask for the edited fact, and L_loc = KL(p(. | x_loc) || p_edited(. | x_loc)) on unrelated texts. Each step edits the
clean model with several facts, each for itself, and goes down the gradient of L by the networks' parameters and rates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from editverdict.data.records import EditRecord
from editverdict.editors.base import CannotEdit, EditError, Frame, Hyperparameters, Step
from editverdict.editors.hypernetwork import Hypernetwork, Matrix, Statistics
from editverdict.editors.tails import (
    Row,
    RowEdits,
    Tail,
    apply_edits,
    changed_outputs,
    gradient_factors,
    passage,
    question,
    row_hits,
    row_nll,
    spread_tokens,
)
from editverdict.models.sources import LoadedModel
from editverdict.store import Clock

REPORT_EVERY = 20
"""Training steps that the losses in a line of progress are averaged over."""
LINE_EVERY = 10.0
"""Seconds between two lines of progress."""


class TrainingSettings(Hyperparameters):
    """How the editing networks are trained."""

    steps: int = Field(default=600, ge=1)
    batch: int = Field(default=8, ge=1)
    """Facts per step, each edited for itself."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's, of the networks; it falls linearly to zero over the steps, as does that of the rates."""
    rate_learning_rate: float = Field(default=1e-2, gt=0)
    """Adam's, of the edit rates, relative to where they start."""
    edit_factor: float = Field(default=0.1, gt=0)
    """c_edit."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the meta-gradient."""
    facts: int | None = Field(default=None, ge=2)
    """At most so many records of the tune split; None: all."""
    held_out: int = Field(default=48, ge=1)
    """Records kept back, to measure success on and to choose the best networks by."""
    targets_per_fact: int = Field(default=4, ge=1)
    """Edits made of each record: to its own new object, and to others of the same relation."""
    probes: int = Field(default=3, ge=1)
    """Other facts of the same relation that go with each edit, as texts to leave alone."""
    probes_per_step: int = Field(default=2, ge=1)
    """How many of an edit's probes are drawn whenever it is trained on; one text of the corpus goes with them."""
    neighbours: int = Field(default=2, ge=1)
    """Texts per fact and step that ask for it, drawn from its prompt and its rephrases."""
    texts: int = Field(default=200, ge=0)
    """Texts of the corpus whose answers are to stay."""
    skipped_texts: int = Field(default=50_000, ge=0)
    """Texts at the corpus' head that are left alone, because measurements are made on them."""
    text_tokens: int = Field(default=16, ge=1)
    """Tokens at which these texts are cut."""
    text_positions: int = Field(default=4, ge=1)
    """Places of a corpus text at which the answer is compared."""
    evaluate_every: int = Field(default=100, ge=1)
    """Steps between two measurements on the held-out records."""
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """One edit to train on."""

    asked: tuple[Row, ...]
    """The prompt and its rephrases, with the answer; the first is the one that the edit is made from."""
    probes: tuple[Row, ...]
    """Texts whose answers are to stay."""


@dataclass(frozen=True)
class Material:
    """Everything that training reads."""

    train: list[Example]
    held_out: list[Example]
    texts: list[Row]


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on."""

    records: Sequence[EditRecord]
    texts: Sequence[str]
    """Texts to leave alone, as they are."""
    frame: Frame
    """What stands around the prompts, those to be edited and those to be left alone."""


def chosen_records(
    records: Sequence[EditRecord], settings: TrainingSettings
) -> tuple[list[EditRecord], list[EditRecord]]:
    """Records to train on and records held out, drawn by the seed.

    Raises
    ------
    CannotEdit
        The tune split is too small.
    """
    if len(records) <= settings.held_out:
        raise CannotEdit(
            f"MEND trains its hypernetwork on records of the split 'tune' and holds {settings.held_out} of them out, "
            f"but there are {len(records)}; name a dataset with such a split (worldfacts), or lower 'held_out'"
        )
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(records), generator=generator).tolist()[: settings.facts]
    held_out, train = order[: settings.held_out], order[settings.held_out :]
    if not train:
        raise EditError(f"MEND: 'facts' ({settings.facts}) leaves no record beside the {settings.held_out} held out")
    return [records[i] for i in train], [records[i] for i in held_out]


def objects_of(record: EditRecord, pool: Sequence[EditRecord], count: int, generator: torch.Generator) -> list[str]:
    """New objects to edit a record to: its own, then others that records of the same relation name."""
    known = {record.target_new, record.target_old}
    same = [other for other in pool if other.relation == record.relation]
    others = sorted({o for other in same for o in (other.target_new, other.target_old) if o} - known)
    drawn = torch.randperm(len(others), generator=generator)[: count - 1].tolist()
    return [record.target_new, *(others[i] for i in drawn)]


def probes_of(record: EditRecord, pool: Sequence[EditRecord], count: int, generator: torch.Generator) -> list[str]:
    """Texts that an edit of ``record`` must leave alone: its subject's other facts, and other subjects' like facts.

    The other subjects are taken from ``pool``, not from the record's locality probes: a dataset may ask of many edits
    what becomes of the same few facts, and a network trained to keep just those would be praised for it.
    """
    own = [probe.prompt for probe in record.locality if record.subject in probe.prompt]
    others = [other for other in pool if other.subject != record.subject]
    like = [other for other in others if other.relation == record.relation] or others
    drawn = torch.randperm(len(like), generator=generator)[:count].tolist()
    return [*own, *(like[i].prompt for i in drawn)]


@dataclass(frozen=True)
class _Plan:
    """Texts of one edit to train on."""

    asked: tuple[str, ...]
    target: str
    probes: tuple[str, ...]


def _plans(pool: Sequence[EditRecord], targets: int, probes: int, generator: torch.Generator) -> list[_Plan]:
    return [
        _Plan((record.prompt, *record.rephrases), target, tuple(probes_of(record, pool, probes, generator)))
        for record in pool
        for target in objects_of(record, pool, targets, generator)
    ]


def build_material(
    loaded: LoadedModel,
    tail: Tail,
    data: TrainingData,
    settings: TrainingSettings,
    report: Callable[[str], None],
) -> Material:
    """Bring all training texts up to the lowest edited layer, once."""
    around = data.frame.around
    train, held_out = chosen_records(data.records, settings)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    train_plans = _plans(train, settings.targets_per_fact, settings.probes, generator)
    plans = [*train_plans, *_plans(held_out, 1, settings.probes, generator)]
    asked = {(text, plan.target): question(loaded, around(text), plan.target) for plan in plans for text in plan.asked}
    probes = {text: passage(loaded, around(text)) for plan in plans for text in plan.probes}
    corpus = [passage(loaded, text, settings.text_positions, settings.text_tokens) for text in data.texts if text]
    wanted = [*asked.values(), *probes.values(), *corpus]
    rows = tail.rows(wanted, Clock("MEND: lower layers", "texts", report, LINE_EVERY).tick)
    at_asked = dict(zip(asked, rows, strict=False))
    at_probe = dict(zip(probes, rows[len(asked) :], strict=False))
    examples = [
        Example(
            tuple(at_asked[text, plan.target] for text in plan.asked), tuple(at_probe[text] for text in plan.probes)
        )
        for plan in plans
    ]
    return Material(examples[: len(train_plans)], examples[len(train_plans) :], rows[len(asked) + len(probes) :])


def edits_of(net: Hypernetwork, tail: Tail, matrices: Sequence[Matrix], rows: Sequence[Row]) -> list[RowEdits]:
    """The edit that each row asks for, alone, in the model as it stands: one block per row and matrix."""
    factors, _losses = gradient_factors(tail, matrices, rows)
    edits = []
    for number, own in enumerate(factors):
        left, right = net(number, own.inputs, own.deltas)
        edits.append(spread_tokens(left, right, own.row, len(rows)))
    return edits


def divergence(before: Tensor, after: Tensor, rows: Sequence[Row]) -> Tensor:
    """KL(before || after), nats, mean over each row's positions [rows], from logits [n, vocabulary]."""
    old, new = functional.log_softmax(before.float(), -1), functional.log_softmax(after.float(), -1)
    kl = (old.exp() * (old - new)).sum(-1)
    return torch.stack([part.mean() for part in torch.split(kl, [len(row.wanted) for row in rows])])


class Trainer:
    """Training of one hypernetwork on the clean model."""

    def __init__(
        self,
        tail: Tail,
        matrices: Sequence[Matrix],
        net: Hypernetwork,
        material: Material,
        settings: TrainingSettings,
        report: Callable[[str], None],
    ) -> None:
        self._tail, self._matrices, self._net = tail, matrices, net
        self._material, self._settings, self._report = material, settings, report
        self._generator = torch.Generator().manual_seed(settings.seed + 2)
        self._order: list[int] = []

    def measure_statistics(self) -> None:
        """Normalise by the factors of all training edits: what running statistics would tend to.

        The factors do not depend on the networks, so nothing is gained by estimating while training.
        """
        statistics = [Statistics(sum(shape)) for shape in self._net.shapes]
        train, batch = self._material.train, self._settings.batch
        clock = Clock("MEND: gradients of the training edits", "edits", self._report, LINE_EVERY)
        for start in range(0, len(train), batch):
            rows = [example.asked[0] for example in train[start : start + batch]]
            factors, _losses = gradient_factors(self._tail, self._matrices, rows)
            for own, statistic in zip(factors, statistics, strict=True):
                statistic.update(own.inputs, own.deltas)
            clock.tick(min(start + batch, len(train)), len(train))
        self._net.normalise_by(statistics)

    def _draw(self, count: int, at_most: int) -> list[int]:
        return torch.randperm(count, generator=self._generator)[:at_most].tolist()

    def _next_batch(self) -> list[Example]:
        """The next training edits; every edit once before any comes again."""
        train, batch = self._material.train, self._settings.batch
        while len(self._order) < batch:
            self._order += self._draw(len(train), len(train))
        chosen, self._order = self._order[:batch], self._order[batch:]
        return [train[number] for number in chosen]

    def _losses(
        self, examples: Sequence[Example], asked: Sequence[Sequence[Row]], kept: Sequence[Sequence[Row]]
    ) -> Any:
        """Each example's edit on its own texts: logits on ``asked``, and the divergence on ``kept``."""
        edits = edits_of(self._net, self._tail, self._matrices, [example.asked[0] for example in examples])
        ask = [row for rows in asked for row in rows]
        keep = [row for rows in kept for row in rows]
        owner = [i for part in (asked, kept) for i, rows in enumerate(part) for _ in rows]
        with torch.no_grad():
            before = self._tail.logits(keep) if keep else None
        with changed_outputs(self._matrices, apply_edits(edits, owner)):
            logits = self._tail.logits([*ask, *keep])
        split = sum(len(row.wanted) for row in ask)
        kl = divergence(before, logits[split:], keep) if before is not None else logits.new_zeros(1)
        return logits[:split], ask, kl

    def step(self) -> tuple[Tensor, float, float]:
        """Loss of one batch, with its two terms: to be differentiated."""
        examples = self._next_batch()
        asked = [[e.asked[i] for i in self._draw(len(e.asked), self._settings.neighbours)] for e in examples]
        kept = [[e.probes[i] for i in self._draw(len(e.probes), self._settings.probes_per_step)] for e in examples]
        texts = self._material.texts
        if texts:
            kept = [[*rows, *(texts[i] for i in self._draw(len(texts), 1))] for rows in kept]
        logits, rows, kl = self._losses(examples, asked, kept)
        nll, kl = row_nll(logits, rows).mean(), kl.mean()
        return self._settings.edit_factor * nll + kl, float(nll.detach()), float(kl.detach())

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """Success of held-out edits, each alone: on the prompt, on rephrases, and what it does to other texts."""
        held, batch = self._material.held_out, self._settings.batch
        texts = self._material.texts
        hits: list[bool] = []
        general: list[bool] = []
        nll: list[float] = []
        kl: list[float] = []
        for start in range(0, len(held), batch):
            examples = held[start : start + batch]
            kept = [[*e.probes, *texts[start + i : start + i + 1]] for i, e in enumerate(examples)]
            logits, rows, moved = self._losses(examples, [e.asked for e in examples], kept)
            found = iter(row_hits(logits, rows))
            for example in examples:
                own = [next(found) for _ in example.asked]
                hits.append(own[0])
                general += own[1:]
            nll += row_nll(logits, rows).tolist()
            kl += moved.tolist()
        mean_nll, mean_kl = sum(nll) / len(nll), sum(kl) / len(kl)
        return {
            "success": sum(hits) / len(hits),
            "rephrases": sum(general) / len(general) if general else None,
            "nll": mean_nll,
            "kl": mean_kl,
            "loss": self._settings.edit_factor * mean_nll + mean_kl,
            "edits": len(hits),
        }

    def run(self) -> dict[str, Any]:
        """Train; the networks end as they were when the held-out loss was lowest. Returns the course of it."""
        settings, net = self._settings, self._net
        networks = list(net.networks.parameters())
        optimiser = torch.optim.Adam(
            [
                {"params": networks, "lr": settings.learning_rate},
                {"params": [net.rates], "lr": settings.rate_learning_rate},
            ]
        )
        falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1 - done / settings.steps)
        curve = [{"step": 0, **self.evaluate()}]
        best, kept = curve[0], net.tensors()
        clock, trace = Clock("MEND: training", "steps", self._report, LINE_EVERY), []
        for step in range(1, settings.steps + 1):
            loss, nll, kl = self.step()
            if not torch.isfinite(loss):
                raise EditError(
                    f"MEND: the loss is {float(loss.detach())} at training step {step}; lower the learning rates"
                )
            trace.append({"nll": nll, "kl": kl})
            parameters = [*networks, net.rates]
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimiser.step()
            falling.step()
            if step % settings.evaluate_every == 0 or step == settings.steps:
                curve.append({"step": step, **self.evaluate()})
                if curve[-1]["loss"] < best["loss"]:
                    best, kept = curve[-1], net.tensors()
            recent = trace[-REPORT_EVERY:]
            means = [sum(one[name] for one in recent) / len(recent) for name in ("nll", "kl")]
            clock.tick(
                step,
                settings.steps,
                f"; recent NLL {means[0]:.2f}, KL {means[1]:.3f}; held-out success {curve[-1]['success']:.2f}",
            )
        net.restore(kept)
        return {"held_out": best, "curve": curve, "trace": trace, "seconds": clock.seconds}


def train(
    loaded: LoadedModel,
    tail: Tail,
    matrices: Sequence[Matrix],
    net: Hypernetwork,
    data: TrainingData,
    settings: TrainingSettings,
    report: Callable[[str], None],
) -> Step:
    """Train ``net`` on records and texts; returns its tensors and the course of the training."""
    start, cpu = time.monotonic(), time.process_time()
    material = build_material(loaded, tail, data, settings, report)
    trainer = Trainer(tail, matrices, net, material, settings, report)
    trainer.measure_statistics()
    course = trainer.run()
    course |= {"alphas": {m.name: float(net.alpha(i)) for i, m in enumerate(matrices)}}
    counts = {
        "train_edits": len(material.train),
        "held_out_edits": len(material.held_out),
        "texts": len(material.texts),
    }
    return Step(
        net.tensors(),
        {**course, **counts, "total_seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu},
    )
