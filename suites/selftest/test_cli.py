"""The command line, as a user meets it: exit codes, messages, no tracebacks."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from editverdict import cli as command_line
from editverdict.cli import MISTAKES
from suites.selftest.conftest import Done

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("words", "code"), [(["judge", "nowhere"], 2), (["plan", "--profile", "smoke"], 0)])
def test_as_a_process(tmp_path: Path, words: list[str], code: int) -> None:
    """What the other tests rest on: the exit code is the process's, and nothing but the message is printed."""
    done = subprocess.run(
        [sys.executable, "-m", "editverdict.cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (code == 2)
    assert ("[rehearsal-llama]" in done.stdout) == (code == 0)


# --------------------------------------------------------------------------- validate and plan
CLAIM = """\
claims:
  - id: {id}
    statement: The effective rank is low.
    source: {{paper: Mine, hypothesis: H1, where: Section 1}}
    quantity: effective_rank_ratio
    describes: effective rank over dimension
    reduce: median over the inner layers
    subject: [model]
    unit: text_block
    min_units: {min_units}
    edits: 0
    definitions:
      - {{name: exp-entropy-sigma, role: primary}}
    expect: {expect}
    population: decoders
    family: mine
"""
EXPECT = '{op: "<=", threshold: 0.9, origin: ours, rationale: a share that one would call low}'
MODEL = """\
models:
  - id: {id}
    source: {{kind: folder, path: somewhere}}
    architecture: llama
    layers: {{edit: 1, measured: [0, 1, 2], inner: [0, 1]}}
"""
PROFILE = """\
profiles:
  - id: mine
    describes: one claim on one model
    models: [{model}]
    methods: [ROME]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {{id: short, max_new_tokens: 4}}
    claims: [my-claim]
    sizes: {{single_edits: 3, chains: 2, chain_length: 2, long_chain: 3, base_texts: 50, base_tokens: 100,
             norm_tokens: 50, angle_tokens: 50, text_blocks: 4, random_seeds: 3}}
"""
SOUND = {
    "claims/mine.yaml": CLAIM.format(id="my-claim", min_units=4, expect=EXPECT),
    "models/mine.yaml": MODEL.format(id="my-model"),
    "profiles/mine.yaml": PROFILE.format(model="my-model"),
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_errors_of_users_are_where_the_command_line_looks() -> None:
    """They are named, not imported; a renamed one would end in a traceback."""
    for module, name in MISTAKES.items():
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_the_help_names_every_command() -> None:
    (said,) = re.findall(r"^The command line: (.*?)\.\n\n", command_line.__doc__ or "", re.DOTALL)
    names = [one.name for one in typer.main.get_group(command_line.app).commands.values()]
    assert len(names) > 10 and said.replace("\n", " ").split(", ") == names


def test_nothing_heavy_is_loaded_before_a_command(tmp_path: Path) -> None:
    told = "import sys; import editverdict.cli; print(sorted({'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_vacuous_claims_are_named(cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that cannot fail and one without a range, with their places; the sound one beside them is not named."""
    from editverdict.pipeline import vacuous

    monkeypatch.setattr(vacuous, "family_of", lambda quantity: None)  # planted worlds have tests of their own
    ranged = CLAIM.replace("    subject", "    range: [0, 1]\n    subject")
    hollow = '{op: ">=", threshold: 0, origin: ours, rationale: anything goes}'
    texts = [
        ranged.format(id="fine-one", min_units=4, expect=EXPECT),
        ranged.format(id="hollow", min_units=4, expect=hollow),
        CLAIM.format(id="open", min_units=4, expect=EXPECT),
    ]
    mine = write(tmp_path / "mine", {f"claims/{i}.yaml": text for i, text in enumerate(texts)})
    done = cli("validate", "--vacuous", "--specs", mine)
    assert done.code == 1 and done.err == ""
    assert re.search(r"1\.yaml:2: hollow: cannot fail: .* >= 0 ", done.out)
    assert re.search(r"2\.yaml:2: open: no 'range'", done.out) and "fine-one:" not in done.out
    assert "2 findings" in done.out
    assert cli("validate", "--vacuous").code == 0


def test_our_own_specs_are_sound(cli: Callable[..., Done]) -> None:
    done = cli("validate")
    assert done.code == 0 and done.err == ""
    counts = {kind: int(number) for number, kind in re.findall(r"(\d+) (\w+)", done.out)}
    assert counts["claims"] >= 15 and counts["models"] >= 2 and counts["profiles"] >= 2


def test_a_quoted_number_must_be_the_printed_one(cli: Callable[..., Done], tmp_path: Path) -> None:
    assert re.search(r"\d\d+ numbers quoted from the paper are those of its printed tables", cli("validate").out)
    text = CLAIM.format(id="quoting", min_units=4, expect=EXPECT)
    keys = "{model: Llama-3.1-8B-Instruct, layer: 15}"
    quote = f"    paper_values:\n      - {{table: 5, row: a row, keys: {keys}, column: r_eff, value: 3178}}\n"
    mine = write(tmp_path / "mine", {"claims/quoting.yaml": f"{text.rstrip()}\n{quote}"})
    done = cli("validate", "--specs", mine)
    assert done.code == 2 and "claims[quoting].paper_values[0].value" in done.err
    assert re.search(r"quoting\.yaml:2", done.err) and "3177, which is printed" in done.err and "3178" in done.err
    write(tmp_path / "mine", {"claims/quoting.yaml": f"{text.rstrip()}\n{quote.replace('3178', '3177')}"})
    assert cli("validate", "--specs", mine).code == 0


def test_sound_specs_of_a_user(cli: Callable[..., Done], tmp_path: Path) -> None:
    before = cli("validate").out
    mine = write(tmp_path / "mine", SOUND)
    done = cli("validate", "--specs", mine)
    assert done.code == 0 and done.err == "" and done.out != before
    listed = cli("plan", "--profile", "mine", "--specs", mine, "--json")
    assert listed.code == 0 and json.loads(listed.out) == ["my-claim[my-model]"]


WRONG: dict[str, tuple[str, int, list[str]]] = {
    "misspelt.yaml": (
        MODEL.format(id="a-model").replace("architecture:", "architectur:"),
        4,
        ["architectur", "did you mean 'architecture'"],
    ),
    "duplicate.yaml": (
        MODEL.format(id="b-model") + "    architecture: llama\n",
        6,
        ["duplicate key 'architecture'", "remove one of the two"],
    ),
    "unknown.yaml": (
        PROFILE.format(model="smollm2-135").replace("id: mine", "id: other"),
        4,
        ["'smollm2-135'", "did you mean 'smollm2-135m'"],
    ),
    "origin.yaml": (
        CLAIM.format(id="c-claim", min_units=4, expect='{op: "<=", threshold: 0.9}'),
        14,
        ["c-claim", "origin"],
    ),
    "type.yaml": (CLAIM.format(id="d-claim", min_units="many", expect=EXPECT), 10, ["min_units", "'many'"]),
    "broken.yaml": ("models:\n  - id: e-model\n    source: {kind: folder, path: here\n  - id: f\n", 4, []),
}


def test_six_wrong_specs_are_reported_together(cli: Callable[..., Done], tmp_path: Path) -> None:
    """Misspelt key, key twice, unknown model, threshold without origin, wrong type, bad YAML: one run tells all."""
    mine = write(tmp_path / "mine", {**SOUND, **{name: text for name, (text, _, _) in WRONG.items()}})
    done = cli("validate", "--specs", mine)
    assert done.code == 2 and "sound" not in done.out
    for name, (_, line, parts) in WRONG.items():
        told = [text for text in re.split(r"\n(?=\S)", done.err) if f"{name}:{line}" in text]
        assert told, f"nothing about {name}:{line} in\n{done.err}"
        assert all(part in "\n".join(told) for part in parts), done.err
    files = set(re.findall(r"([\w.]+\.yaml):\d+", done.err))
    assert files == set(WRONG), "a sound file is blamed, or a wrong one is not"


@pytest.mark.parametrize("name", WRONG)
def test_each_of_them_alone_is_enough(cli: Callable[..., Done], tmp_path: Path, name: str) -> None:
    mine = write(tmp_path / "mine", {**SOUND, name: WRONG[name][0]})
    done = cli("plan", "--specs", mine)
    assert done.code == 2 and done.out == "" and f"{name}:{WRONG[name][1]}" in done.err


def test_wrong_hyperparameters_name_the_file(cli: Callable[..., Done], tmp_path: Path) -> None:
    method = "methods:\n  - {id: M, editor: rome, kind: parameter, family: locate-then-edit, reference: Me, " \
        "hyperparameters: {covarience: true}, hyperparameters_source: mine}\n"  # fmt: skip
    done = cli("validate", "--specs", write(tmp_path / "mine", {"m.yaml": method}))
    assert done.code == 2 and "m.yaml:2" in done.err and "did you mean 'covariance'" in done.err


def test_no_such_folder(cli: Callable[..., Done]) -> None:
    done = cli("validate", "--specs", "nowhere")
    assert done.code == 2 and "nowhere" in done.err and "no such folder" in done.err


def test_plan(cli: Callable[..., Done]) -> None:
    lines = cli("plan", "--profile", "smoke").out.split()
    assert "collapse-eff-rank[rehearsal-llama]" in lines
    assert "amp-c-comparable[rehearsal-llama-ROME-worldfacts]" in lines
    assert len(lines) == len(set(lines))
    assert json.loads(cli("plan", "--profile", "smoke", "--json").out) == lines


def test_unknown_profile(cli: Callable[..., Done]) -> None:
    done = cli("plan", "--profile", "latop")
    assert done.code == 2 and "unknown profile 'latop'" in done.err and "did you mean 'laptop'" in done.err


# --------------------------------------------------------------------------- init
def test_init(cli: Callable[..., Done], tmp_path: Path) -> None:
    target = tmp_path / "deep" / "trial"
    done = cli("init", target)
    assert done.code == 0 and "pytest suites/hypotheses" in done.out
    for part in ("conftest.py", "pytest.ini", "specs/claims", "suites/hypotheses", "plugins/claims.py", "fixtures"):
        assert (target / part).exists(), part
    junk = ("__pycache__", "out", "node_modules", "selftest")
    assert not [path for path in target.rglob("*") if path.name in junk]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("there", ["conftest.py", "specs/own.yaml", "pytest.ini", "suites/hypotheses/test_mine.py"])
def test_init_overwrites_nothing(cli: Callable[..., Done], tmp_path: Path, there: str) -> None:
    target = write(tmp_path / "trial", {there: "mine", "notes.txt": "also mine"})
    before = snapshot(target)
    done = cli("init", target)
    assert done.code == 2 and "nothing was changed" in done.err and "trial" in done.err
    assert snapshot(target) == before


def test_init_into_a_file(cli: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "trial").write_text("mine")
    done = cli("init", tmp_path / "trial")
    assert done.code == 2 and "trial" in done.err and (tmp_path / "trial").read_text() == "mine"


def test_init_twice(cli: Callable[..., Done], tmp_path: Path) -> None:
    assert cli("init", tmp_path / "trial").code == 0
    before = snapshot(tmp_path / "trial")
    assert cli("init", tmp_path / "trial").code == 2
    assert snapshot(tmp_path / "trial") == before


def test_unknown_command(cli: Callable[..., Done]) -> None:
    assert cli("validat").code == 2
    assert cli("plan", "--profil", "smoke").code == 2
