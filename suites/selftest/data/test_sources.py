"""Where a dataset's files come from: a real server in a process of its own, a hub's client, and every way to fail."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from editverdict.data import DataError, DataNotHereError, load_dataset
from editverdict.data.sources import dataset_files
from editverdict.schema.errors import SpecError
from editverdict.schema.library import SpecLibrary
from editverdict.schema.sources import HubFiles, UrlFile
from editverdict.schema.specs import DatasetSpec
from editverdict.store.packaged import OFFLINE_VARIABLE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
EDIT = {"prompt": "The capital of Freedonia is", "subject": "Freedonia", "target_new": "Quux"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served")
    (path / "one.json").write_text(json.dumps([EDIT | {"id": "1"}]), encoding="utf-8")
    (path / "part").mkdir()
    (path / "part" / "two.json").write_text(json.dumps([EDIT | {"id": "2"}]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    command = [sys.executable, str(HERE / "serve.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.terminate()


def at(url: str, sha256: str | None = None) -> DatasetSpec:
    return DatasetSpec(id="far", format="jsonl", source=UrlFile(url=url, sha256=sha256))


def asked(folder: Path) -> list[str]:
    log = folder / "requests.log"
    return log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []


def test_a_file_on_the_web_is_fetched_once(
    address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256((folder / "one.json").read_bytes()).hexdigest()
    spec = at(f"{address}/files/one.json", digest)
    before = len(asked(folder))
    assert [r.id for r in load_dataset(spec, cache=tmp_path).records] == ["1"]
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")  # what is here needs no network
    assert [r.id for r in load_dataset(spec, cache=tmp_path).records] == ["1"]
    assert asked(folder)[before:] == ["GET /files/one.json"]
    with pytest.raises(
        DataError, match=rf"{OFFLINE_VARIABLE} forbids downloads.*source: \{{kind: folder, path: FILE\}}"
    ):
        load_dataset(at(f"{address}/files/part/two.json"), cache=tmp_path)


def test_another_checksum_is_refused_whether_fetched_or_kept(address: str, tmp_path: Path) -> None:
    url = f"{address}/files/one.json"
    with pytest.raises(DataError, match=f"sha256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        load_dataset(at(url, "0" * 64), cache=tmp_path)
    assert list(tmp_path.rglob("*.json")) == []
    load_dataset(at(url), cache=tmp_path)
    with pytest.raises(DataError, match="the file has changed or is damaged"):
        load_dataset(at(url, "0" * 64), cache=tmp_path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/files/none.json", "404"),
        ("/error/one.json", "500"),
        ("/short/one.json", "bytes"),
    ],
)
def test_a_fetch_that_fails_says_so_and_leaves_nothing(address: str, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(DataNotHereError, match=rf"dataset 'far': {address}{path} cannot be fetched: .*{said}"):
        load_dataset(at(address + path), cache=tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"] == []


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotHereError, match=r"cannot be fetched: URLError: .*refused.*Download it by hand"):
        load_dataset(at("http://127.0.0.1:9/one.json"), cache=tmp_path)


CLIENT = """
import sys
from editverdict.data import DataError, DataNotHereError, load_dataset
from editverdict.schema.sources import HubFiles
from editverdict.schema.specs import DatasetSpec
source = HubFiles(repo="someone/edits", revision="v1", files=tuple(sys.argv[1:]))
try:
    loaded = load_dataset(DatasetSpec(id="hub", format="jsonl", source=source))
    print([record.source for record in loaded.records])
except DataError as error:
    print("DataError:", error)
"""


def hub(address: str, home: Path, *files: str) -> str:
    """What the hub's client gives in a process whose hub is the server here."""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "PYTHONPATH": str(ROOT / "src")}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *files], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_files_on_a_hub_are_read_in_their_order(address: str, folder: Path, tmp_path: Path) -> None:
    before = len(asked(folder))
    assert hub(address, tmp_path, "part/two.json", "one.json") == "['two.json, index 0', 'one.json, index 0']"
    assert "GET /datasets/someone/edits/resolve/v1/part/two.json" in " ".join(asked(folder)[before:])
    said = hub(address, tmp_path, "one.json", "none.json")
    assert said.startswith("DataError: dataset 'hub': 'none.json' of 'someone/edits' (revision v1) cannot be had")
    assert "source: {kind: folder, path: FILE}" in said


def test_the_datasets_of_the_paper_name_their_files(tmp_path: Path) -> None:
    datasets = SpecLibrary.load(ROOT / "specs").datasets
    zsre, wikidata = datasets["zsre"].source, datasets["wikidata-counterfact"].source
    assert isinstance(zsre, HubFiles) and isinstance(wikidata, HubFiles)
    assert zsre.repo == wikidata.repo == "zjunlp/KnowEdit" and zsre.files != wikidata.files
    assert {name for name, spec in datasets.items() if spec.in_paper} == {"zsre", "wikidata-counterfact", "elken"}
    # A user's folder in their place, by overlay.
    (tmp_path / "own.json").write_text(json.dumps([EDIT]), encoding="utf-8")
    overlay = tmp_path / "own.yaml"
    overlay.write_text(
        f"datasets: [{{id: zsre, format: knowedit, source: {{kind: folder, path: '{tmp_path / 'own.json'}'}}}}]\n",
        encoding="utf-8",
    )
    mine = SpecLibrary.load(ROOT / "specs", overlay).datasets["zsre"]
    assert dataset_files(mine) == [tmp_path / "own.json"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{kind: hub, repo: a/b}", "files"),
        ("{kind: hub, repo: a/b, files: []}", "files"),
        ("{kind: url, url: 'ftp://a/b.json'}", "url"),
        ("{kind: url, url: 'https://a/'}", "url"),
        ("{kind: url, url: 'https://a/b.json', sha256: abc}", "sha256"),
    ],
)
def test_a_source_that_names_no_file_is_an_error_of_the_spec(tmp_path: Path, source: str, said: str) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(f"datasets:\n  - id: d\n    format: jsonl\n    source: {source}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=rf"d.yaml:4: .*source.*{said}"):
        SpecLibrary.load(file)
