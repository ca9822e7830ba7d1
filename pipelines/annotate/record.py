"""Record: an annotated picture, read from the journal when it is needed."""

from dataclasses import dataclass
from pathlib import Path

from grounding.document_paths import path_from
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.annotate.annotator import THING_KEY
from pipelines.journal import Entry

__all__ = ["Record", "things_in"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """An annotated picture.

    Attributes:
        name: Its path in the folder of pictures, with slashes.
        path: Where it is.
        picture: SHA-256 of the file.
        entry: Where its document stands.
    """

    name: str
    path: Path
    picture: str
    entry: Entry

    def document(self) -> GroundedPrompt:
        """Its document; `image` is absent."""
        return GroundedPrompt.model_validate(self.entry.read()["document"])

    def path_from(self, folder: Path) -> str:
        """The picture's path as a file in a folder names it."""
        return path_from(folder, self.path)


def things_in(document: GroundedPrompt) -> list[Region]:
    """The regions of what can be counted; stuff lies behind them."""
    return [region for region in document.regions if region.attributes.get(THING_KEY)]
