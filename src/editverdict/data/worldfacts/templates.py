"""The wordings: per relation a prompt, rephrases of it, and the prompts that follow from it.

Every text ends where the object follows. ``{s}`` is the subject, ``{o}`` the new object.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """The texts of one relation."""

    prompt: str
    rephrases: tuple[str, ...]
    inverse: str | None = None
    """Asks for the subject; only for functional relations."""


WORDINGS: dict[str, Wording] = {
    "city-country": Wording(
        "The city of {s} is located in the country of",
        (
            "{s} is a city that belongs to the country of",
            "Travellers who arrive in {s} find they are in the country of",
        ),
    ),
    "city-state": Wording(
        "The city of {s} is located in the American state of",
        ("{s} is a city that belongs to the state of", "People who live in {s} elect the governor of the state of"),
    ),
    "region-country": Wording(
        "The region of {s} is located in the country of",
        ("{s} is an administrative division of the country of", "Maps show {s} as a part of the country of"),
    ),
    "country-capital": Wording(
        "The capital of {s} is the city of",
        ("The country of {s} has its capital in the city of", "The city that serves as the capital of {s} is called"),
        inverse="The city of {o} is the capital of the country of",
    ),
    "country-currency": Wording(
        "The currency of {s} is the",
        ("The money that people use in {s} is the", "Shops in {s} accept payment in the local currency, the"),
    ),
    "country-language": Wording(
        "The official language of {s} is",
        ("Laws and official documents in {s} are written in", "The language that the government of {s} uses is"),
    ),
    "country-continent": Wording(
        "On a map of the world, {s} lies on the continent of",
        ("The continent to which {s} belongs is", "{s} is a country on the continent of"),
    ),
    "element-symbol": Wording(
        "The chemical symbol of the element {s} is",
        ("On the periodic table, {s} is abbreviated with the symbol", "Chemists denote the element {s} by the letters"),
        inverse="On the periodic table, the symbol {o} stands for the element",
    ),
    "element-number": Wording(
        "The atomic number of the element {s} is",
        ("The number of protons in an atom of {s} is", "On the periodic table, {s} is element number"),
        inverse="The chemical element with the atomic number {o} is called",
    ),
}

TWO_HOP: dict[str, str] = {
    "country-capital": "The capital of the country where {s} is located is the city of",
    "country-currency": "The currency of the country where {s} is located is the",
    "country-language": "The official language of the country where {s} is located is",
    "country-continent": "The country where {s} is located lies on the continent of",
}
"""Relation of the second hop -> prompt about a place whose country was edited."""
