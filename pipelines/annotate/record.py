"""Record: an annotated picture, read from the journal when it is needed."""

from dataclasses import dataclass, replace
from pathlib import Path

from grounding.document_paths import path_from
from grounding.planning.caption import read_phrase
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.annotate.annotator import NAME_KEY, THING_KEY
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
        corrected: What somebody made of it by hand; None: nothing.
    """

    name: str
    path: Path
    picture: str
    entry: Entry
    corrected: GroundedPrompt | None = None

    def document(self) -> GroundedPrompt:
        """Its document; `image` is absent."""
        return self.own() if self.corrected is None else self.corrected

    def own(self) -> GroundedPrompt:
        """The document as it was made, without corrections."""
        return GroundedPrompt.model_validate(self.entry.read()["document"])

    def correct(self, document: GroundedPrompt) -> "Record":
        """The record with what somebody made of its document.

        Regions that were added, or that have another phrase, get the attributes that training
        data are made of.
        """
        made = self.own()
        before = {region.id: region for region in made.regions}
        regions = []
        for region in document.regions:
            old = before.get(region.id)
            attributes = {THING_KEY: True, NAME_KEY: _noun(region.phrase)} | region.attributes
            if old is not None and old.phrase != region.phrase:
                same_name = old.attributes.get(NAME_KEY) == attributes[NAME_KEY]
                attributes |= {NAME_KEY: _noun(region.phrase)} if same_name else {}
            regions.append(region.replace(attributes=attributes))
        return replace(
            self,
            corrected=document.replace(
                image=None, canvas=document.canvas or made.canvas, regions=tuple(regions)
            ),
        )

    def path_from(self, folder: Path) -> str:
        """The picture's path as a file in a folder names it."""
        return path_from(folder, self.path)


def things_in(document: GroundedPrompt) -> list[Region]:
    """The regions of what can be counted; stuff lies behind them."""
    return [r for r in document.regions if r.attributes.get(THING_KEY) and r.bounds() is not None]


def _noun(phrase: str) -> str:
    """What a phrase is about, without attributes."""
    thing = read_phrase(phrase)
    return thing.noun if thing is not None else phrase
