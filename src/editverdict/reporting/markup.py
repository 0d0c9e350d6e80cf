"""HTML made of escaped text: the one place where a value becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape as _escape
from typing import Any, NamedTuple

from editverdict.reporting.formatting import LOOKS

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Html(NamedTuple):
    """Text that is markup already and is not escaped again."""

    text: str


def esc(value: Any) -> str:
    """Any value as HTML text; ``Html`` passes through."""
    return value.text if isinstance(value, Html) else _escape(_CONTROL.sub("", str(value)), quote=True)


def tag(name: str, content: Any, css: str = "", **attributes: str) -> Html:
    """An element around ``content``, which is escaped unless it is ``Html``."""
    written = "".join(f' {key}="{_escape(value, quote=True)}"' for key, value in attributes.items())
    css = f' class="{_escape(css, quote=True)}"' if css else ""
    return Html(f"<{name}{css}{written}>{esc(content)}</{name}>")


def join(parts: Iterable[Any], between: str = "") -> Html:
    """Parts one after the other, each escaped unless it is ``Html``."""
    return Html(between.join(esc(part) for part in parts))


def code(value: Any) -> Html:
    """A value in monospace."""
    return tag("code", value)


def small(value: Any) -> Html:
    """A value in small print."""
    return tag("span", value, css="small")


def badge(verdict: str) -> Html:
    """A verdict with its symbol and colour."""
    look = LOOKS[verdict]
    return tag("span", f"{look.symbol} {look.words}", css=f"v v-{verdict}", title=look.meaning)


def table(columns: Sequence[Any], rows: Iterable[Sequence[Any]], css: str = "", numeric: Sequence[int] = ()) -> Html:
    """A table that scrolls by itself where the page is narrow; empty text if there are no rows."""
    body = [
        join(tag("td", cell, css="n" if position in numeric else "") for position, cell in enumerate(row))
        for row in rows
    ]
    if not body:
        return Html("")
    head = tag("tr", join(tag("th", column, scope="col") for column in columns))
    parts = [tag("thead", head), tag("tbody", join(tag("tr", row) for row in body))]
    return tag("div", tag("table", join(parts), css=css), css="scroll")


def facts(pairs: Iterable[tuple[Any, Any]]) -> Html:
    """Named values side by side."""
    items = [tag("div", join([tag("dt", name), tag("dd", value)])) for name, value in pairs]
    return tag("dl", join(items), css="facts")


def fold(title: Any, content: Html, opened: bool = False) -> Html:
    """A part of the page that opens on a click, without scripts; empty text if there is nothing in it."""
    if not content.text:
        return Html("")
    start = "<details open>" if opened else "<details>"
    return join([Html(start), tag("summary", title), content, Html("</details>")])


def anchor(kind: str, name: str) -> str:
    """An id for links within the page."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
