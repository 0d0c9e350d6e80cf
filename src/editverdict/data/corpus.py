"""Text corpora for hidden states and covariances."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from editverdict.data.errors import DataError
from editverdict.schema.specs import CorpusSpec

WORDNET_PARTS: tuple[tuple[str, ...], ...] = (
    ("data.adj",),
    ("data.adv",),
    ("data.noun1", "data.noun2"),
    ("data.verb",),
)
"""Database files in reading order; the parts of one file are joined with a newline (``data.noun`` comes in two)."""

_EXAMPLE = re.compile(r'"([^"]+)"')
_SHOWN = 20


def load_corpus(spec: CorpusSpec, paths: Mapping[str, Path] | Path) -> list[str]:
    """Return the distinct texts of a corpus with at least ``spec.min_words`` words, in a fixed shuffled order.

    Texts are read in file order (WordNet: adjectives, adverbs, nouns, verbs; each gloss's definition, then its
    quoted examples), repeated ones dropped, then sorted by the sha256 of the text. That order depends on nothing but
    the texts, so the first ``n`` of them are a fair sample, the same on every machine.

    Parameters
    ----------
    spec
        Format (``wordnet``, ``lines`` or ``jsonl`` with ``{"text": ...}`` per line) and shortest text in words.
    paths
        Member -> path as the package store returns it, or one file, or (for ``wordnet``) the folder of ``data.*``.

    Raises
    ------
    DataError
        When a file is missing or empty, or a line is not what the format wants.
    """
    if spec.format == "wordnet":
        texts: Iterable[str] = _wordnet_texts(_by_name(paths))
    else:
        files = [paths] if isinstance(paths, Path) else list(paths.values())
        reader = _line_texts if spec.format == "lines" else _jsonl_texts
        texts = (text for file in files for text in reader(file))
    long_enough = dict.fromkeys(text for text in texts if len(text.split()) >= spec.min_words)
    if not long_enough:
        raise DataError(
            f"corpus {spec.id!r} ({spec.format}) has no text of at least {spec.min_words} words in {_names(paths)}; "
            "check the file, the format and 'min_words'"
        )
    return sorted(long_enough, key=lambda text: hashlib.sha256(text.encode()).digest())


def corpus_hash(texts: Iterable[str]) -> str:
    """Return the sha256 over the texts in their order, each preceded by its length in bytes."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def split_gloss(gloss: str) -> list[str]:
    """Split a WordNet gloss into its definition (if any) and its quoted examples.

    The definition is what stands before the first quotation mark; remarks after or between the examples are dropped.
    """
    definition = gloss.split('"', 1)[0].strip().rstrip(";:").strip()
    examples = (example.strip() for example in _EXAMPLE.findall(gloss))
    return [text for text in (definition, *examples) if text]


def _by_name(paths: Mapping[str, Path] | Path) -> dict[str, Path]:
    if isinstance(paths, Path):
        return {name: paths / name for part in WORDNET_PARTS for name in part}
    return {member.rsplit("/", 1)[-1]: path for member, path in paths.items()}


def _wordnet_texts(files: Mapping[str, Path]) -> Iterator[str]:
    missing = [name for part in WORDNET_PARTS for name in part if name not in files or not files[name].is_file()]
    if missing:
        raise DataError(
            f"a WordNet corpus needs the files {', '.join(n for part in WORDNET_PARTS for n in part)}; "
            f"not found: {', '.join(str(files.get(name, name)) for name in missing)}"
        )
    for part in WORDNET_PARTS:
        database = "\n".join(_read(files[name]) for name in part)
        for line in database.split("\n"):
            # Lines of the licence text begin with two spaces; every synset line has its gloss after " | ".
            if not line.startswith("  ") and " | " in line:
                yield from split_gloss(line.split(" | ", 1)[1])


def _line_texts(path: Path) -> list[str]:
    return [line.strip() for line in _read(path).splitlines() if line.strip()]


def _jsonl_texts(path: Path) -> list[str]:
    texts, wrong = [], []
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            wrong.append(f"line {number}: not JSON ({error})")
            continue
        if isinstance(record, dict) and isinstance(record.get("text"), str):
            texts.append(record["text"].strip())
        else:
            found = f"fields {sorted(record)}" if isinstance(record, dict) else type(record).__name__
            wrong.append(f"line {number}: expected an object with a string 'text', found {found}")
    if wrong:
        more = f"\n  ... and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f'{path}: {len(wrong)} line(s) are not of the form {{"text": "..."}}:\n  '
            + "\n  ".join(wrong[:_SHOWN])
            + more
            + "\n  For plain text, one text per line, use format 'lines'."
        )
    return texts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path of the corpus") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, expected a text file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); convert it to UTF-8") from None


def _names(paths: Mapping[str, Path] | Path) -> str:
    return str(paths) if isinstance(paths, Path) else ", ".join(map(str, paths.values()))
