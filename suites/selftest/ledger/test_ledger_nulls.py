"""Null models against printed rows: rows made by a mistake are found to be had that way, others are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from editverdict.ledger.audit import Audited, Case, run_case
from editverdict.ledger.kinds.nulls import band, printed_change
from editverdict.ledger.ranges import Range
from editverdict.ledger.rates import grouped, leading_direction, middle_of_rest, printed_angles, printed_rates
from editverdict.ledger.rules import Rule, read_rules
from editverdict.ledger.tables import Ledger, read_ledger
from editverdict.numerics.artefacts import Signature, signatures
from editverdict.numerics.null_worlds import World, draw

ROOT = Path(__file__).resolve().parents[3]
INDEX = """\
tables:
  - table: 1
    file: spectra.csv
    caption: spectra
    keys: [model, layer]
    columns:
      d: {what: dimension, exact: true}
      top: {what: largest singular value}
      low: {what: smallest singular value}
  - table: 2
    file: rates.csv
    caption: change rates
    keys: [model, method, layer]
    columns:
      mean: {what: mean R_k}
      min: {what: smallest R_k}
      max: {what: largest R_k}
      num: {what: directions above 1, exact: true}
"""
RULES = """\
rules:
  - id: rates
    kind: null-change-rates
    statement: A null model gives the row.
    family: null models
    tables: [2]
    settings:
      above: num
      mean: mean
      smallest: min
      largest: max
      dimension: {tables: [1], key: model, column: d}
      d: 64
      worlds: [{rare: 0.005, edit: 0.001}, {rare: 0.05, edit: 0.1, decay: 0.6, seed: 1}]
      nulls:
        - {pairing: mispaired, centring: features, compare: [short, smallest, rest, runaway]}
        - {pairing: paired, centring: features, compare: [short, rest, runaway]}
    broken: undefined
  - id: spectra
    kind: null-spectrum
    statement: A null model gives the smallest singular value.
    family: null models
    tables: [1]
    settings:
      largest: top
      smallest: low
      d: 64
      worlds: [{rare: 0.005, edit: 0.001}, {rare: 0.05, edit: 0.1, decay: 0.6, seed: 1}]
      centrings: [features]
    broken: undefined
"""
D = 128


@pytest.fixture(scope="module")
def made() -> list[Signature]:
    """What tables would print of a world of twice the dimension, drawn anew."""
    samples = draw(World(d=D, rare=0.02, decay=0.4, edit=0.02, seed=11))
    return signatures(samples.before, samples.after, samples.other_after)


Row = tuple[str, str, str, str]


def row_of(made: list[Signature], pairing: str, centring: str) -> Row:
    one = next(s for s in made if (s.pairing, s.centring, s.pooling) == (pairing, centring, "mean_abs"))
    return f"{one.r_mean:.3e}", f"{one.r_min:.3e}", f"{one.r_max:.3e}", str(one.above)


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Audited]:
    """Hold one of the rules against rows of rates and one of spectra."""

    def run(rule: str, rows: list[Row], spectrum: tuple[str, str] = ("1.00e3", "1.2e-4")) -> Audited:
        ledger = tables(tmp_path, rows, spectrum)
        chosen = next(one for one in rules(tmp_path) if one.spec.id == rule)
        return run_case(Case(chosen, chosen.spec.tables), ledger)

    return run


def tables(folder: Path, rows: list[Row], spectrum: tuple[str, str]) -> Ledger:
    (folder / "index.yaml").write_text(INDEX)
    (folder / "spectra.csv").write_text(f"model,layer,d,top,low\nmine,1,{D},{','.join(spectrum)}\n")
    lines = [f"mine,M{number},1,{','.join(row)}" for number, row in enumerate(rows)]
    (folder / "rates.csv").write_text("\n".join(["model,method,layer,mean,min,max,num", *lines]) + "\n")
    return read_ledger(folder)


def rules(folder: Path) -> list[Rule]:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "nulls.yaml").write_text(RULES)
    return read_rules(folder / "rules")


@pytest.mark.parametrize("pairing", ["paired", "mispaired"])
def test_rows_of_a_mistake_are_had_by_it(made: list[Signature], judge: Callable[..., Audited], pairing: str) -> None:
    (found,) = judge("rates", [row_of(made, pairing, "features")]).findings
    assert found.verdict == "consistent"
    assert f"'{pairing}, centred over features'" in found.sentence and "sufficient, not proof" in found.sentence
    assert found.binding == () and len(found.cells) == 4


@pytest.mark.parametrize("pairing", ["paired", "mispaired"])
def test_rows_that_are_centred_over_samples_are_not(
    made: list[Signature], judge: Callable[..., Audited], pairing: str
) -> None:
    (found,) = judge("rates", [row_of(made, pairing, "samples")]).findings
    assert found.verdict == "undefined" and "No null model gives it" in found.sentence


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda r: (r[0], r[1], r[2], "64"), "directions at or below 1"),
        (lambda r: (r[0], "9.0e-1", r[2], r[3]), "smallest R_k"),
        (lambda r: ("1.0130e4", r[1], r[2], r[3]), "mean without the largest"),
        (lambda r: ("1.15e0", r[1], "1.3e0", r[3]), "largest over that mean"),
    ],
    ids=["number", "smallest", "mean", "largest"],
)
def test_a_row_that_differs_in_one_thing_is_not_had(
    judge: Callable[..., Audited], change: Callable[[Row], Row], differs: str
) -> None:
    row = ("1.0115e4", "2.6e-1", "1.29458e6", str(D - 1))
    assert judge("rates", [row]).verdict == "consistent"
    (found,) = judge("rates", [change(row)]).findings
    assert found.verdict == "undefined" and differs in found.sentence


def test_a_row_of_another_model_or_without_numbers_is_passed_over(judge: Callable[..., Audited]) -> None:
    with pytest.raises(ValueError, match="finds no row"):
        judge("rates", [("", "1e-1", "1e6", "127")])


@pytest.mark.parametrize(
    ("spectrum", "verdict"),
    [(("1.00e3", "1.2e-4"), "consistent"), (("1.00e3", "1.0e1"), "undefined"), (("1.00e3", "1.0e-12"), "undefined")],
)
def test_smallest_singular_values_of_the_size_of_rounding(
    judge: Callable[..., Audited], spectrum: tuple[str, str], verdict: str
) -> None:
    assert judge("spectra", [("1", "1", "1", "1")], spectrum).verdict == verdict


# --------------------------------------------------------------------------- what is read off printed rows
def test_the_mean_without_the_largest_is_as_wide_as_the_printed_digits(tmp_path: Path) -> None:
    ledger = tables(tmp_path, [("1.00e1", "1.0e-1", "1.16e3", "127")], ("1", "1"))
    cells = ledger[2].lines[0].numbers("num", "mean", "min", "max")
    assert cells is not None
    rest = printed_change(cells, D)["rest"]
    assert rest.low == pytest.approx((9.95 * D - 1165) / (D - 1)) and rest.high == pytest.approx(
        (10.05 * D - 1155) / (D - 1)
    )


def test_a_mean_below_what_the_largest_alone_gives_breaks_nothing(judge: Callable[..., Audited]) -> None:
    """Two printed numbers that exclude each other are another rule's business."""
    assert judge("rates", [("1.0e0", "0", "1.0e9", str(D - 1))]).verdict == "undefined"


def test_bands() -> None:
    found = [band(Range.exactly(short), 100, 3) for short in (0, 3, 4, 96, 97, 100, -1)]
    assert found == ["all", "all", None, None, "none", "none", None]


# --------------------------------------------------------------------------- the paper's own tables
@pytest.fixture(scope="module")
def own() -> tuple[Ledger, list[Rule]]:
    return read_ledger(ROOT / "specs" / "paper"), read_rules(ROOT / "specs" / "consistency")


def test_every_printed_row_with_nearly_all_or_nearly_no_direction_above_one_can_be_had(
    own: tuple[Ledger, list[Rule]],
) -> None:
    """Audit A080 and A081: both kinds of rows come out of mistakes alone; the few between come out of none."""
    ledger, every = own
    rule = next(one for one in every if one.spec.id == "null-change-rates")
    audited = [run_case(Case(rule, (number,)), ledger) for number in rule.spec.tables]
    by_row = {(f.table, f.row): f for a in audited for f in a.findings}
    rates = list(printed_rates(ledger, every))
    assert len(by_row) == len(rates) == 82
    for rate in rates:
        found = by_row[rate.table, rate.row]
        wanted = {"all": "'mispaired, centred over features'", "none": "'paired, centred over features'"}.get(rate.band)
        assert (found.verdict == "consistent") == (wanted is not None)
        assert wanted is None or wanted in found.sentence


def test_the_constant_is_found_in_the_printed_rows(own: tuple[Ledger, list[Rule]]) -> None:
    groups = dict(grouped(list(printed_rates(*own))))
    sizes = {words: len(rates) for words, rates in groups.items()}
    assert list(sizes.values()) == [57, 21, 4]
    every = groups["all directions above 1 but a few"]
    middle, error = middle_of_rest(every)
    assert error < 0.05 and abs(middle - 1.1284) < 3 * error
    r_min, share, offset = leading_direction(every)
    shares = sorted(rate.share for rate in every if rate.share is not None)
    assert shares[len(shares) // 2] == pytest.approx(0.798, rel=0.05)
    assert 0.1 < r_min < 0.3 and share == pytest.approx(r_min**2 / 4, rel=0.05) and offset > 3


def test_printed_angles_after_the_first_edit(own: tuple[Ledger, list[Rule]]) -> None:
    found = printed_angles(own[0])
    assert found["Table 13, Llama-3.1-8B-Instruct AlphaEdit 30"] == {
        "10": "0.999",
        "100": "0.981",
        "200": "0.927",
        "2000": "0.003",
    }
    assert len(found) == 6
