"""Printed formulas: whether two of them are one and the same, at random numbers."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from editverdict.ledger.findings import Finding
from editverdict.ledger.rules import Scope, Settings, kind

_DRAWS = 1000
_NEAR = 1e-9
"""Relative difference below which two values of double precision are the same."""
_FUNCTIONS: dict[str, Any] = {"abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "tanh": np.tanh}
_ALLOWED = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant, ast.Load, ast.Add, ast.Sub,
            ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)  # fmt: skip


def _sound(text: str) -> str:
    """The text if it is plain arithmetic; it is evaluated later, so that nothing else may be in it."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"'{text}' is no formula: {error.msg}") from error
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS)
        text_in_it = isinstance(node, ast.Constant) and not isinstance(node.value, int | float)
        if not isinstance(node, _ALLOWED) or called or text_in_it:
            raise ValueError(f"'{text}': only numbers, names, + - * / ** and {', '.join(_FUNCTIONS)}() may be in it")
    return text


Formula = Annotated[str, AfterValidator(_sound)]


class FormulasSettings(Settings):
    """Two formulas, and between which numbers their variables lie."""

    one: Formula
    """In Python's signs: ``sqrt(n) * abs(c) / sigma``."""
    other: Formula
    variables: dict[str, tuple[float, float]] = Field(min_length=1)
    """Name -> from, to; the numbers are drawn uniformly between."""
    should: Literal["agree", "differ"]
    """agree: an equals sign is printed between them. differ: one is to say more than the other does by itself."""
    seed: int = 0


@kind("formulas", FormulasSettings)
def formulas(scope: Scope) -> Iterator[Finding]:
    """Two formulas agree at every draw or do not; one finding, which rests on no cell."""
    own: FormulasSettings = scope.settings
    chance = np.random.default_rng(own.seed)
    drawn = {name: chance.uniform(low, high, _DRAWS) for name, (low, high) in own.variables.items()}
    one, other = _values(own.one, drawn), _values(own.other, drawn)
    apart = np.abs(one - other) > _NEAR * np.maximum(np.abs(one), np.abs(other))
    agree = not bool(apart.any())
    where = int(np.argmax(apart))
    at = ", ".join(f"{name} = {values[where]:.3g}" for name, values in drawn.items())
    said = "the same at every draw" if agree else f"{one[where]:.4g} and {other[where]:.4g} at {at}"
    yield scope.finding(
        "consistent" if agree == (own.should == "agree") else scope.rule.broken,
        [],
        expected="the same value" if own.should == "agree" else "values that can differ",
        found=said,
        row=f"{own.one} and {own.other}",
    )


def _values(formula: str, drawn: Mapping[str, Any]) -> Any:
    """Values of a formula at every draw; the text was checked when it was read.

    Raises
    ------
    ValueError
        It names a variable that has no range.
    """
    names = {node.id for node in ast.walk(ast.parse(formula, mode="eval")) if isinstance(node, ast.Name)}
    if unknown := sorted(names - drawn.keys() - _FUNCTIONS.keys()):
        raise ValueError(f"'{formula}' has no range for {', '.join(unknown)}; name it under 'variables'")
    value = eval(compile(formula, "<formula>", "eval"), {"__builtins__": {}}, {**_FUNCTIONS, **drawn})
    return np.broadcast_to(np.asarray(value, dtype=float), (_DRAWS,))
