"""What can be wrong with a user's data."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; the message names the file, the place, what was expected and what to try."""


class DataNotHereError(DataError):
    """Data that cannot be had on this machine now, such as a hub's without a network; nothing is wrong with it."""
