"""Foreign formats in and out of the prompt document, recognised by content; one file per format.

`load` reads any of them. Writers return `Written`: the content, and what it could not hold.
"""

from grounding.formats.coco import join_coco, read_coco, write_coco
from grounding.formats.document import read_document, write_document
from grounding.formats.gligen import read_gligen, write_gligen
from grounding.formats.labelme import read_labelme, write_labelme
from grounding.formats.lgd import read_lgd, read_lgd_text, write_lgd
from grounding.formats.recognise import FORMATS, load
from grounding.formats.short import read_short, write_short
from grounding.formats.written import Written

__all__ = [
    "FORMATS",
    "Written",
    "join_coco",
    "load",
    "read_coco",
    "read_document",
    "read_gligen",
    "read_labelme",
    "read_lgd",
    "read_lgd_text",
    "read_short",
    "write_coco",
    "write_document",
    "write_gligen",
    "write_labelme",
    "write_lgd",
    "write_short",
]
