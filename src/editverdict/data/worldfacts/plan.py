"""Who is edited and who only supports: the partition that keeps hops and locality facts out of every edit."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from editverdict.data.text import Words, rank, words
from editverdict.data.worldfacts import tables
from editverdict.data.worldfacts.drafts import Item, Names
from editverdict.data.worldfacts.facts import City, Country, World

COUNTRY_RELATIONS = ("country-capital", "country-currency", "country-language", "country-continent")
SUPPORT_COUNTRIES = 32
LARGE_COUNTRIES = 40
LARGE_CITY = 100_000
PER_COUNTRY = 45
METROPOLITAN_KM = 25.0

_PLAIN_NAME = re.compile(r"[A-Z][a-z]{2,}(?:[ -][A-Z][a-z]+){0,3}")
_CITY_WORDS = frozenset(
    {"district", "borough", "township", "shi", "qu", "xian", "kota", "municipality", "zone", "sector", "colonia"}
)


@dataclass
class Plan:
    """The world, cut into what is edited and what must stay."""

    world: World
    seed: int
    support: tuple[Country, ...] = ()
    """Countries that are new objects of places and hops, and are never edited."""
    edited: tuple[Country, ...] = ()
    """Countries that may be edited, each in one relation."""
    names: Names = field(default_factory=Names)
    index: CityIndex = field(init=False)

    def __post_init__(self) -> None:
        """Draw the partition and reserve the names."""
        self.index = CityIndex(self.world.cities)
        self._region_countries: dict[Words, set[str]] = defaultdict(set)
        for iso, names in self.world.provinces.items():
            for name in names:
                self._region_countries[words(name)].add(iso)
        self._choose_countries()
        self._reserve_names()

    def _choose_countries(self) -> None:
        named = [c for c in self.world.countries.values() if c.iso not in tables.ARTICLE]
        complete = [c for c in named if len(c.facts) == len(COUNTRY_RELATIONS)]
        # Of the larger ones, which a small model is more likely to know.
        complete = sorted(complete, key=lambda c: -c.population)[:LARGE_COUNTRIES]
        complete.sort(key=lambda c: rank(self.seed, "support", c.iso))
        self.support = tuple(sorted(complete[:SUPPORT_COUNTRIES], key=lambda c: c.iso))
        chosen = {c.iso for c in self.support}
        self.edited = tuple(c for c in named if c.iso not in chosen and c.facts and c.population >= 1_000_000)

    def _reserve_names(self) -> None:
        """Keep every name that an object or a country can have away from the subjects.

        All capitals are reserved: were one moved to another country, facts about its country would become doubtful.
        """
        self.names.reserve(*self.world.every_country_name, *tables.OTHER_CAPITALS)
        for country in self.world.countries.values():
            self.names.reserve(*country.value.answers, country.raw_capital)
            self.names.reserve(
                *(a for r, v in sorted(country.facts.items()) if r == "country-capital" for a in v.answers)
            )
            if country.other_name:
                self.names.reserve(country.other_name.removeprefix("the "))
        self.names.reserve(*(state.name for state in self.world.states.values()))
        self.names.reserve(*(name for names in tables.CONTINENT_NAMES.values() for name in names))
        self.names.reserve(*(element.name for element in self.world.elements))

    def is_region_elsewhere(self, name: str, iso: str) -> bool:
        """Tell whether another country has a first-level division of this name (Ontario is in California, too)."""
        return any(other != iso for other in self._region_countries.get(words(name), ()))

    def country_items(self, countries: tuple[Country, ...], relation: str) -> list[Item]:
        """Return the facts of some countries under one relation."""
        return [Item(c.name, c.facts[relation], relation) for c in countries if relation in c.facts]


class CityIndex:
    """Which cities bear a name, as their own or as an alternate one."""

    def __init__(self, cities: tuple[City, ...]) -> None:
        self._named: dict[str, list[City]] = defaultdict(list)
        self._also: dict[str, list[City]] = defaultdict(list)
        self._accepted: set[int] = set()
        self._accepted_names: set[str] = set()
        self._grid: dict[tuple[int, int], list[City]] = defaultdict(list)
        for city in cities:
            own = _key(city.name)
            self._named[own].append(city)
            for key in {_key(name) for name in city.alternates} - {own}:
                self._also[key].append(city)
            self._grid[_cell(city)].append(city)

    def is_part_of_another(self, city: City) -> bool:
        """Tell whether a larger city lies within ``METROPOLITAN_KM``: then this may be a district of it.

        GeoNames lists districts and suburbs among the cities, and the package does not keep the feature codes.
        """
        row, column = _cell(city)
        near = (self._grid.get((row + i, column + j), ()) for i in (-1, 0, 1) for j in (-3, -2, -1, 0, 1, 2, 3))
        larger = (c for cell in near for c in cell if c.population > city.population)
        return any(_kilometres(city, other) < METROPOLITAN_KM for other in larger)

    def is_unambiguous(self, city: City, place: Callable[[City], str]) -> bool:
        """Tell whether the name means one ``place`` (country or state), for all cities that bear it."""
        key = _key(city.name)
        others = [c for c in self._named[key] if place(c) != place(city)]
        rivals = [c for c in self._also[key] if place(c) != place(city) and c.population * 5 >= city.population]
        return not others and not rivals

    def is_free(self, city: City) -> bool:
        """Tell whether no accepted city bears this city's name as an alternate one, or the other way round."""
        if any(c.geonameid in self._accepted for c in self._also[_key(city.name)]):
            return False
        return self._accepted_names.isdisjoint(_key(name) for name in city.alternates)

    def accept(self, city: City) -> None:
        """Note a city as taken."""
        self._accepted.add(city.geonameid)
        self._accepted_names.add(_key(city.name))

    def other_name(self, city: City) -> str | None:
        """Return a common other name that GeoNames lists for this city, and that no other place bears."""
        listed = {_key(name) for name in city.alternates}
        for pair in tables.COMMON_CITY_NAMES.get(city.iso, ()):
            name, other = pair.split(":")
            key = _key(other)
            if name == city.name and key in listed and not self._named[key] and len(self._also[key]) == 1:
                return other
        return None

    def knows(self, name: str) -> bool:
        """Tell whether some city bears this name."""
        return bool(self._named[_key(name)] or self._also[_key(name)])


def _key(name: str) -> str:
    """Return a name as it is compared with half a million alternate names: cheaper than :func:`words`."""
    return name.lower().replace("-", " ") if name.isascii() else " ".join(words(name))


def _cell(city: City) -> tuple[int, int]:
    """Return the cell of a quarter-degree grid."""
    return round(city.latitude * 4), round(city.longitude * 4)


def _kilometres(one: City, other: City) -> float:
    """Return the distance, good to a percent for neighbours."""
    north = one.latitude - other.latitude
    east = (one.longitude - other.longitude) * math.cos(math.radians(one.latitude))
    return math.hypot(north, east) * 111.2


def is_plain(name: str) -> bool:
    """Tell whether a name is short plain ASCII, as an English text would have it."""
    return bool(_PLAIN_NAME.fullmatch(name)) and not _CITY_WORDS & set(words(name))
