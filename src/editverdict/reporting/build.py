"""From a run folder to one HTML file.

The static summary is always written. Where Node is at hand the Allure report is built as well, from the raw results,
without network, and with the tracker that its generator puts in taken out. Whatever goes wrong there costs only the
Allure report: the summary stays, with a message that says why and how to get the other.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

from editverdict.reporting.files import write_text
from editverdict.reporting.html import write_summary
from editverdict.reporting.run import Run, load_run
from editverdict.reporting.toolchain import MIN_NODE, ReportToolError, ensure_allure, find_node, run

MAX_REPORT_MIB = 50
_GENERATE_SECONDS = 240
_SETTINGS = "EDITVERDICT_ALLURE_SETTINGS"
_TRACKER = re.compile(
    r"<script async src=\"https://www\.googletagmanager\.com/.*?</script>\s*<script>.*?gtag\('config'.*?</script>", re.S
)
# Nothing may be fetched from anywhere: the browser itself enforces what the check below has looked for.
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "form-action 'none'\">"
)


@dataclass(frozen=True)
class ReportPaths:
    """What was built."""

    report: Path
    """The report: Allure's page if it was built, else the static summary."""
    summary: Path
    allure: Path | None
    message: str
    """One or two sentences for the terminal: what the report is, or why there is no Allure report and what to do."""
    seconds: float


# ------------------------------------------------------------------------------- privacy
class _Remote(HTMLParser):
    """Collects addresses that a page would load by itself; text within scripts is not markup."""

    _LOADS: ClassVar[dict[str, str]] = {"link": "href", "object": "data"} | dict.fromkeys(
        ("script", "img", "iframe", "source", "embed", "video", "audio"), "src"
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an address outside the file."""
        address = dict(attrs).get(self._LOADS.get(tag, ""))
        if address and re.match(r"\s*(https?:)?//", address, re.I):
            self.found.append(f"<{tag}> {address[:120]}")


def remote_loads(html: str) -> list[str]:
    """Everything that the page's markup would load from elsewhere."""
    parser = _Remote()
    parser.feed(html)
    parser.close()
    return parser.found


def without_tracker(html: str) -> str:
    """The page without the tracker, and with a policy that forbids every request.

    Raises
    ------
    ReportToolError
        If a trace of the tracker, or anything loaded from elsewhere, remains.
    """
    clean = _TRACKER.sub("", html)
    if "googletagmanager" in clean:
        raise ReportToolError("the generated page still names its tracker (its markup has changed); it is not kept")
    left = remote_loads(clean)
    if left:
        raise ReportToolError(f"the generated page would load {left[0]} from elsewhere; it is not kept")
    marked, count = re.subn(r"<head[^>]*>", lambda m: m[0] + _POLICY, clean, count=1)
    if count == 0:
        raise ReportToolError("the generated page has no <head> to put the content policy in; it is not kept")
    return marked


# ------------------------------------------------------------------------------- generation
def _settings(read: Run, output: Path, history: Path) -> dict[str, Any]:
    return {
        "name": f"editverdict · {read.path.name}",
        "output": str(output),
        "historyPath": str(history),
        "models": list(dict.fromkeys(row.model for row in read.rows if row.model)),
    }


def _copy_history(source: Path, target: Path, name: str) -> None:
    """Earlier runs only: a run that is drawn again must not count twice."""
    kept = []
    for line in source.read_text(encoding="utf-8").splitlines() if source.is_file() else []:
        try:
            known = json.loads(line)
        except ValueError:
            continue
        if isinstance(known, dict) and known.get("name") != name:
            kept.append(line)
    target.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _generate(read: Run, assets_dir: Path, cache_dir: Path | None, history: Path, timeout: float) -> Path:
    """Build the single-file Allure report; returns its path."""
    results = read.path / "allure-results"
    if not any(results.glob("*-result.json")):
        raise ReportToolError(f"{results} holds no results; run the suite with Allure results switched on")
    node, config = find_node(), assets_dir / "allurerc.mjs"
    if not config.is_file():
        raise ReportToolError(f"{config}: no such file; the report's assets are incomplete")
    cli = ensure_allure(assets_dir, cache_dir)
    with tempfile.TemporaryDirectory(prefix="editverdict-report-") as scratch:
        work = Path(scratch)
        settings = _settings(read, work / "html", work / "history.jsonl")
        (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        _copy_history(history, work / "history.jsonl", settings["name"])
        command = [node, str(cli), "generate", str(results.resolve()), "--config", str(config.resolve())]
        log = run(command, timeout, cwd=work, env=os.environ | {_SETTINGS: str(work / "settings.json")})
        page = work / "html" / "index.html"
        if not page.is_file():
            raise ReportToolError(f"the generator wrote no index.html: {log.strip()[-300:] or 'it printed nothing'}")
        target = read.path / "allure.html"
        write_text(target, without_tracker(page.read_text(encoding="utf-8")))
        if (work / "history.jsonl").stat().st_size:
            write_text(history, (work / "history.jsonl").read_text(encoding="utf-8"))
    return target


def build_report(
    run_dir: Path,
    assets_dir: Path,
    *,
    cache_dir: Path | None = None,
    history: Path | None = None,
    timeout: float = _GENERATE_SECONDS,
) -> ReportPaths:
    """Write the static summary and, where possible, the Allure report of a run.

    Parameters
    ----------
    run_dir
        Run folder with ``results.jsonl``; Allure needs ``allure-results/`` in it.
    assets_dir
        Folder with ``package.json``, ``package-lock.json`` and ``allurerc.mjs`` (the top-level ``reports/``).
    cache_dir
        Where the generator is installed; by default the user's cache folder.
    history
        Allure's history of runs; by default ``history.jsonl`` beside the run folder.
    timeout
        Seconds that the generation may take.

    Raises
    ------
    RunFolderError
        If the run folder itself cannot be read; nothing that concerns Node or Allure ever raises.
    """
    started = time.monotonic()
    summary = write_summary(run_dir)
    made: Path | None = None
    try:
        made = _generate(load_run(run_dir), assets_dir, cache_dir, history or run_dir.parent / "history.jsonl", timeout)
        message = "Allure report, one file, opens without a server. The static summary is beside it."
        size = made.stat().st_size / 2**20
        if size > MAX_REPORT_MIB:
            message += f" It is large ({size:.0f} MiB): slow browsers may prefer the summary."
    except (ReportToolError, OSError, UnicodeError) as error:
        (run_dir / "allure.html").unlink(missing_ok=True)
        message = (
            f"No Allure report: {error}. The static summary has every claim, number, control and picture. For the "
            f"Allure report have Node {MIN_NODE} or newer and npm on the PATH (network is needed once) and run "
            "`editverdict report` on this run again."
        )
    return ReportPaths(made or summary, summary, made, message, time.monotonic() - started)
