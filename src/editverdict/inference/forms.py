"""In which form an edit was made, and in which its questions were put: what is told of a row where the two differ.

A method that writes an edit from the bare prompt and is asked in a chat template is asked about something that it was
not shown; one that keeps texts is not (its text stands in the very prompt that is asked). So numbers of the two kinds
of methods, and of different profiles, can be misread unless it is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editverdict.inference.rows import Row

FORMS_KEY = "forms"
"""Key of ``Row.descriptive`` that holds ``edited`` and ``asked``, of rows that ask edited models."""
OTHERWISE = "edited"
"""Key of what a case keeps of a state whose edits were made in another form than the profile's; holds that form."""
BARE, CHAT, TEXT = "bare prompt", "chat template", "text"
"""Forms: the prompt as it is; in the model's chat template; kept as a text that is put before the question."""
THOUGHTS = "chat template where its thoughts begin"
"""The template of a reasoning model: the target is edited in as what it says first, which is no answer yet."""


def forms(edited: str, asked: str) -> dict[str, str]:
    """What ``Row.descriptive[FORMS_KEY]`` holds."""
    return {"edited": edited, "asked": asked}


def apart(descriptive: Mapping[str, Any]) -> str:
    """``edited on the bare prompt, asked in the chat template``; empty where the forms are one, or unknown."""
    found = descriptive.get(FORMS_KEY)
    if not isinstance(found, Mapping) or found.get("edited") in (None, TEXT, found.get("asked")):
        return ""
    return f"edited on the {found['edited']}, asked in the {found.get('asked')}"


def apart_in(rows: Sequence[Row]) -> str:
    """The same of several rows, with how many of them it holds for where it is not all; empty if of none."""
    told = [text for row in rows if (text := apart(row.descriptive))]
    if not told:
        return ""
    text = " and ".join(dict.fromkeys(told))
    return text if len(told) == len(rows) else f"{len(told)} of {len(rows)} cases {text}"


def methods_apart(rows: Sequence[Row]) -> list[str]:
    """Methods of rows whose edits were made in another form than they are asked in, in order of appearance."""
    return list(dict.fromkeys(row.method for row in rows if row.method and apart(row.descriptive)))
