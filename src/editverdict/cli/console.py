"""What every command shares: where it prints, and the options that several have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)


def say(text: str, style: str | None = None, to: Console = console) -> None:
    """Print a text as it is: brackets (every case has some) are no markup, and lines are not broken."""
    to.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


SpecsOption = Annotated[
    list[Path] | None, typer.Option("--specs", help="A folder with your own specs, laid over ours.")
]

DataOption = Annotated[
    list[str] | None, typer.Option("--data", help="ID=FILE_OR_FOLDER or ID=hub:OWNER/NAME:FILE, for a dataset.")
]
