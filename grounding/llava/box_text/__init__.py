"""Boxes in texts, in the dialects of the models that write them: one file each."""

from grounding.errors import PromptError
from grounding.llava.box_text.florence2 import Florence2Text
from grounding.llava.box_text.internvl import InternVLText
from grounding.llava.box_text.kosmos2 import Kosmos2Text
from grounding.llava.box_text.llava import LlavaText
from grounding.llava.box_text.mention import Dialect, Mention
from grounding.llava.box_text.qwen_vl import QwenText
from grounding.llava.box_text.seg import SegText

__all__ = ["DIALECTS", "Dialect", "Mention", "find_dialect"]

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        LlavaText(),
        LlavaText(padded=False),
        Kosmos2Text(),
        Florence2Text(),
        QwenText(pixels=True),
        QwenText(pixels=False),
        InternVLText(),
        SegText(),
    )
}


def find_dialect(name: str) -> Dialect:
    """Return the dialect of that name.

    Raises:
        PromptError: There is none.
    """
    if name not in DIALECTS:
        raise PromptError(f"no dialect {name!r}: choose from {', '.join(DIALECTS)}")
    return DIALECTS[name]
