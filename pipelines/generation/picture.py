"""Generation: a picture and the document that makes it again."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from grounding.document_paths import name_from, path_from
from grounding.draw import draw_regions
from grounding.errors import OutputError
from grounding.files import write_files
from grounding.prompt import GroundedPrompt
from pipelines.generation.png import encode_png

__all__ = ["Generation"]


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One picture that was drawn.

    Attributes:
        image: RGB.
        document: the prompt with every setting resolved, and where the picture comes from.
    """

    image: Image.Image
    document: GroundedPrompt

    def overlay(self) -> Image.Image:
        """Return the picture with its boxes and phrases drawn on it."""
        return draw_regions(self.image, self.document)

    def save(self, path: str | Path, overlay: str | Path | None = None) -> list[Path]:
        """Write the picture, the overlay if asked for, and the document: all of them or none.

        Args:
            path: a `.png`; its metadata holds the document. Next to it, `.json` has the same.
            overlay: where the picture with its boxes goes; None for nowhere.

        Returns:
            What was written, the picture first.

        Raises:
            OutputError: not a `.png`, or a place that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise OutputError(f"{path}: pictures are written as PNG; name it {path.stem}.png")
        record = path.with_suffix(".json")
        files = {"image": path.name}
        contents = {path: encode_png(self.image, self.document)}
        if overlay is not None:
            overlay = Path(overlay)
            buffer = io.BytesIO()
            self.overlay().save(buffer, "PNG", optimize=True)
            contents[overlay] = buffer.getvalue()
            files["overlay"] = path_from(path.parent, overlay)
        document = name_from(self.document, path.parent).replace(image=path.name, files=files)
        contents[record] = (
            json.dumps(document.to_dict(), indent=2, ensure_ascii=False) + "\n"
        ).encode()
        write_files(contents, last=record)
        return list(contents)
