"""The scheduler, with real workers: one set-up per subject, one failed test per killed worker, no hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from editverdict.schema.library import SpecLibrary
from plugins import scheduler, units

ROOT = Path(scheduler.__file__).parents[1]

# Twelve claims over five subjects in two modules: the subject is all that is inside the brackets.
CLAIMS = """
import os, pathlib, signal, time
import pytest

LOG = pathlib.Path(os.environ["SETUPS"])
SUBJECTS = ["m-ROME-facts", "m-SCR-facts", "m-noop-facts", "m-placebo-facts", "m"]

def note(kind, text):
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{kind} {os.environ.get('PYTEST_XDIST_WORKER', 'alone')} {text}\\n".encode())
    os.close(descriptor)

def claim(body=lambda subject: None):
    @pytest.mark.parametrize("model", SUBJECTS, indirect=True, ids=str)
    def test(model, request):
        note("run", request.node.nodeid)
        time.sleep(float(os.environ.get("PAUSE", "0.01")))
        body(model)
    return test

def kill(subject):
    if subject in os.environ.get("KILL", "").split(","):
        os.kill(os.getpid(), signal.SIGKILL)
"""
CONFTEST = """
import pytest
pytest_plugins = ["plugins.devices", "plugins.scheduler"]

@pytest.fixture(scope="session")
def model(request):
    from claims import note
    note("setup", request.param)
    return request.param
"""
SUITE = "import os\nfrom claims import claim, kill\n"
FILES = {
    "claims.py": CLAIMS,
    "conftest.py": CONFTEST,
    "pytest.ini": "[pytest]\n",
    "suites/hypotheses/test_a.py": SUITE + "test_a1 = claim()\ntest_a2 = claim(kill)\ntest_a3 = claim()\n",
    "suites/benchmark/test_b.py": SUITE + "test_b1 = claim()\n",
}
SUBJECTS = ("m-ROME-facts", "m-SCR-facts", "m-noop-facts", "m-placebo-facts", "m")


@dataclass
class Run:
    """What a session did."""

    code: int
    output: str
    outcomes: dict[str, str]
    setups: list[tuple[str, str]]
    """(worker, subject)"""
    runs: list[tuple[str, str]]
    """(worker, node id)"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(project: Path, *args: str, **environ: str) -> Run:
    """A session in a process of its own; a hang is a failure after two minutes."""
    log, xml = project / "log.txt", project / "junit.xml"
    log.unlink(missing_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Without the other installed plugins, which cost seconds per process.
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "SETUPS": str(log), **environ}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "xdist.plugin",
        "-p",
        "no:cacheprovider",
        f"--junitxml={xml}",
        *args,
    ]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=120, check=False)
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()] if log.exists() else []
    outcomes = {}
    for case in ElementTree.parse(xml).iter("testcase"):
        worst = next((kind for kind in ("error", "failure", "skipped") if case.find(kind) is not None), "passed")
        name = f"{case.get('classname')}::{case.get('name')}"
        assert name not in outcomes or outcomes[name] == worst, f"{name} was reported twice\n{done.stdout}"
        outcomes[name] = worst
    return Run(
        done.returncode,
        done.stdout + done.stderr,
        outcomes,
        [(worker, text) for kind, worker, text in lines if kind == "setup"],
        [(worker, text) for kind, worker, text in lines if kind == "run"],
    )


@pytest.mark.parametrize("workers", ["2", "4"])
def test_each_subject_is_set_up_once(project: Path, workers: str) -> None:
    result = run(project, "-n", workers)
    assert result.code == 0, result.output
    assert Counter(subject for _, subject in result.setups) == dict.fromkeys(SUBJECTS, 1)
    assert len(result.outcomes) == len(result.runs) == 20
    assert len({worker for worker, _ in result.runs}) == int(workers)  # and the work was spread
    homes = defaultdict(set)
    for worker, nodeid in result.runs:
        homes[units.group_of(nodeid)].add(worker)
    assert set(homes) == set(SUBJECTS) and all(len(workers_of) == 1 for workers_of in homes.values())


def test_more_workers_than_subjects(project: Path) -> None:
    result = run(project, "-n", "4", "-k", "SCR or noop")
    assert result.code == 0 and len(result.outcomes) == 8, result.output
    assert Counter(subject for _, subject in result.setups) == {"m-SCR-facts": 1, "m-noop-facts": 1}


@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_a_killed_worker_costs_exactly_the_killing_test(project: Path, workers: str) -> None:
    result = run(project, "-n", workers, KILL="m-noop-facts")
    assert result.code == 1, result.output
    assert len(result.outcomes) == 20
    assert [name for name, outcome in result.outcomes.items() if outcome != "passed"] == [
        "suites.hypotheses.test_a::test_a2[m-noop-facts]"
    ]
    assert Counter(nodeid for _, nodeid in result.runs).most_common(1)[0][1] == 1  # nothing ran twice
    setups = Counter(subject for _, subject in result.setups)
    assert setups.pop("m-noop-facts") == 2  # once more, for the tests after the killing one
    assert set(setups.values()) == {1}  # the others' tests stayed where their model was


def test_several_killed_workers(project: Path) -> None:
    result = run(project, "-n", "2", KILL=",".join(SUBJECTS[:3]))
    assert len(result.outcomes) == 20, result.output
    failed = sorted(name for name, outcome in result.outcomes.items() if outcome != "passed")
    assert failed == sorted(f"suites.hypotheses.test_a::test_a2[{subject}]" for subject in SUBJECTS[:3])


def test_the_last_test_may_kill_its_worker(project: Path) -> None:
    result = run(project, "-n", "2", "-k", "a2 and SCR", KILL="m-SCR-facts")
    assert list(result.outcomes.values()) == ["error"] and result.code == 1, result.output


def test_no_restart_ends_without_a_hang(project: Path) -> None:
    result = run(project, "-n", "2", "--max-worker-restart", "0", KILL="m-ROME-facts")
    assert result.code != 0 and "worker restarting disabled" in result.output


def test_without_workers_nothing_changes(project: Path) -> None:
    result = run(project)
    assert result.code == 0 and len(result.outcomes) == 20, result.output


def test_ordinary_sessions_keep_the_mode_that_dist_names(project: Path) -> None:
    other = project / "suites" / "selftest"
    other.mkdir()
    for name in "cd":
        (other / f"test_{name}.py").write_text(SUITE + "test_1 = claim()\ntest_2 = claim()\n")
    result = run(project, "suites/selftest", "-n", "2", "--dist", "loadfile")
    assert result.code == 0 and len(result.outcomes) == 20, result.output
    homes = defaultdict(set)
    for worker, nodeid in result.runs:
        homes[nodeid.partition("::")[0]].add(worker)
    assert [len(workers) for workers in homes.values()] == [1, 1]
    result = run(project, "suites/selftest", "-n", "2", "--dist", "each")
    assert result.code == 0 and len(result.runs) == 40, result.output


def test_the_default_mode_is_delegated_to(project: Path) -> None:
    from xdist.scheduler import LoadScheduling

    chosen = LoadScheduling.__name__
    (project / "spy.py").write_text(
        "def pytest_sessionfinish(session):\n"
        "    dsession = session.config.pluginmanager.get_plugin('dsession')\n"
        "    if dsession: print('CHOSEN', type(dsession.sched._chosen).__name__)\n"
    )
    (project / "test_plain.py").write_text("def test_1(): pass\ndef test_2(): pass\n")
    result = run(project, "test_plain.py", "-n", "2", "-p", "spy", "-s", PYTHONPATH=f"{ROOT}:{project}")
    assert result.code == 0 and f"CHOSEN {chosen}" in result.output, result.output
    result = run(project, "suites", "-n", "2", "-p", "spy", "-s", PYTHONPATH=f"{ROOT}:{project}")
    assert result.code == 0 and "CHOSEN SubjectScheduling" in result.output, result.output


def test_different_collections_are_an_error_not_a_hang(project: Path) -> None:
    with (project / "suites/hypotheses/test_a.py").open("a") as file:
        file.write("if os.environ.get('PYTEST_XDIST_WORKER') == 'gw1':\n    test_a4 = claim()\n")
    result = run(project, "-n", "2")
    assert result.code != 0 and "collected other tests than" in result.output
    assert result.runs == []


def test_longest_first_by_recorded_durations(project: Path) -> None:
    file = project / "state" / "durations.json"
    first = run(project, "-n", "2", f"--case-durations={file}")
    assert first.code == 0, first.output
    recorded = json.loads(file.read_text())
    assert len(recorded) == 20 and all(seconds >= 0.01 for seconds in recorded.values())
    recorded = {nodeid: 100.0 if nodeid.endswith("[m]") else 1.0 for nodeid in recorded}
    file.write_text(json.dumps(recorded))
    second = run(project, "-n", "1", f"--case-durations={file}")
    assert second.runs[0][1].endswith("[m]")  # last in the order of collection
    file.write_text("[broken")
    third = run(project, "-n", "1", f"--case-durations={file}")
    assert third.code == 0 and "not used" in third.output
    assert len(json.loads(file.read_text())) == 20


def test_units_are_ordered_by_length() -> None:
    ids = [f"suites/hypotheses/test_a.py::test_{i}[{s}]" for s in "xyz" for i in range(2)]
    ids += ["suites/benchmark/test_b.py::test_0[y]", "suites/hypotheses/test_c.py::test_plain"]
    assert units.ordered_units(ids, {}) == [[2, 3, 6], [0, 1], [4, 5], [7]]
    # 9 s for z; the mean of the known (5 s) for each of x's and y's other tests
    assert units.ordered_units(ids, {ids[4]: 9.0, ids[2]: 1.0}) == [[4, 5], [2, 3, 6], [0, 1], [7]]


def test_timed_claims_are_one_unit_before_the_methods() -> None:
    """Whatever their subjects: workers that came to them together would wait for each other."""
    timed = "suites/benchmark/test_efficiency.py"
    ids = [f"suites/hypotheses/test_a.py::test_{i}[m-{s}]" for s in ("ROME", "SCR") for i in range(3)]
    ids += [f"{timed}::test_latency[m-ROME]", f"{timed}::test_latency[m-SCR]", "suites/hypotheses/test_a.py::test[m]"]
    assert units.ordered_units(ids, {}) == [[8], [6, 7], [0, 1, 2], [3, 4, 5]]
    assert units.ordered_units(ids, {ids[0]: 900.0})[:2] == [[8], [6, 7]]
    two = [f"{timed}::test_{name}[{m}-ROME]" for name in ("latency", "memory") for m in ("m", "n")]
    assert units.ordered_units(two, {}) == [[0, 2, 1, 3]]  # model by model
    claims = SpecLibrary.load(ROOT / "specs").claims.values()
    here = (ROOT / timed).read_text()
    assert all(f'claim("{claim.id}")' in here for claim in claims if claim.timed)


def test_rules_over_tables_come_last_one_by_one() -> None:
    rules = [f"suites/consistency/test_t.py::test[rule-table-{i:02d}]" for i in range(3)]
    ids = [rules[0], "suites/hypotheses/test_a.py::test[m-ROME]", *rules[1:], "suites/hypotheses/test_a.py::test[m]"]
    assert units.ordered_units(ids, {}) == [[4], [1], [0], [2], [3]]
    # whatever they took, and however long a case without a record may be
    assert units.ordered_units(ids, {ids[1]: 600.0, rules[2]: 900.0})[-3:] == [[0], [2], [3]]


def test_rules_and_cases_share_a_session(project: Path) -> None:
    file = project / "suites/consistency/test_tables.py"
    file.parent.mkdir(parents=True)
    rules = "[f'rule-table-{i:02d}' for i in range(30)]"
    file.write_text(
        "import os, pytest\n\n"
        f"@pytest.mark.parametrize('rule', {rules})\n"
        "def test_rule(rule):\n"
        "    worker = os.environ['PYTEST_XDIST_WORKER']\n"
        "    open(os.environ['SETUPS'], 'a').write(f'run {worker} suites/consistency/test_tables.py::[{rule}]\\n')\n"
    )
    result = run(project, "-n", "2")
    assert result.code == 0 and len(result.outcomes) == len(result.runs) == 50, result.output
    spread = Counter(worker for worker, nodeid in result.runs if units.is_rule(nodeid))
    assert spread.total() == 30  # on one worker or both: whoever is done with the cases takes them
    for name in spread:  # on every worker all cases come before all rules
        own = [units.is_rule(nodeid) for worker, nodeid in result.runs if worker == name]
        assert own == sorted(own)


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("suites/hypotheses/test_x.py::test_y[smollm2-135m-ROME-worldfacts]", "smollm2-135m-ROME-worldfacts"),
        ("suites/benchmark/test_z.py::TestA::test_y[smollm2-135m]", "smollm2-135m"),
        ("suites/hypotheses/test_x.py::test[amp-c[m-ROME-facts]]", "m-ROME-facts"),
        ("project/suites/hypotheses/test_x.py::test[m]", "m"),
        ("suites/hypotheses/test_x.py::test_plain", "suites/hypotheses/test_x.py"),
        ("suites/selftest/test_x.py::test[m]", "suites/selftest/test_x.py"),
        ("suites/benchmark/test_efficiency.py::test_y[m-ROME-facts]", "suites/benchmark/test_efficiency.py"),
        ("suites/consistency/test_t.py::test[rule-table-03]", "suites/consistency/test_t.py::test[rule-table-03]"),
        ("mysuites/hypotheses/test_x.py::test[m]", "mysuites/hypotheses/test_x.py"),
    ],
)
def test_groups(nodeid: str, group: str) -> None:
    assert units.group_of(nodeid) == group


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), False),
        (("suites/hypotheses",), True),
        (("suites/hypotheses/test_a.py::test_a1",), True),
        (("suites",), True),
        ((".",), True),
        (("suites/selftest",), False),
        (("suites/selftest", "suites/benchmark"), True),
    ],
)
def test_auto_workers_only_where_cases_may_be(project: Path, args: tuple[str, ...], expected: bool) -> None:
    assert scheduler.may_collect_cases(args, project, project) is expected


def test_auto_takes_one_worker_per_visible_gpu(project: Path) -> None:
    result = run(project, "-n", "auto", CUDA_VISIBLE_DEVICES="3,5,6")
    assert result.code == 0 and len({worker for worker, _ in result.runs}) == 3, result.output
