"""The claims plugin: options, the matrix of cases as parametrized tests, rows, and what a verdict means to pytest.

A suite's test carries ``@pytest.mark.claim("claim-id")`` and takes ``verdict``. The plugin parametrizes it over the
subjects that the profile plans. Measurement happens in the fixture, so that only the judgement can fail a test body:

    supported -> passed; refuted -> failed (ClaimRefuted); inconclusive, not_run -> skipped;
    invalid -> setup error MeasurementInvalid; broken -> setup error MeasurementBroken.

This plugin does nothing in sessions that collect no test with the marker ``claim``.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from plugins.scheduler import may_collect_cases

if TYPE_CHECKING:
    from editverdict.inference.rows import Row
    from editverdict.pipeline.measurement import Case
    from editverdict.pipeline.trial import Trial

ROOT = Path(__file__).resolve().parents[1]
TRIAL: pytest.StashKey[Trial] = pytest.StashKey()
CASE: pytest.StashKey[Case] = pytest.StashKey()
ROW: pytest.StashKey[Row] = pytest.StashKey()
STARTED: pytest.StashKey[float] = pytest.StashKey()
SHOWN = 20
RUN_DIR_VARIABLE = "EDITVERDICT_RUN_DIR"


class ClaimRefuted(AssertionError):
    """The measured interval lies outside the expected region, and the controls are in order."""


class MeasurementInvalid(Exception):
    """A validity check or a control failed: the number says nothing about the claim."""


class MeasurementBroken(Exception):
    """Infrastructure: memory, a missing file, a bug."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the claim suites."""
    group = parser.getgroup("editverdict", "claims on trial")
    group.addoption(
        "--profile", default="laptop", help="what to measure, and how much (specs/profiles); default: laptop"
    )
    group.addoption("--models", default="", help="comma-separated model ids in place of the profile's")
    group.addoption("--methods", default="", help="comma-separated method ids in place of the profile's")
    group.addoption("--claims", default="", help="comma-separated claim ids in place of the profile's")
    group.addoption("--datasets", default="", help="comma-separated dataset ids in place of the profile's")
    group.addoption(
        "--data",
        action="append",
        default=[],
        metavar="ID=WHERE",
        help="read a dataset from a file, a folder or hub:OWNER/NAME:FILE; may be given several times",
    )
    group.addoption(
        "--triples", default=None, help="judge (specs/judges, format openai) whose model draws the facts of events"
    )
    group.addoption("--judge", default=None, help="judge of answers in place of the profile's (specs/judges)")
    group.addoption("--device", default="auto", help="auto, cpu or cuda")
    group.addoption(
        "--store", default=None, type=Path, help="folder of the artifact store; default: the user's cache folder"
    )
    group.addoption(
        "--specs", action="append", default=[], type=Path, help="a folder with your own specs, laid over ours"
    )
    group.addoption("--model", default=None, help="put your own model on trial: a folder or a hub id")
    group.addoption("--edits", default=None, type=Path, help="put your own edits on trial: a JSON or JSONL file")
    group.addoption(
        "--easyedit-python",
        default=None,
        type=Path,
        help="Python of an environment that holds EasyEdit, for the methods easyedit:X; "
        "default: EDITVERDICT_EASYEDIT_PYTHON",
    )
    group.addoption(
        "--run-dir", default=None, type=Path, help="where results go; default: reports/out/<profile>-<time>"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "claim(id): the claim that a test puts on trial")
    config.addinivalue_line("markers", "gpu: runs a model; the device is --device")
    config.stash[STARTED] = time.monotonic()


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def trial_of(config: pytest.Config) -> Trial:
    """The session's trial, made when the first claim is met; a user's mistake ends the session with exit code 2."""
    if TRIAL in config.stash:
        return config.stash[TRIAL]
    from editverdict.data.errors import DataError
    from editverdict.models.sources import ModelLoadError
    from editverdict.pipeline.setup import Options, UsageError, make_trial
    from editverdict.schema.errors import SpecError

    get = config.getoption
    options = Options(
        profile=get("--profile"),
        models=_split(get("--models")),
        methods=_split(get("--methods")),
        claims=_split(get("--claims")),
        judge=get("--judge"),
        datasets=_split(get("--datasets")),
        data=tuple(get("--data")),
        triples=get("--triples"),
        device=get("--device"),
        store=get("--store"),
        specs=tuple(get("--specs")),
        model=get("--model"),
        edits=get("--edits"),
        easyedit_python=get("--easyedit-python"),
    )
    try:
        trial = make_trial(options, ROOT / "specs")
        if options.edits:
            _report_edits(trial)
    except (SpecError, UsageError, DataError, ModelLoadError) as error:
        pytest.exit(f"\n{error}", returncode=2)
    _prepare(config, trial)
    config.stash[TRIAL] = trial
    return trial


def _report_edits(trial: Trial) -> None:
    """Say what of a user's edits cannot be used, and what makes chaining them doubtful; each with its place."""
    loaded = trial.loaded("own-edits")
    for what, texts in (("left out", loaded.problems), ("doubtful", loaded.warnings)):
        for text in texts[:SHOWN]:
            warnings.warn(f"--edits, {what}: {text}", stacklevel=2)
        if len(texts) > SHOWN:
            warnings.warn(f"--edits, {what}: {len(texts) - SHOWN} more", stacklevel=2)


def run_dir_of(config: pytest.Config) -> Path:
    """Folder of this session's results, the same in the controller and all workers; settled at the first call."""
    told = getattr(config, "workerinput", {}).get(RUN_DIR_VARIABLE)
    chosen = told or config.getoption("--run-dir") or os.environ.get(RUN_DIR_VARIABLE)
    if chosen is None:
        stamp = dt.datetime.now().strftime("%Y%m%d-%H%M%S")
        chosen = config.rootpath / "reports" / "out" / f"{config.getoption('--profile')}-{stamp}"
    os.environ[RUN_DIR_VARIABLE] = str(Path(chosen).absolute())
    return Path(chosen).absolute()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker the run folder; the controller, which collects nothing, learns it here, too."""
    node.workerinput[RUN_DIR_VARIABLE] = str(run_dir_of(node.config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """A user's mistake ends the session here: during collection it would be an error of every file and worker."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    if may_collect_cases(config.args, config.invocation_params.dir, config.rootpath):
        trial_of(config)


def _prepare(config: pytest.Config, trial: Trial) -> None:
    """Run folder, threads, progress and store events."""
    import torch

    from editverdict.pipeline.runs import ProgressFile, git_state
    from editverdict.store import Store

    torch.set_num_threads(trial.profile.threads)
    trial.run_dir = run_dir_of(config)
    trial.run_dir.mkdir(parents=True, exist_ok=True)
    trial.report = ProgressFile(trial.run_dir, f"worker-{trial.worker}")
    trial.store = Store(
        config.getoption("--store"), provenance=git_state(ROOT), events=trial.run_dir / "store-events.jsonl"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item per subject that the profile plans for the test's claim."""
    marker = metafunc.definition.get_closest_marker("claim")
    if marker is None:
        return
    from editverdict.pipeline.matrix import cases_of, planned_claims

    trial = trial_of(metafunc.config)
    claim_id = marker.args[0]
    if claim_id not in trial.library.claims:
        known = ", ".join(trial.library.claims)
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: no claim '{claim_id}' in specs/claims; there are: {known}"
        )
    planned = {claim.id: claim for claim in planned_claims(trial.library, trial.profile)}
    cases = cases_of(trial.library, trial.profile, planned[claim_id]) if claim_id in planned else []
    metafunc.parametrize("case_id", [case.id for case in cases], ids=[case.subject for case in cases], scope="function")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bind items to their cases, mark them, drop tests whose claim is not planned; model-wide cases come first."""
    if not any(item.get_closest_marker("claim") for item in items):
        return
    from editverdict.pipeline.matrix import matrix

    trial = trial_of(config)
    by_id = {case.id: case for case in matrix(trial.library, trial.profile)}
    kept, dropped = [], []
    for item in items:
        if item.get_closest_marker("claim") is None:
            kept.append(item)
            continue
        case = by_id.get(item.callspec.params.get("case_id"))
        if case is None:
            dropped.append(item)
            continue
        item.stash[CASE] = case
        item.add_marker(pytest.mark.gpu)
        kept.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
    items[:] = kept
    _write_names(trial, kept)


def _write_names(trial: Trial, items: list[pytest.Item]) -> None:
    """Which node id is which case: the controller of a parallel session collects nothing itself."""
    if trial.run_dir is None:
        return
    names = {item.nodeid: item.stash[CASE].id for item in items if CASE in item.stash}
    draft = trial.run_dir / f"cases.{os.getpid()}.tmp"
    draft.write_text(json.dumps(names, indent=1))
    draft.replace(trial.run_dir / "cases.json")


class Verdict:
    """What a test body holds in its hand: a judged case."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def must_stand(self) -> None:
        """Pass if the claim is supported in this case; fail if it is refuted; skip if it is inconclusive."""
        if self.row.verdict == "refuted":
            raise ClaimRefuted(self.row.reason)
        if self.row.verdict != "supported":
            pytest.skip(self.row.reason)


@pytest.fixture
def case_id(request: pytest.FixtureRequest) -> str:
    """Id of the case; set by parametrization."""
    return str(request.param)


@pytest.fixture
def verdict(request: pytest.FixtureRequest, trial: Trial, case_id: str) -> Verdict:
    """Measure, judge and record the case of this test."""
    from editverdict.pipeline.cases import judge_case
    from editverdict.pipeline.runs import record

    case = request.node.stash[CASE]
    trial.report(f"judging {case.id}")
    assert_run_dir = trial.run_dir
    if assert_run_dir is None:
        raise MeasurementBroken("the session has no run folder")
    row = record(assert_run_dir, case, judge_case(trial, case))
    request.node.stash[ROW] = row
    request.config.hook.pytest_editverdict_row(item=request.node, row=row, run_dir=assert_run_dir)
    if row.verdict == "invalid":
        raise MeasurementInvalid(row.reason)
    if row.verdict == "broken":
        raise MeasurementBroken("\n".join(part for part in (row.reason, row.traceback) if part))
    if row.verdict == "not_run":
        pytest.skip(row.reason)
    return Verdict(row)


class Hooks:
    """Hooks that this plugin offers to others."""

    def pytest_editverdict_row(self, item: pytest.Item, row: Row, run_dir: Path) -> None:
        """A case was judged and its row is on disk; called before the verdict becomes an outcome."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks."""
    pluginmanager.add_hookspecs(Hooks)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: object) -> None:
    """A killed worker leaves a row, too: broken, with the reason."""
    run_dir = os.environ.get(RUN_DIR_VARIABLE)
    if run_dir is None or not (names := Path(run_dir) / "cases.json").exists():
        return
    case_id = json.loads(names.read_text()).get(crashitem)
    if case_id is not None:
        (Path(run_dir) / "crashed.jsonl").open("a").write(
            json.dumps({"case": case_id, "reason": str(report.longrepr)}) + "\n"
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In the controller (or the only process): rows of crashed cases, claim verdicts, manifest."""
    config = session.config
    if hasattr(config, "workerinput") or not _ran_claims(config):
        return
    from editverdict.pipeline.runs import finish

    trial = trial_of(config)
    _crashed_rows(trial)
    suites = {case.claim.suite for case in _ran_cases(trial)}
    finish(trial, config.rootpath, sorted(suites), round(time.monotonic() - config.stash[STARTED], 1))


def _ran_claims(config: pytest.Config) -> bool:
    run_dir = config.stash[TRIAL].run_dir if TRIAL in config.stash else None
    return run_dir is not None and (run_dir / "cases.json").exists() and not config.option.collectonly


def _ran_cases(trial: Trial) -> list[Case]:
    from editverdict.pipeline.matrix import matrix

    if trial.run_dir is None:
        return []
    names = set(json.loads((trial.run_dir / "cases.json").read_text()).values())
    return [case for case in matrix(trial.library, trial.profile) if case.id in names]


def _crashed_rows(trial: Trial) -> None:
    if trial.run_dir is None or not (file := trial.run_dir / "crashed.jsonl").exists():
        return
    from editverdict.pipeline.cases import blank_row
    from editverdict.pipeline.runs import append_row

    cases = {case.id: case for case in _ran_cases(trial)}
    for line in file.read_text().splitlines():
        crash = json.loads(line)
        row = blank_row(
            trial, cases[crash["case"]], "broken", f"BROKEN: the worker died while measuring: {crash['reason']}"
        )
        append_row(trial.run_dir / "results.jsonl", row)
    file.unlink()  # a later run into the same folder must not find it


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say where results go, once it is known."""
    run_dir = os.environ.get(RUN_DIR_VARIABLE)
    return f"editverdict: results in {run_dir}" if run_dir else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the run folder and how to see it."""
    if _ran_claims(config):
        run_dir = config.stash[TRIAL].run_dir
        terminalreporter.write_line(f"editverdict: results in {run_dir}")
        terminalreporter.write_line(f"editverdict: for the report run: editverdict report {run_dir}")
