"""Results: the files of an edited picture.

OUT/edited.png has the document in its metadata, OUT/edited.json is the document, ready to be given
to any other task; OUT/edited.overlay.png shows its regions; the rest is the history.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from grounding.draw import draw_found
from grounding.files import write_files
from grounding.prompt import GroundedPrompt, Provenance
from pipelines.edit.archive import HISTORY, Models, archived
from pipelines.edit.history import History
from pipelines.generation.png import encode_png
from pipelines.version import software

__all__ = ["overlay", "result_paths", "write_result"]

PICTURE, OVERLAY, DOCUMENT = "edited.png", "edited.overlay.png", "edited.json"


def write_result(history: History, models: Models, folder: Path) -> list[Path]:
    """Write everything, or nothing.

    Returns:
        What people look at; and the history.

    Raises:
        OutputError: a place cannot be written.
    """
    scene = history.now
    document = _document(history, models)
    picture, drawn, record, _ = result_paths(folder)
    kept = archived(history, models, folder)
    *pictures, last = kept
    buffer = io.BytesIO()
    overlay(scene.image, document).save(buffer, "PNG", optimize=True)
    text = json.dumps(document.to_dict(), indent=2, ensure_ascii=False) + "\n"
    write_files(
        {
            **{path: kept[path] for path in pictures},
            picture: encode_png(scene.image, document),
            drawn: buffer.getvalue(),
            record: text.encode(),
            last: kept[last],
        }
    )
    return [picture, drawn, record, last]


def result_paths(folder: Path) -> list[Path]:
    """Where the picture, the overlay, the document and the history go."""
    return [folder / name for name in (PICTURE, OVERLAY, DOCUMENT, HISTORY)]


def overlay(picture: Image.Image, document: GroundedPrompt) -> Image.Image:
    """The picture with the outlines of its regions."""
    return draw_found(picture, document)


def _document(history: History, models: Models) -> GroundedPrompt:
    """The document as a result: it names its picture and where that comes from."""
    made = Provenance(
        software=software(),
        model=models.model,
        adapter=models.adapter,
        settings={"edits": history.place, "segmenter": models.segmenter},
    )
    files = {"image": PICTURE, "overlay": OVERLAY}
    return history.now.document.replace(image=PICTURE, files=files, provenance=made)
