"""Common English words that capability items are made of."""

from __future__ import annotations

WORDS = (
    "apple", "river", "stone", "table", "horse", "paper", "window", "garden", "winter", "music",
    "bridge", "letter", "doctor", "silver", "summer", "market", "island", "forest", "pencil", "yellow",
    "dinner", "circle", "engine", "flower", "animal", "bottle", "kitchen", "mountain", "ocean", "village",
    "hammer", "castle", "rabbit", "pocket", "butter", "desert", "planet", "school", "mirror", "cotton",
)  # fmt: skip
PEOPLE = (
    "Anna", "Peter", "Maria", "John", "Sarah", "David", "Laura", "Paul", "Emma", "James",
    "Alice", "Robert", "Helen", "Mark", "Julia", "Thomas",
)  # fmt: skip
THINGS = (
    "key", "lamp", "coin", "drum", "book", "ring", "rope", "ball", "cup", "map",
    "pen", "bell", "box", "hat", "shoe", "watch", "knife", "stamp",
)  # fmt: skip
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
ORDERS: tuple[tuple[str, ...], ...] = (
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
     "December"),
    NUMBERS[1:],
    ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
)  # fmt: skip
"""Orders that everybody knows."""
NOUNS = (
    ("dog", "dogs"), ("teacher", "teachers"), ("house", "houses"), ("car", "cars"), ("student", "students"),
    ("bird", "birds"), ("farmer", "farmers"), ("tree", "trees"), ("boat", "boats"), ("king", "kings"),
    ("singer", "singers"), ("chair", "chairs"), ("doctor", "doctors"), ("picture", "pictures"), ("shop", "shops"),
    ("worker", "workers"), ("girl", "girls"), ("lawyer", "lawyers"), ("book", "books"), ("painter", "painters"),
)  # fmt: skip
VERBS = (("is", "are"), ("was", "were"), ("has", "have"))
"""Singular, plural."""
BETWEEN = ("near", "behind", "beside", "with", "above")
