"""Tables, indexes and rules that cannot be used: file, line, field, expected, found, what to try; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from editverdict.ledger.audit import audit_foreign
from editverdict.ledger.rules import read_rules
from editverdict.ledger.tables import read_ledger, read_tables_of, unread
from editverdict.schema.errors import SpecError, SpecProblem

INDEX = """tables:
  - table: 1
    file: marks.csv
    caption: Marks of two pupils
    keys: [pupil, year]
    columns:
      maths: {what: marks}
      french: {what: marks}
      avg: {what: average}
      remark: {what: in words, text: true}
"""
ROWS = "pupil,year,maths,french,avg,remark\nAnn,1,2.0,3.0,2.5,good\nBob,1,1.0,2.0,1.5,\n"
RULES = """rules:
  - id: average
    kind: mean
    statement: The average is the mean of the marks.
    family: averages
    tables: [1]
    settings: {of: [maths, french], equals: avg}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.yaml").write_text(INDEX, encoding="utf-8")
    (tmp_path / "marks.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


def problems(read: Callable[[], object]) -> tuple[SpecProblem, ...]:
    with pytest.raises(SpecError) as caught:
        read()
    return caught.value.problems


def problem_of(folder: Path, rows: str | bytes) -> SpecProblem:
    (folder / "marks.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    (found,) = problems(lambda: read_ledger(folder))
    assert Path(found.file).name == "marks.csv" and found.render().startswith(found.file)
    return found


def test_sound_tables_are_read(folder: Path) -> None:
    ledger = read_ledger(folder)
    cell = ledger.cell(1, "avg", pupil="Ann", year=1)
    assert (cell.text, cell.line) == ("2.5", 2)
    assert (cell.range.low, cell.range.high) == pytest.approx((2.45, 2.55))


def test_byte_order_mark_blanks_and_windows_lines_do_no_harm(folder: Path) -> None:
    text = "\ufeff" + ROWS.replace("\n", "\r\n").replace(",2.0,", ", 2.0 ,") + "\r\n"
    (folder / "marks.csv").write_bytes(text.encode())
    assert read_ledger(folder).cell(1, "maths", pupil="Ann", year="1").text == "2.0"


@pytest.mark.parametrize("place", ["", "-", "–", "nan"])
def test_nothing_printed_is_no_error(folder: Path, place: str) -> None:
    (folder / "marks.csv").write_text(ROWS.replace("Ann,1,2.0", f"Ann,1,{place}"), encoding="utf-8")
    assert not read_ledger(folder).cell(1, "maths", pupil="Ann", year="1").number


def test_missing_column(folder: Path) -> None:
    found = problem_of(folder, ROWS.replace("french", "frnech"))
    assert (found.line, found.field, found.found) == (1, "french", "no such column")
    assert found.hint == "did you mean 'frnech'?" and "maths, french, avg" in found.expected


def test_column_twice(folder: Path) -> None:
    found = problem_of(
        folder, ROWS.replace("remark", "maths", 1).replace("pupil,year", "pupil,year,remark").replace(",1,", ",1,x,")
    )
    assert (found.line, found.field, found.found) == (1, "maths", "two columns of this name")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("two", ""),
        ("2;0", ""),
        ('"2,0"', "write 2.0"),
        ("2.0%", "write 2.0"),
        ("2.0*", "write 2.0"),
        ("\u22122.0", "write -2.0"),
        ("inf", ""),
        ("1e999", ""),
        ("2_0", "write 20"),
    ],
)
def test_word_in_a_numbers_place(folder: Path, text: str, hint: str) -> None:
    found = problem_of(folder, ROWS.replace("Bob,1,1.0", f"Bob,1,{text}"))
    assert (found.line, found.field, found.hint) == (3, "maths", hint)
    assert found.found == f"'{text.strip(chr(34))}'" and "a number" in found.expected


def test_duplicate_row(folder: Path) -> None:
    found = problem_of(folder, ROWS + "Ann,1,2.0,3.0,2.5,again\n")
    assert (found.line, found.field) == (4, "Ann 1")
    assert found.found == "the row stands on line 2, too" and found.expected == "every pupil, year once"


def test_row_without_its_key(folder: Path) -> None:
    found = problem_of(folder, ROWS.replace("Bob,1", "Bob,"))
    assert (found.line, found.field, found.found) == (3, "year", "nothing")


@pytest.mark.parametrize(
    ("row", "found_text", "hint"),
    [
        ("Cid,1,2.0,3.0", "4 fields", ""),
        ("Cid,1,2.0,3.0,2.5,poor, but kind", "7 fields", "put quotes around a text that contains a comma"),
    ],
)
def test_row_of_another_length(folder: Path, row: str, found_text: str, hint: str) -> None:
    found = problem_of(folder, ROWS + row + "\n")
    assert (found.line, found.expected, found.found, found.hint) == (4, "6 fields, as in line 1", found_text, hint)


def test_empty_file(folder: Path) -> None:
    found = problem_of(folder, "")
    assert (found.line, found.found) == (1, "an empty file")


def test_no_row(folder: Path) -> None:
    found = problem_of(folder, ROWS.splitlines()[0] + "\n")
    assert found.found == "none" and "at least one row" in found.expected


def test_not_utf8(folder: Path) -> None:
    found = problem_of(folder, ROWS.encode().replace(b"good", b"tr\xe8s bien"))
    assert (found.line, found.found) == (2, "byte 0xe8")
    assert found.hint == "save the file as UTF-8"


def test_quotes_that_do_not_close(folder: Path) -> None:
    found = problem_of(folder, ROWS.replace("good", '"good'))
    assert found.expected == "comma-separated values" and found.hint == "check the quotes"


def test_missing_file(folder: Path) -> None:
    (folder / "marks.csv").unlink()
    (found,) = problems(lambda: read_ledger(folder))
    assert found.found == "no such file" and found.file.endswith("marks.csv")


def test_all_problems_at_once(folder: Path) -> None:
    (folder / "marks.csv").write_text(ROWS.replace("2.0,3.0", "two,three") + "Bob,1,1,1,1,\n", encoding="utf-8")
    found = problems(lambda: read_ledger(folder))
    assert [(one.line, one.field) for one in found] == [(2, "french"), (2, "maths"), (4, "Bob 1")]


# --------------------------------------------------------------------------- the index
@pytest.mark.parametrize(
    ("before", "after", "field", "words"),
    [
        ("tables:", "table:", "tables", "'table' should be 'tables'"),
        ("caption", "captoin", "tables[0].captoin", "caption"),
        ("table: 1", "table: one", "tables[0].table", "integer"),
        ("{what: average}", "{waht: average}", "tables[0].columns.avg.waht", "what"),
    ],
)
def test_index_that_cannot_be_used(folder: Path, before: str, after: str, field: str, words: str) -> None:
    (folder / "index.yaml").write_text(INDEX.replace(before, after, 1), encoding="utf-8")
    found = problems(lambda: read_ledger(folder))
    assert any(one.field == field and words in one.render() and one.line for one in found), [o.render() for o in found]


def test_table_numbered_twice(folder: Path) -> None:
    again = INDEX.partition("\n")[2]
    (folder / "index.yaml").write_text(INDEX + again, encoding="utf-8")
    (found,) = problems(lambda: read_ledger(folder))
    assert found.found == "Table 1 a second time" and found.line == 11


def test_folder_without_tables(tmp_path: Path) -> None:
    (found,) = problems(lambda: read_tables_of(tmp_path / "nowhere", tmp_path))
    assert found.found == "no such folder"
    shapes = tmp_path / "shapes"
    shapes.mkdir()
    (shapes / "index.yaml").write_text(INDEX, encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    (found,) = problems(lambda: read_tables_of(empty, shapes))
    assert found.found == "none of them found"


def test_files_that_no_table_names_are_mentioned(folder: Path) -> None:
    (folder / "mraks.csv").write_text(ROWS, encoding="utf-8")
    assert unread(read_ledger(folder)) == ["mraks.csv: not read, since the index names no such file"]


# --------------------------------------------------------------------------- rules
@pytest.mark.parametrize(
    ("before", "after", "field", "words"),
    [
        ("kind: mean", "kind: maen", "rules[average].kind", "did you mean 'mean'?"),
        ("equals: avg", "eqauls: avg", "rules[average].settings.eqauls", "equals"),
        (", equals: avg", "", "rules[average].settings", "equals"),
        ("tables: [1]", "tables: [one]", "rules[average].tables", "integer"),
        ("tables: [1]", "tables: []", "rules[average].tables", "at least 1"),
        ("statement:", "statment:", "rules[average].statment", "statement"),
        ("rules:", "rule:", "rules", "'rule' should be 'rules'"),
        ("    kind", "\tkind", "", "tab"),
    ],
)
def test_rule_that_cannot_be_used(tmp_path: Path, before: str, after: str, field: str, words: str) -> None:
    (tmp_path / "own.yaml").write_text(RULES.replace(before, after, 1), encoding="utf-8")
    found = problems(lambda: read_rules(tmp_path))
    rendered = [one.render() for one in found]
    assert any(one.field.startswith(field) and words in one.render() and one.line for one in found), rendered


def test_rule_defined_twice(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(RULES, encoding="utf-8")
    (found,) = problems(lambda: read_rules(tmp_path))
    assert "defined twice" in found.found and found.file.endswith("b.yaml")


def test_no_rules_at_all(tmp_path: Path) -> None:
    (found,) = problems(lambda: read_rules(tmp_path))
    assert found.found == "none found"


def test_rule_without_a_row_is_named_and_the_others_are_held(folder: Path) -> None:
    other = RULES.partition("\n")[2].replace("id: average", "id: other").replace("french]", "latin]")
    rules = folder / "rules"
    rules.mkdir()
    (rules / "own.yaml").write_text(RULES + other, encoding="utf-8")
    held, idle = audit_foreign(read_rules(rules), read_ledger(folder))
    assert [one.case.id for one in held] == ["average[table-01]"]
    assert [one.case.id for one in idle] == ["other[table-01]"] and "no row in table-01 that it is about" in idle[0].why


def test_numbers_that_nothing_can_be_computed_from_are_named(tmp_path: Path) -> None:
    paper = Path(__file__).resolve().parents[3] / "specs"
    rows = (paper / "paper" / "tables" / "table_05.csv").read_text(encoding="utf-8")
    (tmp_path / "table_05.csv").write_text(rows.replace(",4096,3249,", ",0,3249,"), encoding="utf-8")
    held, idle = audit_foreign(read_rules(paper / "consistency"), read_tables_of(tmp_path, paper / "paper"))
    assert held and any("cannot be computed" in one.why or "domain" in one.why for one in idle)
