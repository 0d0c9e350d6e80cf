"""What can be wrong with a user's data."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; the message names the file, the place, what was expected and what to try."""
