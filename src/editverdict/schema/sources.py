"""Where files, datasets and models come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from editverdict.schema.base import Identifier, Spec

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PackagedFile(Spec):
    """A file inside a pinned distribution of a package index."""

    kind: Literal["packaged"] = "packaged"
    package: str
    version: str
    archive: Literal["wheel", "sdist"]
    members: Annotated[dict[str, Sha256], Field(min_length=1)]
    """Path inside the archive -> sha256 of the file."""


class HubSource(Spec):
    """A repository on a model hub."""

    kind: Literal["hub"] = "hub"
    repo: str
    revision: str = "main"


class HubFiles(HubSource):
    """Files of a data repository on a hub; they are read in the order of their names here."""

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths inside the repository."""


class UrlFile(Spec):
    """One file on the web, for data that no hub has."""

    kind: Literal["url"] = "url"
    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/\S*[^/\s]$")]
    """Ends with the file's name; best an address that names a commit."""
    sha256: Sha256 | None = None
    """Of the file, where it is known."""


class FolderSource(Spec):
    """A folder (or file) on this machine."""

    kind: Literal["folder"] = "folder"
    path: str


class RandomSource(Spec):
    """Random weights with the configuration and tokenizer of another model: for rehearsals only."""

    kind: Literal["random"] = "random"
    like: Identifier
    """Id of the model whose tokenizer and configuration are used."""
    model_type: str | None = None
    """Another family of transformers: its default configuration with ``overrides``, the tokenizer of ``like``."""
    overrides: dict[str, bool | int | float] = {}
    seed: int = 0


FileSource = Annotated[PackagedFile | HubSource | FolderSource, Field(discriminator="kind")]
DatasetSource = Annotated[PackagedFile | HubFiles | UrlFile | FolderSource, Field(discriminator="kind")]
ModelSource = Annotated[PackagedFile | HubSource | FolderSource | RandomSource, Field(discriminator="kind")]
