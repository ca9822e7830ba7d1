"""What `lavallama train llava` reads: conversations about pictures, `{"id", "image", ...}`.

Each asks for the caption, then points: which region a phrase means, and what a region shows, in
turns and in the words of LLaVA-1.5's data (arXiv 2310.03744, section 3.3). Boxes have two decimals
and lie on the padded square. `lavallama instruct` makes richer conversations of the same documents.
"""

from collections import Counter
from collections.abc import Sequence

from grounding.llava import records as llava
from grounding.llava.box_text import find_dialect
from grounding.llava.region_text import place_text
from grounding.prompt import GroundedPrompt
from grounding.stickers.questions import CAPTION, REFER, REGION
from grounding.stickers.vocabulary import article
from pipelines.annotate.record import Record, things_in

__all__ = ["conversations", "turns_of"]

DIALECT = "llava"


def conversations(records: Sequence[Record]) -> list[llava.Record]:
    """A conversation about each picture, which is named as it is in the folder of pictures."""
    return [
        llava.Record(
            id=record.name,
            image=record.name,
            turns=turns_of(record.document(), int(record.picture[:8], 16)),
        )
        for record in records
    ]


def turns_of(document: GroundedPrompt, chance: int) -> tuple[str, ...]:
    """Questions and answers about a picture.

    Args:
        document: With a caption, and regions with phrases and boxes.
        chance: Any number; decides the wording.
    """
    assert document.canvas is not None, "annotated pictures have a size"
    dialect = find_dialect(DIALECT)
    view = dialect.view(document.canvas.size)
    turns = [CAPTION[chance % len(CAPTION)], document.prompt]
    regions = things_in(document)
    alike = Counter(region.phrase for region in regions)
    for place, region in enumerate(regions):
        where = place_text(region, dialect, view)
        if alike[region.phrase] == 1 and (place + chance) % 2:
            turns += [REFER.format(region.phrase), where]
        else:
            turns += [REGION.format(where), article(region.phrase)]
    return tuple(turns)
