"""Specs to break: one small file of each kind, and helpers that write and load them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from editverdict.schema import SpecError, SpecLibrary

CLAIM = """\
claims:
  - id: collapse-cond
    statement: The condition number is above a million.
    source: {paper: A paper, hypothesis: H1, where: Table 1}
    quantity: condition-number
    describes: largest over smallest singular value, dimensionless
    reduce: median of the layers
    subject: [model]
    unit: text_block
    min_units: 20
    definitions:
      - {name: centred, role: primary}
      - {name: raw, role: rival}
    expect:
      op: ">"
      threshold: 1e6
      origin: paper
      ref: Table 1
    controls:
      - {name: gaussian, role: negative, definition: centred}
    checks: [enough-texts]
    population: decoders
    family: collapse
    paper_values:
      - {table: 1, row: T5, value: 3e7}
    requires: [paired]
  - id: paired
    kind: check
    statement: The samples are paired.
    source: {paper: A paper, hypothesis: H1, where: Section 3}
    quantity: pairing
    describes: share of paired rows
    reduce: none
    subject: [model]
    unit: text_block
    min_units: 20
    definitions: [{name: share, role: primary}]
    expect: {op: within, low: 1, high: 1.5, origin: ours, rationale: pairing is all or nothing}
    population: decoders
    family: checks
"""
MODELS = """\
architectures:
  - {id: llama, model_types: [llama],
     layers: model.layers,
     attention: "model.layers.{}.self_attn",
     mlp: "model.layers.{}.mlp",
     down_proj: "model.layers.{}.mlp.down_proj",
     final_norm: model.norm,
     lm_head: lm_head}
models:
  - id: tiny
    source: {kind: folder, path: models/tiny}
    hub: {repo: someone/tiny}
    architecture: llama
    layers: {edit: 1, measured: [0, 1, 2], inner: [0, 1]}
  - id: rehearsal
    source: {kind: random, like: tiny, overrides: {num_hidden_layers: 3, rms_norm_eps: 1e-5}}
    architecture: llama
    layers: {edit: 1, measured: [0, 1, 2], inner: [0, 1]}
    weights: random
"""
METHODS = """\
methods:
  - id: ROME
    editor: rome
    kind: parameter
    family: locate-then-edit
    reference: Meng et al. 2022
    horizon: 50
    hyperparameters: {lr: 0.5, layers: [5], clamp: {factor: 4}}
    hyperparameters_source: the authors' configuration
    per_model:
      tiny: {lr: 0.1}
"""
DATA = """\
datasets:
  - {id: facts, format: worldfacts, size: 100}
corpora:
  - id: glosses
    format: wordnet
    source:
      kind: packaged
      package: words
      version: "1.0"
      archive: sdist
      members: {data.noun: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
encoders:
  - {id: minilm, source: {kind: hub, repo: someone/minilm}}
judges:
  - {id: strict, format: lexical}
capabilities:
  - id: able
    describes: small
    tasks: [{id: sums, describes: sums, source: {kind: generated, generator: arithmetic}, chance: 0.25}]
"""
PROFILE = """\
profiles:
  - id: laptop
    describes: small
    models: [tiny, rehearsal]
    methods: [ROME]
    datasets: [facts]
    corpus: glosses
    encoder: minilm
    judge: strict
    protocol: {id: short, max_new_tokens: 12}
    claims: [collapse-cond]
    sizes:
      single_edits: 20
      chains: 6
      chain_length: 10
      long_chain: 50
      base_texts: 2000
      base_tokens: 28800
      norm_tokens: 1500
      angle_tokens: 5760
      text_blocks: 20
      random_seeds: 20
"""
GOOD = {
    "claims/collapse.yaml": CLAIM,
    "models/models.yaml": MODELS,
    "methods/rome.yaml": METHODS,
    "data.yaml": DATA,
    "profiles/laptop.yaml": PROFILE,
}


class Workshop:
    """A folder ``specs`` with good files, which a test bends before it loads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in GOOD.items():
            self.write(name, text)

    def write(self, name: str, content: str | bytes, folder: str = "specs") -> None:
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.root / "specs" / name
        text = path.read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1))

    def load(self, *folders: str, registries: dict[str, object] | None = None) -> SpecLibrary:
        return SpecLibrary.load(*(Path(f) for f in folders or ("specs",)), registries=registries)

    def error(self, *folders: str, registries: dict[str, object] | None = None) -> SpecError:
        with pytest.raises(SpecError) as caught:
            self.load(*folders, registries=registries)
        return caught.value


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Good specs in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Workshop(tmp_path)


@pytest.fixture
def parse() -> Callable[[str], object]:
    """Return a function from YAML text to plain data, which fails on any problem."""
    from editverdict.schema.yaml_loader import parse_yaml

    def data(text: str) -> object:
        document = parse_yaml(text, "x.yaml")
        assert document.problems == []
        return document.data

    return data
