"""The report as a whole: fallback without Node, and with Node from a real pytest run to the single file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.inference.rows import Row
from editverdict.reporting.allure import finish_results
from editverdict.reporting.build import build_report, remote_loads, without_tracker
from editverdict.reporting.toolchain import ReportToolError, ensure_allure, find_node

ASSETS = Path(__file__).parents[3] / "reports"
TRACKER = (
    '<script async src="https://www.googletagmanager.com/gtag/js?id=G-X"></script>\n'
    "<script>window.dataLayer = []; gtag('config', 'G-X');</script>"
)

SUITE = """
import allure
import pytest


def label(case):
    allure.dynamic.label("case", case)
    allure.dynamic.parameter("measured", "quoted")


@pytest.mark.parametrize("case_id", ["a"])
def test_supported(case_id):
    label("collapse-eff-rank[smollm2-135m]")


@pytest.mark.parametrize("case_id", ["b"])
def test_refuted(case_id):
    label("amp-many-gt1-single-edit[smollm2-135m-ROME-worldfacts]")
    raise AssertionError("REFUTED")


def test_inconclusive():
    label("pc-dominant-stable-early[smollm2-135m-ROME-worldfacts]")
    pytest.skip("INCONCLUSIVE")
"""


def node_or_skip() -> None:
    try:
        find_node()
    except ReportToolError as error:
        pytest.skip(f"needs Node: {error}")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw Allure results of one real pytest run over three cases."""
    pytest.importorskip("allure_pytest")
    suite = tmp_path_factory.mktemp("suite")
    (suite / "test_three.py").write_text(SUITE, encoding="utf-8")
    (suite / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    folder = suite / "allure-results"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--alluredir={folder}", str(suite)]
    done = subprocess.run(command, cwd=suite, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # one claim is refuted
    return folder


@pytest.fixture
def raw_results(run_dir: Path, recorded: Path) -> Path:
    """A copy of the raw results within the run folder; three of its six rows have none."""
    return Path(shutil.copytree(recorded, run_dir / "allure-results"))


def results_by_case(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in folder.glob("*-result.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        found[next(item["value"] for item in result["labels"] if item["name"] == "case")] = result
    return found


def test_finished_results_carry_expected_and_actual(
    raw_results: Path, rows: list[Row], manifest: dict[str, Any]
) -> None:
    done = finish_results(raw_results, rows, manifest)
    found = results_by_case(raw_results)
    assert done.updated == 3
    assert set(found) == {row.case for row in rows}
    refuted = found[rows[1].case]
    assert refuted["status"] == "failed"
    assert refuted["statusDetails"]["expected"] == "share-amplified >= 0.5"
    assert refuted["statusDetails"]["actual"].startswith("share-amplified = 0.0031 [0.0012, 0.0049]")
    values = {item["name"]: item["value"] for item in refuted["parameters"]}
    assert values["case_id"] == "b"  # the adapter had written 'b' with quotes
    assert values["measured"] == "0.0031"
    assert ("method", "ROME") in {(item["name"], item["value"]) for item in refuted["labels"]}


def test_rows_without_result_get_one(raw_results: Path, rows: list[Row], manifest: dict[str, Any]) -> None:
    done = finish_results(raw_results, rows, manifest)
    assert set(done.synthetic) == {row.case for row in rows[3:]}
    found = results_by_case(raw_results)
    broken = found[rows[4].case]
    assert broken["status"] == "broken"
    assert "out of memory" in broken["statusDetails"]["trace"]
    for item in broken["attachments"]:
        assert (raw_results / item["source"]).stat().st_size > 0


def test_finishing_twice_changes_nothing(raw_results: Path, rows: list[Row], manifest: dict[str, Any]) -> None:
    finish_results(raw_results, rows, manifest)
    first = results_by_case(raw_results)
    again = finish_results(raw_results, rows, manifest)
    assert again.synthetic == ()
    assert results_by_case(raw_results) == first


def test_damaged_orphaned_and_disagreeing_results_are_named(
    raw_results: Path, rows: list[Row], manifest: dict[str, Any], row_with: Callable[..., Row]
) -> None:
    (raw_results / "0-result.json").write_text('{"labels": [', encoding="utf-8")
    changed = [row_with(verdict="refuted"), *rows[2:]]  # pytest passed the first; the second has no row
    done = finish_results(raw_results, changed, manifest)
    assert done.damaged == ("0-result.json",)
    assert not (raw_results / "0-result.json").exists()
    assert done.orphans == (rows[1].case,)
    assert done.disagreements == (rows[0].case,)


def test_manifest_becomes_properties(raw_results: Path, rows: list[Row], manifest: dict[str, Any]) -> None:
    finish_results(raw_results, rows, manifest)
    lines = (raw_results / "environment.properties").read_text(encoding="utf-8").splitlines()
    assert "versions.torch=2.13.0" in lines
    assert "dirty=yes" in lines
    assert all("=" in line for line in lines)


def test_tracker_is_removed_and_requests_are_forbidden() -> None:
    clean = without_tracker(f"<html><head><title>t</title>{TRACKER}</head><body>kept</body></html>")
    assert "googletagmanager" not in clean
    assert "gtag" not in clean
    assert "Content-Security-Policy" in clean
    assert "kept" in clean


@pytest.mark.parametrize(
    "page",
    [
        "<html><head><script src='https://www.googletagmanager.com/other.js'></script></head></html>",
        "<html><head><script src='//example.org/a.js'></script></head></html>",
        "<html><head><link rel=stylesheet href='http://example.org/a.css'></head></html>",
    ],
)
def test_page_that_still_loads_something_is_refused(page: str) -> None:
    with pytest.raises(ReportToolError):
        without_tracker(page)


def test_addresses_within_scripts_are_no_loads() -> None:
    page = """<html><script>const a = '<img src="https://example.org/x">';</script></html>"""
    assert remote_loads(page) == []


def test_without_node_the_summary_is_the_report(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_dir / "allure-results").mkdir()
    (run_dir / "allure-results" / "a-result.json").write_text("{}", encoding="utf-8")
    (run_dir / "allure.html").write_text("of an earlier build", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing-here"))
    built = build_report(run_dir, ASSETS, cache_dir=tmp_path / "cache")
    assert built.report == built.summary == run_dir / "summary.html"
    assert built.allure is None
    assert "Node is not on the PATH" in built.message
    assert "editverdict report" in built.message
    assert not (run_dir / "allure.html").exists()  # a stale report would pass for this one


def fake_programs(folder: Path, node: str, npm: str) -> None:
    folder.mkdir()
    for name, body in (("node", node), ("npm", npm)):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
@pytest.mark.parametrize(
    ("node", "npm", "words"),
    [
        ("echo v18.2.0", "exit 0", "is version v18.2.0"),
        ("echo v20.1.0", "echo network is down; exit 1", "network is down"),
        ("echo v20.1.0", "exit 0", "is not there"),
    ],
)
def test_old_node_and_failing_npm_fall_back(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, npm: str, words: str
) -> None:
    (run_dir / "allure-results").mkdir()
    (run_dir / "allure-results" / "a-result.json").write_text("{}", encoding="utf-8")
    fake_programs(tmp_path / "bin", node, npm)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    built = build_report(run_dir, ASSETS, cache_dir=tmp_path / "cache")
    assert built.allure is None
    assert words in built.message
    assert built.report.is_file()
    left = {path.name for path in (tmp_path / "cache").iterdir()} if (tmp_path / "cache").exists() else set()
    assert left <= {".lock"}  # no half-finished installation


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
def test_hanging_generator_is_stopped(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_dir / "allure-results").mkdir()
    (run_dir / "allure-results" / "a-result.json").write_text("{}", encoding="utf-8")
    install = "mkdir -p node_modules/allure && : > node_modules/allure/cli.js"
    fake_programs(tmp_path / "bin", 'test "$1" = --version && echo v20.1.0 || exec sleep 60', install)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    built = build_report(run_dir, ASSETS, cache_dir=tmp_path / "cache", timeout=0.5)
    assert "took longer than 0.5 s" in built.message
    assert built.seconds < 30


def test_lockfile_is_pinned_and_names_no_registry() -> None:
    lock = json.loads((ASSETS / "package-lock.json").read_text(encoding="utf-8"))
    wanted = json.loads((ASSETS / "package.json").read_text(encoding="utf-8"))["dependencies"]["allure"]
    packages = {name: item for name, item in lock["packages"].items() if name}
    assert packages["node_modules/allure"]["version"] == wanted
    assert all("integrity" in item and "resolved" not in item for item in packages.values())


def test_from_pytest_run_to_single_file(
    raw_results: Path, run_dir: Path, rows: list[Row], manifest: dict[str, Any]
) -> None:
    node_or_skip()
    before = sorted(ASSETS.iterdir())
    try:
        ensure_allure(ASSETS)  # in the user's cache folder, as for a user
    except ReportToolError as error:
        pytest.skip(f"the generator cannot be installed here: {error}")
    finish_results(raw_results, rows, manifest)
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in offline.items():
            patch.setenv(name, value)
        built = build_report(run_dir, ASSETS)
        assert built.allure is not None, built.message
        assert built.report == built.allure
        history = run_dir.parent / "history.jsonl"
        assert len(history.read_text(encoding="utf-8").splitlines()) == 1
        build_report(run_dir, ASSETS)
    assert len(history.read_text(encoding="utf-8").splitlines()) == 1  # the same run drawn again is one point
    page = built.report.read_text(encoding="utf-8")
    assert "googletagmanager" not in page
    assert remote_loads(page) == []
    assert '<script src="https://' not in page
    assert sorted(ASSETS.iterdir()) == before  # the checkout is not littered
