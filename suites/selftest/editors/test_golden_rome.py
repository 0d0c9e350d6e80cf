"""ROME on the real default model against numbers made with another implementation (golden/README.txt)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from editverdict.capture.passes import full_pass
from editverdict.capture.texts import tokenize_sample
from editverdict.data.records import EditRecord
from editverdict.editors import Resources, Step, installed
from editverdict.editors.base import Compute
from editverdict.editors.rome import Rome, RomeSettings, subject_keys
from editverdict.generation.scoring import target_logprobs
from editverdict.models.kernels import torch_products
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import Moments

LAYER = 8
WIDTH = 1536
WEIGHT = f"model.layers.{LAYER}.mlp.down_proj.weight"
TAGS = ("C0", "C1", "C2", "I0", "I1", "I2")
Numbers = dict[str, Any]


@pytest.fixture(scope="session")
def golden(shared: Callable[..., Path]) -> Numbers:
    """Arrays, settings and the covariance; values are optimised once per fact and kept under ``values``."""
    folder = shared("golden")
    upper = np.load(folder / "moment_layer8_upper.npz")
    covariance = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    row, column = np.triu_indices(WIDTH)
    covariance[row, column] = torch.tensor(upper["upper"], dtype=torch.float64)
    covariance = covariance + covariance.triu(1).T
    meta = json.loads((folder / "rome.json").read_text())
    with np.load(folder / "rome.npz") as arrays:
        numbers = {name: torch.tensor(arrays[name]).double() for name in arrays.files}
    return {
        **numbers,
        "runs": {run["tag"]: run for run in meta["runs"]},
        "facts": meta["facts"],
        "templates": tuple(meta["context_templates"]),
        "covariance": covariance,
        "count": int(upper["count"]),
        "texts": json.loads((folder / "texts.json").read_text()),
        "values": {},
    }


def off(found: Tensor, expected: Tensor) -> float:
    """Distance relative to the norm of what is expected."""
    return float((found.detach().cpu().double() - expected).norm() / expected.norm())


def editing(golden: Numbers, tag: str) -> tuple[Rome, EditRecord, Resources]:
    fact = golden["facts"][golden["runs"][tag]["fact"]]
    edit = EditRecord(id=tag, prompt=fact["prompt"], subject=fact["subject"], target_new=fact["target_new"])
    settings = RomeSettings(covariance=golden["runs"][tag]["mom2_adjustment"], templates=golden["templates"])

    def values(_fields: object, edits: list[EditRecord], compute: Compute) -> list[Step]:
        """The value knows nothing of the covariance: C and I runs of one fact share it."""
        if fact["case_id"] not in golden["values"]:
            golden["values"][fact["case_id"]] = compute(edits)[0]
        step: Step = golden["values"][fact["case_id"]]
        return [step]

    none: Any = None
    return Rome(settings), edit, Resources(lambda _layer: golden["covariance"], none, values, none, none)


@pytest.fixture
def as_reference(smollm: LoadedModel) -> Iterator[LoadedModel]:
    """The model with the products that the reference ran with: 25 steps of Adam blow up what other rounding does."""
    with torch_products(smollm.model):
        yield smollm


@pytest.mark.parametrize("tag", TAGS)
def test_a_run_of_the_reference_is_repeated(as_reference: LoadedModel, golden: Numbers, tag: str) -> None:
    smollm = as_reference
    run, fact = golden["runs"][tag], golden["facts"][golden["runs"][tag]["fact"]]
    editor, edit, resources = editing(golden, tag)
    keys, outputs = subject_keys(smollm, edit, LAYER, golden["templates"])
    for found, expected in zip(keys, golden[f"{tag}_keys"], strict=True):
        assert off(found, expected) < 1e-5
    assert off(keys[0], golden[f"{tag}_k_bare"]) < 1e-5
    assert off(outputs[0], golden[f"{tag}_Wk_bare"]) < 1e-5

    step = editor.edit(smollm, (), [edit], resources)
    value = golden["values"][fact["case_id"]]
    assert value.info["forwards"] == run["n_forward"] == len(run["trace"])
    for mine, theirs in zip(value.info["trace"], run["trace"], strict=True):
        for name, other in (("loss", "loss"), ("nll", "nll"), ("kl", "kl"), ("decay", "wd")):
            assert mine[name] == pytest.approx(theirs[other], abs=1.5e-3)  # printed to three decimals
    assert off(value.tensors["value"], golden[f"{tag}_v_star"]) < 1e-4
    left, right = step.tensors[f"{WEIGHT}:left"][:, 0], step.tensors[f"{WEIGHT}:right"][0]
    assert off(right, golden[f"{tag}_u"]) < 1e-4
    assert off(left, golden[f"{tag}_r"]) < 1e-3
    delta = torch.outer(left, right)
    for found, expected in zip(delta[:3], golden[f"{tag}_dW_first3rows"], strict=True):
        assert off(found, expected) < 1e-3
    assert off(delta.norm(dim=1), golden[f"{tag}_dW_rownorm"]) < 1e-3
    assert off(delta.norm(dim=0), golden[f"{tag}_dW_colnorm"]) < 1e-3

    pairs = [(fact["prompt"], fact["target_new"]), (fact["prompt"], fact["ground_truth"])]
    before = target_logprobs(smollm.model, smollm.tokenizer, pairs[:1]).exp()
    with installed(smollm.model, (step,)):
        after = target_logprobs(smollm.model, smollm.tokenizer, pairs).exp()
    assert before.tolist() == pytest.approx([run["pre"]["prob"]], abs=1e-3, rel=1e-3)
    assert after.tolist() == pytest.approx([run["post"]["prob"], run["post_ground_truth"]["prob"]], abs=1e-3)
    assert after[0] > 0.5 > before[0]


def test_a_wrong_convention_would_be_seen(smollm: LoadedModel, golden: Numbers) -> None:
    """The tolerances tell implementations apart: the mean key as residual key is another update."""
    editor, edit, resources = editing(golden, "C2")
    other = Rome(editor.hyperparameters.model_copy(update={"residual_key": "mean"}))
    left = other.edit(smollm, (), [edit], resources).tensors[f"{WEIGHT}:left"][:, 0]
    assert off(left, golden["C2_r"]) > 1e-2
    white = replace(resources, covariance=lambda _layer: torch.eye(WIDTH, dtype=torch.float64))
    right = editor.edit(smollm, (), [edit], white).tensors[f"{WEIGHT}:right"][0]
    assert off(right, golden["C2_u"]) > 1e-1


def test_covariance_of_keys(smollm: LoadedModel, golden: Numbers) -> None:
    """Our second moment over the reference's texts: every token, the first included, each text once."""
    sample = tokenize_sample(smollm.tokenizer, golden["texts"], min_texts=2000, min_tokens=1, n_blocks=20)
    moments = Moments(WIDTH)
    batches = sample.batches(int(smollm.tokenizer.pad_token_id), smollm.device)
    full_pass(
        smollm,
        batches,
        lambda batch, seen: moments.update(seen["key", LAYER][batch.mask.bool()]),
        keys=[LAYER],
    )
    assert moments.n == golden["count"]
    assert off(moments.second_moment(), golden["covariance"]) < 1e-5
    _, edit, _ = editing(golden, "C0")
    keys, _ = subject_keys(smollm, edit, LAYER, golden["templates"])
    direction = torch.linalg.solve(moments.second_moment(), keys.double().mean(0))
    assert off(direction / direction.norm(), golden["C0_u"]) < 1e-3
