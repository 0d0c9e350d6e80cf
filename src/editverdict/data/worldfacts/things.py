"""Edits of countries and of chemical elements."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.data.records import EditRecord
from editverdict.data.text import rank
from editverdict.data.worldfacts import drafts, tables
from editverdict.data.worldfacts.drafts import Item
from editverdict.data.worldfacts.facts import Country, Element, Value
from editverdict.data.worldfacts.plan import COUNTRY_RELATIONS, Plan

HEAVIEST = 103
"""Elements beyond this atomic number have been made a few atoms at a time; few texts name them."""

SUPPORT_ELEMENTS = 16
SYMBOL_SHARE = 0.6


def country_records(plan: Plan) -> list[EditRecord]:
    """Return the edits of countries: each is edited in one relation, and asked about in another."""
    assigned: dict[str, list[Country]] = {relation: [] for relation in COUNTRY_RELATIONS}
    for country in plan.edited:
        usable = [r for r in COUNTRY_RELATIONS if r in country.facts]
        assigned[_relation(plan, country, usable)].append(country)
    records = []
    for relation, countries in assigned.items():
        items = plan.country_items(tuple(countries), relation)
        pairs = drafts.rotated(items, plan.seed) if relation == "country-capital" else _drawn(plan, items)
        by_name = {country.name: country for country in countries}
        records += [_country_record(plan, by_name[item.subject], item, new) for item, new in pairs]
    return records


def _relation(plan: Plan, country: Country, usable: Sequence[str]) -> str:
    # Only capitals have an inverse: half of the countries that have a sure one go there, the others by lot.
    if "country-capital" in usable and rank(plan.seed, "capital", country.iso)[0] < 128:
        return "country-capital"
    return min(usable, key=lambda relation: rank(plan.seed, "relation", country.iso, relation))


def _drawn(plan: Plan, items: Sequence[Item]) -> list[tuple[Item, Value]]:
    """Give each item an object that some country has, another one than its own."""
    pairs = []
    for item in items:
        values = {c.facts[item.relation] for c in plan.world.countries.values() if item.relation in c.facts}
        ordered = sorted(values, key=lambda v: (rank(plan.seed, "target", item.relation, item.subject, v.name), v.name))
        new = next((value for value in ordered if drafts.is_sound(item, value)), None)
        if new is not None:
            pairs.append((item, new))
    return pairs


def _country_record(plan: Plan, country: Country, item: Item, new: Value) -> EditRecord:
    near = drafts.same_relation(item, new, plan.country_items(plan.support, item.relation), plan.seed)
    others = [Item(item.subject, value, r) for r, value in sorted(country.facts.items()) if r != item.relation]
    others = [other for other in others if not drafts.leaks(other.value.answers, [other.prompt])]
    others.sort(key=lambda other: rank(plan.seed, "other", item.subject, other.relation))
    stays = [drafts.locality(other, "other-relation") for other in others[:1]]
    portability = drafts.alias(item, new, country.other_name) + drafts.inverse(item, new, country.value.answers)
    return drafts.record(item, new, plan.seed, f"{country.iso}: {plan.world.versions}", near + stays, portability)


def element_records(plan: Plan) -> list[EditRecord]:
    """Return the edits of elements: some in their symbol, the others in their number, each asked about the other."""
    usable = [e for e in plan.world.elements if e.number <= HEAVIEST and e.symbol not in tables.AMBIGUOUS_SYMBOLS]
    usable.sort(key=lambda e: rank(plan.seed, "element", e.number))
    support, edited = usable[:SUPPORT_ELEMENTS], usable[SUPPORT_ELEMENTS:]
    cut = int(len(edited) * SYMBOL_SHARE)
    records = []
    for relation, elements in (("element-symbol", edited[:cut]), ("element-number", edited[cut:])):
        pool = [_element_item(e, relation) for e in support]
        by_name = {e.name: e for e in elements}
        for item, new in drafts.rotated([_element_item(e, relation) for e in elements], plan.seed):
            element = by_name[item.subject]
            near = drafts.same_relation(item, new, pool, plan.seed)
            other = "element-number" if relation == "element-symbol" else "element-symbol"
            stays = drafts.locality(_element_item(element, other), "other-relation")
            back = drafts.inverse(item, new, (element.name, *tables.ELEMENT_NAMES.get(element.name, ())))
            source = f"mendeleev, element {element.number}"
            records.append(drafts.record(item, new, plan.seed, source, [*near, stays], back))
    return records


def _element_item(element: Element, relation: str) -> Item:
    return Item(element.name, Value(element.symbol if relation == "element-symbol" else str(element.number)), relation)
