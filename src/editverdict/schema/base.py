"""What every typed spec rests on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
MethodId = Annotated[str, Field(pattern=r"^(easyedit:)?[A-Za-z0-9][A-Za-z0-9._+-]*$")]
"""An identifier; ``easyedit:X`` is EasyEdit's own X. (``placebo:X``, the imitation of X, is no method of its own.)"""


class Spec(BaseModel):
    """Base of every spec: closed, frozen, and without silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @classmethod
    def variants(cls) -> dict[str, type[Spec]]:
        """Classes by the value of ``format``, for a kind of spec whose fields depend on it; none for all others."""
        return {}
