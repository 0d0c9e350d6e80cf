"""YAML: which scalar is what, where everything stands, and what no file may do to the loader."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from editverdict.schema import SpecError, yaml_loader
from editverdict.schema.yaml_loader import parse_yaml, read_yaml

SCALARS = {
    "1e-6": 1e-6,
    "1E6": 1e6,
    "1.7e-8": 1.7e-8,
    "-2.5e+3": -2500.0,
    "+.5": 0.5,
    "1.": 1.0,
    "0.85": 0.85,
    "12": 12,
    "-3": -3,
    "0": 0,
    "0x1F": 31,
    "0o17": 15,
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "y": "y",
    "010": "010",
    "1_000": "1_000",
    "1:30": "1:30",
    "2024-01-01": "2024-01-01",
    ".nan": ".nan",
    ".inf": ".inf",
    "1.2.3": "1.2.3",
    "e5": "e5",
    "'1e-6'": "1e-6",
    '"true"': "true",
    "!!str 5": "5",
    "!!float 5": 5.0,
    "<=": "<=",
    "=": "=",
}


@pytest.mark.parametrize("written", SCALARS)
def test_scalar(parse, written):
    value = parse(f"a: {written}")["a"]
    assert value == SCALARS[written]
    assert type(value) is type(SCALARS[written])


@pytest.mark.parametrize("key", ["yes", "on", "no", "1e", "<<", "2024-01-01"])
def test_keys_that_other_readers_convert_are_text(parse, key):
    assert parse(f"{key}: 1") == {key: 1}


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "[a]", "{a: b}"])
def test_key_that_is_no_text_is_a_problem(key):
    (problem,) = parse_yaml(f"? {key}\n: 1\n", "x.yaml").problems
    assert problem.expected == "a key that is text"


@pytest.mark.parametrize(
    "text", ["!!int x", "!!int 010", "!!bool yes", "!!float .nan", "!!binary aGk=", "!!set {a}", "!own 3"]
)
def test_tags_construct_nothing(text):
    document = parse_yaml(f"a: {text}", "x.yaml")
    assert len(document.problems) == 1
    assert document.data == {"a": None}


def test_every_key_and_value_has_its_line():
    document = parse_yaml("# comment\na:\n  - b: 1\n    c: [2,\n      3]\n  - >\n    folded\nd:\n\n  x\n", "x.yaml")
    assert document.data == {"a": [{"b": 1, "c": [2, 3]}, "folded\n"], "d": "x"}
    assert document.key_lines == {("a",): 2, ("a", 0, "b"): 3, ("a", 0, "c"): 4, ("d",): 8}
    assert document.value_lines[("a",)] == 3
    assert document.value_lines[("a", 0, "c", 1)] == 5
    assert document.line(("a",)) == 2, "a list has the line of its key"
    assert document.line(("d",)) == 10, "a scalar has the line of the value"
    assert document.line(("a", 0, "missing", "deeper")) == 3, "what is missing has the line of what it is missing from"


def test_field_names_use_ids_and_names_for_indices():
    document = parse_yaml("a: [{id: x, b: [{name: y}, {name: 3}, 7]}]", "x.yaml")
    assert document.field_name(("a", 0, "b", 0, "name")) == "a[x].b[y].name"
    assert document.field_name(("a", 0, "b", 1, "name")) == "a[x].b[1].name"
    assert document.field_name(("a", 0, "b", 2)) == "a[x].b[2]"
    assert document.field_name(("a", 0, "new")) == "a[x].new"


def test_every_further_duplicate_names_the_first_line():
    problems = parse_yaml("a: 1\nb: 2\na: 3\na: 4\n", "x.yaml").problems
    assert [(p.line, p.found) for p in problems] == [
        (3, "duplicate key 'a': on line 1 and again on line 3"),
        (4, "duplicate key 'a': on line 1 and again on line 4"),
    ]


def test_alias_repeats_a_value(parse):
    assert parse("a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_byte_order_mark_and_windows_lines_are_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes("\ufeffa: ü\r\nb: 2\r\n".encode())
    document = read_yaml(path)
    assert (document.data, document.problems, document.line(("b",))) == ({"a": "ü", "b": 2}, [], 2)


def test_unreadable_file_is_a_problem(tmp_path):
    (problem,) = read_yaml(tmp_path).problems
    assert (problem.line, problem.expected) == (None, "a readable file")


def _load_or_explain(workshop, path: Path) -> None:
    """Load; a failure must be a SpecError that places every problem, one per field."""
    try:
        workshop.load(str(path))
    except SpecError as error:
        fields = [
            (p.file, p.line if not p.field or "key" in p.found else 0, p.field, "key" in p.found)
            for p in error.problems
        ]
        assert len(set(fields)) == len(fields), str(error)
        assert all(p.found and p.expected and (p.line or "YAML" in p.found) for p in error.problems), str(error)


REPLACEMENTS = [
    "",
    "true",
    "3",
    "-1.5",
    "x y",
    "'9'",
    "[]",
    "{}",
    "[[1]]",
    "{a: {b: c}}",
    "[{id: 3}]",
    "{kind: hub}",
    "all",
]


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_any_value_may_be_replaced_by_anything(workshop, replacement):
    """Each value of the good files in turn is replaced; no case may end in anything but a SpecError."""
    for path in sorted((workshop.root / "specs").rglob("*.yaml")):
        good = path.read_text()
        lines = good.splitlines()
        for index, line in enumerate(lines):
            head, colon, _ = line.partition(": ")
            if colon:
                bent = [*lines[:index], f"{head}: {replacement}", *lines[index + 1 :]]
                path.write_text("\n".join(bent))
                _load_or_explain(workshop, path)
        path.write_text(good)


def test_damaged_text_never_ends_in_another_exception(workshop):
    """Random deletions and insertions of the characters that mean something to YAML."""
    rng = random.Random(7)
    paths = sorted((workshop.root / "specs").rglob("*.yaml"))
    for _ in range(120):
        path = rng.choice(paths)
        good = path.read_text()
        text = good
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice([*"[]{}:,-&*!|>'\"%@`#\t\n ?", ""]) + text[at + rng.randint(0, 3) :]
        path.write_text(text)
        _load_or_explain(workshop, path)
        path.write_text(good)


# --------------------------------------------------------------------------- libyaml, where it is there
SHIPPED = Path(__file__).resolve().parents[3] / "specs"
ODD = "[]{}:,-&*!|>'\"%@`#\t\n ?\x07\x85\u2028é😀"


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch):
    """A text read as it is, and by PyYAML's own loader alone."""

    def read(text: str) -> tuple[yaml_loader.Document, yaml_loader.Document]:
        usual = parse_yaml(text, "x.yaml")
        with monkeypatch.context() as patch:
            patch.setattr(yaml_loader, "_composed", lambda one: yaml.compose(one, Loader=yaml_loader._Loader))
            return usual, parse_yaml(text, "x.yaml")

    return read


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml: there is one way to read")
def test_what_is_read_quickly_is_read_alike(both_ways):
    """Values, the lines of all of them, and the words of every problem; of whole files and of damaged ones."""
    rng = random.Random(11)
    texts = [path.read_text(encoding="utf-8") for path in sorted(SHIPPED.rglob("*.yaml"))]
    short = [text for text in texts if len(text) < 2500]
    quick, slow = both_ways(rng.choice(texts))
    assert quick == slow and not quick.problems
    for _ in range(150):
        text = rng.choice(short)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice([*ODD, ""]) + text[at + rng.randint(0, 3) :]
        quick, slow = both_ways(text)
        assert quick == slow, text


@pytest.mark.parametrize("text", ["[" * 300_000, "- " * 300_000 + "x", "{a: " * 300_000, "[" * 9_000 + "]" * 9_000])
def test_nesting_beyond_any_stack_is_a_problem(text):
    (problem,) = parse_yaml(f"claims:\n{text}", "x.yaml").problems
    assert "bad YAML" in problem.found
