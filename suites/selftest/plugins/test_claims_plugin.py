"""The claims plugin in sessions of its own: what a verdict becomes, and what a user's mistake becomes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.setup import load_library
from suites.selftest.pipeline.sessions import ROOT, Session, fork, once, shared_folder

TOY = """
    models: [rehearsal-llama]
    methods: [ROME]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {id: completion-4, max_new_tokens: 4}
"""
CLAIM = """
  - id: own-{name}
    statement: The number is where it is expected.
    source: {{paper: A paper of our own, hypothesis: Numbers, where: here}}
    quantity: own_number
    describes: a number
    reduce: as it is
    subject: [model]
    unit: edit
    min_units: {units}
    edits: 0
    definitions: [{{name: value, role: primary}}]
    expect: {{op: ">=", threshold: {threshold}, origin: convention, ref: ours}}
    controls: [{{name: nothing, role: negative}}]
    checks: [enough-samples]
    population: any number
    family: own
"""
CLAIMS = {
    # name: (threshold, least units); the number is 1.0 with an interval of [0.94, 1.06], the negative control 0.0
    "supported": (0.5, 20),
    "refuted": (2.0, 20),
    "straddling": (1.0, 20),
    "few": (0.5, 21),
    "unchecked": (0.5, 20),
    "uncontrolled": (-1.0, 20),
    "absent": (0.5, 20),
    "broken": (0.5, 20),
    "killed": (0.5, 20),
}
MEASURE = """
import os, signal
from editverdict.inference.intervals import t_interval
from editverdict.pipeline.measurement import Measurement, measure, passed
from editverdict.pipeline.trial import NotHere

@measure("own_number")
def own_number(trial, case):
    name = case.claim.id.removeprefix("own-")
    if name == "absent":
        raise NotHere("needs a crystal ball")
    if name == "broken":
        raise OSError("the disk is full")
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    made = Measurement({"value": t_interval([0.9, 1.1] * 10)})
    made.controls["nothing"] = t_interval([-0.1, 0.1] * 10)
    made.checks |= passed("enough-samples", name != "unchecked", "20 of 20" if name != "unchecked" else "19 of 20")
    return made
"""
SUITE = "import pytest\nfrom plugins.claims import Verdict\n" + "".join(
    f'\n@pytest.mark.claim("own-{name}")\ndef test_{name}(verdict: Verdict) -> None:\n    verdict.must_stand()\n'
    for name in CLAIMS
)
CONFTEST = """
pytest_plugins = [
    "plugins.devices", "plugins.scheduler", "plugins.claims", "plugins.evidence", "fixtures.trial", "own_measures"
]
"""


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers have in common."""
    return shared_folder(tmp_path_factory)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in small: the plugins, one suite, claims and a measurement of our own."""
    made = tmp_path_factory.mktemp("home")
    claims = "".join(
        CLAIM.format(name=name, threshold=threshold, units=units) for name, (threshold, units) in CLAIMS.items()
    )
    profile = f"""profiles:
  - id: own
    describes: the claims of this test
    {TOY.strip()}
    claims: [{", ".join(f"own-{name}" for name in CLAIMS)}]
    sizes: {{single_edits: 3, chains: 1, chain_length: 3, long_chain: 3, base_texts: 9, base_tokens: 90,
            norm_tokens: 90, angle_tokens: 90, text_blocks: 4, random_seeds: 3}}
"""
    files = {
        "conftest.py": CONFTEST,
        "pytest.ini": "[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n",
        "own_measures.py": MEASURE,
        "suites/hypotheses/test_own.py": SUITE,
        "suites/other/test_plain.py": "def test_plain() -> None:\n    assert True\n",
        "specs/claims/own.yaml": "claims:" + claims,
        "specs/profiles/own.yaml": profile,
    }
    for name, text in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


@pytest.fixture(scope="module")
def start(home: Path, common: Path) -> Callable[..., Session]:
    """Start a session at home on some of our claims."""

    def session(*names: str, options: tuple[str, ...] = ()) -> Session:
        return once(common, f"own {' '.join(names)}", lambda folder: at_home(folder, *names, options=options))

    def at_home(folder: Path, *names: str, options: tuple[str, ...]) -> Session:
        path = os.pathsep.join(map(str, (home, ROOT, ROOT / "src")))
        return fork(
            folder,
            *("--profile", "own", "--specs", home / "specs", "--store", home / "store"),
            *("--claims", ",".join(f"own-{name}" for name in names)),
            *options,
            suites=["suites/hypotheses"],
            cwd=home,
            path=[home],
            env={"PYTHONPATH": path},
        )

    return session


@pytest.fixture(scope="module")
def each(start: Callable[..., Session]) -> Session:
    """A case of every verdict."""
    return start(*(name for name in CLAIMS if name != "killed"))


# --------------------------------------------------------------------------- from verdict to outcome
@pytest.mark.parametrize(
    ("name", "verdict", "outcome", "message"),
    [
        ("supported", "supported", "passed", ""),
        ("refuted", "refuted", "failed", "plugins.claims.ClaimRefuted: REFUTED: a number = 1 ["),
        ("straddling", "inconclusive", "skipped", "INCONCLUSIVE: a number = 1 ["),
        ("few", "inconclusive", "skipped", "INCONCLUSIVE: 20 of 21 edits; a number = 1 ["),
        ("unchecked", "invalid", "error", "plugins.claims.MeasurementInvalid: INVALID: check enough-samples: 19 of 20"),
        (
            "uncontrolled",
            "invalid",
            "error",
            "plugins.claims.MeasurementInvalid: INVALID: negative control nothing shows the effect",
        ),
        ("absent", "not_run", "skipped", "NOT_RUN: needs a crystal ball"),
        ("broken", "broken", "error", "plugins.claims.MeasurementBroken: BROKEN: OSError: the disk is full"),
    ],
)
def test_a_verdict_becomes_an_outcome(each: Session, name: str, verdict: str, outcome: str, message: str) -> None:
    (row,) = [row for row in each.rows if row.claim == f"own-{name}"]
    assert row.verdict == verdict
    word, said = each.outcomes[f"test_{name}[rehearsal-llama]"]
    assert word == outcome
    assert message in said
    assert ("on setup" in said) == (outcome == "error"), "measuring fails in set-up, judging in the test"


def test_each_case_has_one_row_and_each_claim_a_verdict(each: Session) -> None:
    names = [f"own-{name}" for name in CLAIMS if name != "killed"]
    assert [row.claim for row in each.rows] == names
    claims = {claim["claim"]: claim["verdict"] for claim in each.json("claims.json")}
    assert claims == {row.claim: row.verdict for row in each.rows}


def test_a_broken_case_keeps_its_traceback(each: Session) -> None:
    (row,) = [row for row in each.rows if row.verdict == "broken"]
    assert row.traceback.splitlines()[0].startswith("Traceback") and "own_number" in row.traceback
    assert [row.traceback for row in each.rows if row.verdict != "broken"] == [None] * (len(each.rows) - 1)


def test_a_refuted_claim_alone_fails_the_session(start: Callable[..., Session]) -> None:
    found = start("refuted")
    assert (found.code, found.verdicts) == (1, {"own-refuted": "refuted"})


def test_what_is_open_does_not_fail_the_session(start: Callable[..., Session]) -> None:
    found = start("supported", "straddling", "absent")
    assert found.code == 0, found.output
    assert list(found.verdicts.values()) == ["supported", "inconclusive", "not_run"]


def test_a_killed_worker_leaves_a_broken_row(start: Callable[..., Session]) -> None:
    found = start("killed", "supported", options=("-n", "1"))
    assert found.verdicts == {"own-killed": "broken", "own-supported": "supported"}, found.output
    (row,) = [row for row in found.rows if row.verdict == "broken"]
    assert row.reason.startswith("BROKEN: the worker died while measuring")
    assert row.expected.threshold == 0.5 and row.estimate is None
    claims = {claim["claim"]: claim["verdict"] for claim in found.json("claims.json")}
    assert claims == found.verdicts
    assert found.code == 1


def test_sessions_without_claims_are_left_alone(home: Path) -> None:
    found = fork(home / "plain", suites=["suites/other"], cwd=home, path=[home])
    assert found.code == 0, found.output
    assert {file.name for file in found.run_dir.iterdir()} == {"junit.xml", "output.txt"}


# --------------------------------------------------------------------------- what is not here
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_profiles_that_need_cuda_are_not_run_without(tmp_path: Path) -> None:
    found = fork(tmp_path, "--profile", "gpu", "--store", tmp_path / "store", "-m", "gpu")
    assert found.code == 0, found.output
    library = load_library([ROOT / "specs"])
    assert len(found.rows) == len(matrix(library, library.profiles["gpu"])) > 30
    assert {row.verdict for row in found.rows} == {"not_run"}
    reasons = {row.reason for row in found.rows}
    assert reasons == {"NOT_RUN: profile 'gpu' needs CUDA, and the device is cpu"}
    assert {claim["verdict"] for claim in found.json("claims.json")} == {"not_run"}


# --------------------------------------------------------------------------- a user's mistakes
GOOD = '{"prompt": "The capital of France is", "subject": "France", "target_new": "Rome"}'
MISTAKES = {
    "profile": (("--profile", "smok"), "--profile: unknown profile 'smok'", "did you mean 'smoke'?"),
    "method": (("--methods", "ROME,SRC"), "--methods: unknown method 'SRC'", "did you mean 'SCR'?"),
    "claim": (("--claims", "collapse-efrank"), "unknown claim 'collapse-efrank'", "did you mean 'collapse-eff-rank'?"),
    "model id": (("--models", "smollm-135m"), "--models: unknown model 'smollm-135m'", "did you mean 'smollm2-135m'?"),
    "model folder": (("--model", "./nowhere"), "--model: no folder './nowhere'", "expected a folder with config.json"),
    "empty folder": (("--model", "{tmp}/empty"), "{tmp}/empty' has no config.json", "found []"),
    "no edits": (("--edits", "{tmp}/none.jsonl"), "--edits: no file '{tmp}/none.jsonl'", "expected JSONL"),
    "empty edits": (("--edits", "{tmp}/empty.jsonl"), "{tmp}/empty.jsonl", '"prompt": "The capital of France is"'),
    "edits, not JSON": (("--edits", "{tmp}/bad.jsonl"), "{tmp}/bad.jsonl: 1 line(s) are not JSON", "line 2"),
    "device": (("--device", "gpu"), "--device: expected auto, cpu or cuda", "found 'gpu'"),
    "specs": (("--specs", "{tmp}/specs"), "{tmp}/specs/claims/bad.yaml:3", "did you mean 'statement'?"),
}


def mistaken(folder: Path, name: str, *more: str) -> Session:
    """A session with a user's mistake."""
    (folder / "empty").mkdir()
    (folder / "empty.jsonl").write_text("")
    (folder / "bad.jsonl").write_text(GOOD + "\n{'prompt': 'The capital of Italy is'}\n")
    (folder / "specs" / "claims").mkdir(parents=True)
    (folder / "specs" / "claims" / "bad.yaml").write_text("claims:\n  - id: bad\n    statment: Misspelt.\n")
    options = [option.format(tmp=folder) for option in MISTAKES[name][0]]
    profile = () if "--profile" in options else ("--profile", "smoke")
    return fork(folder / "run", *profile, *options, "--store", folder / "store", *more)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_users_mistake_is_a_message_and_exit_code_2(tmp_path: Path, name: str) -> None:
    found = mistaken(tmp_path, name)
    assert found.code == 2, found.output
    for text in MISTAKES[name][1:]:
        assert text.format(tmp=tmp_path) in found.output
    assert "Traceback" not in found.output and ".py:" not in found.output, found.output
    assert found.rows == [] and not (found.run_dir / "cases.json").exists()


def test_too_few_edits_leave_cases_not_run(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(GOOD + "\n")
    options = ("--profile", "smoke", "--claims", "smallpert-norm", "--edits", str(tmp_path / "one.jsonl"))
    found = fork(tmp_path / "run", *options, "--store", tmp_path / "store")
    rows = [row for row in found.rows if row.claim == "smallpert-norm"]
    assert rows and {row.verdict for row in rows} == {"not_run"}, found.output
    assert all("needs chains of 3 edits, and dataset 'own-edits' has 1 records" in row.reason for row in rows)


def test_a_users_mistake_is_one_message_with_workers_too(tmp_path: Path) -> None:
    found = mistaken(tmp_path, "claim", "-n", "1")
    assert found.code == 2, found.output
    assert found.output.count("unknown claim 'collapse-efrank'") == 1
    assert "Traceback" not in found.output and ".py:" not in found.output, found.output


# --------------------------------------------------------------------------- a user's own model and edits
CITIES = {
    "France": "Lyon",
    "Italy": "Turin",
    "Portugal": "Porto",
    "Poland": "Cracow",
    "Austria": "Graz",
    "Norway": "Bergen",
    "Sweden": "Malmo",
    "Denmark": "Aarhus",
    "Switzerland": "Basel",
    "Belgium": "Ghent",
}


@pytest.fixture(scope="module")
def own(common: Path) -> Session:
    """The toy as a folder of the user's, and a JSONL file of ten edits."""
    return once(common, "own model", own_session)


def own_session(run_dir: Path) -> Session:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from editverdict.models.sources import source_folder
    from editverdict.pipeline.setup import load_library

    folder = run_dir.parent
    models = load_library([ROOT / "specs"]).models
    like = source_folder(models["smollm2-135m"].source)
    config = AutoConfig.from_pretrained(like)
    for name, value in models["rehearsal-llama"].source.overrides.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(like).save_pretrained(folder / "model")
    records = [
        {
            "prompt": f"The capital of {country} is",
            "subject": country,
            "target_new": city,
            "target_old": "London",
            "rephrases": [f"{country} has its capital in"],
            "locality": [{"prompt": "The capital of Japan is", "answers": ["Tokyo"], "kind": "same-relation"}],
            "portability": [{"prompt": f"{city} is the capital of", "answers": [country], "kind": "inverse"}],
        }
        for country, city in CITIES.items()
    ]
    (folder / "edits.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "specs" / "profiles").mkdir(parents=True)
    (folder / "specs" / "profiles" / "short.yaml").write_text(f"""profiles:
  - id: short
    describes: one chain of ten edits
    {TOY.strip()}
    claims: [collapse-sigma-min, smallpert-norm, rq1-drop-single-to-seq]
    sizes: {{single_edits: 3, chains: 1, chain_length: 10, long_chain: 10, base_texts: 60, base_tokens: 600,
            norm_tokens: 200, angle_tokens: 200, text_blocks: 4, random_seeds: 3}}
""")
    return fork(
        run_dir,
        *("--profile", "short", "--specs", folder / "specs", "--store", folder / "store"),
        *("--model", folder / "model", "--edits", folder / "edits.jsonl"),
    )


def test_own_model_and_edits_run_through(own: Session) -> None:
    rows = {row.claim: row for row in own.rows}
    assert set(rows) == {"collapse-sigma-min", "smallpert-paired", "smallpert-norm", "rq1-drop-single-to-seq"}
    assert {row.verdict for row in rows.values()} <= {"inconclusive", "invalid"}, [row.reason for row in own.rows]
    assert rows["collapse-sigma-min"].case == "collapse-sigma-min[own-model]"
    assert rows["smallpert-norm"].case == "smallpert-norm[own-model-ROME-own-edits]"
    assert rows["smallpert-norm"].n_units == 3 and rows["smallpert-norm"].estimate > 0
    assert {row.scope for row in rows.values()} == {"extension"}


def test_own_edits_are_asked_about(own: Session) -> None:
    (row,) = [row for row in own.rows if row.claim == "rq1-drop-single-to-seq"]
    assert row.descriptive["edits"] == 10 and "own-model-ROME-own-edits" in row.stands_on
    (complete,) = [check for check in row.checks if check.name == "answers-complete"]
    assert complete.ok and complete.detail == "40 answers to 40 questions"
