"""What `lavallama train llava` reads: conversations about pictures, `{"id", "image", ...}`.

Each asks for the caption, then points: which region a phrase means, and what a region shows, in
turns and in the words of LLaVA-1.5's data (arXiv 2310.03744, section 3.3). Boxes have two decimals
and lie on the padded square. `lavallama instruct` makes richer conversations of the same documents.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grounding.llava.box_text import find_dialect
from grounding.llava.region_text import place_text
from grounding.prompt import GroundedPrompt
from grounding.stickers.questions import CAPTION, REFER, REGION
from grounding.stickers.vocabulary import article
from pipelines.annotate.record import Record, things_in

__all__ = ["conversation_of", "write_conversations"]

DIALECT = "llava"
IMAGE = "<image>\n"  # where the picture stands, in the first turn


def write_conversations(records: Sequence[Record]) -> Callable[[Path], None]:
    """A writer of the list of conversations, `image` relative to the file."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write("[")
            for place, record in enumerate(records):
                turns = conversation_of(record.document(), int(record.picture[:8], 16))
                name = record.path_from(path.parent)
                entry = {"id": record.name, "image": name, "conversations": turns}
                file.write(("," if place else "") + "\n" + json.dumps(entry, ensure_ascii=False))
            file.write("\n]\n")

    return write


def conversation_of(document: GroundedPrompt, chance: int) -> list[dict[str, Any]]:
    """The turns about a picture.

    Args:
        document: With a caption, and regions with phrases and boxes.
        chance: Any number; decides the wording.
    """
    assert document.canvas is not None, "annotated pictures have a size"
    dialect = find_dialect(DIALECT)
    view = dialect.view(document.canvas.size)
    pairs = [(CAPTION[chance % len(CAPTION)], document.prompt)]
    regions = things_in(document)
    alike = Counter(region.phrase for region in regions)
    for place, region in enumerate(regions):
        where = place_text(region, dialect, view)
        if alike[region.phrase] == 1 and (place + chance) % 2:
            pairs.append((REFER.format(region.phrase), where))
        else:
            pairs.append((REGION.format(where), article(region.phrase)))
    turns = []
    for place, (question, answer) in enumerate(pairs):
        value = question if place else f"{IMAGE}{question}"
        turns += [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return turns
