"""Segmentation: a picture, what was asked about it, what was found, and the files that say so.

Axes: H W the picture.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from grounding.document_paths import name_from
from grounding.draw import draw_found
from grounding.errors import OutputError
from grounding.files import write_files
from grounding.formats import write_coco
from grounding.masks import rle_to_bitmap
from grounding.palette import region_color
from grounding.prompt import GroundedPrompt, Provenance
from grounding.region import Region
from seem.coco import panoptic_entry
from seem.postprocess import Panoptic

__all__ = ["Segmentation", "id_map", "id_picture", "places"]

PALETTE_SIZE = 256  # colours of an indexed PNG


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """One picture that was asked about.

    Attributes:
        image: RGB.
        document: The answer: a mask, box, score and label for each region.
        asked: What was drawn to ask.
        panoptic: The segments, if everything was asked for, and the names of their classes.
    """

    image: Image.Image
    document: GroundedPrompt
    asked: tuple[Region, ...] = ()
    panoptic: tuple[Panoptic, Sequence[str]] | None = None

    def about(self, image: str, provenance: Provenance) -> "Segmentation":
        """The same, with the name of the picture and where the answer comes from."""
        return replace(self, document=self.document.replace(image=image, provenance=provenance))

    def overlay(self) -> Image.Image:
        """The picture with what was asked and what was found."""
        return draw_found(self.image, self.document, self.asked)

    def lines(self) -> list[str]:
        """One line a region: id, label, score, box in pixels, area."""
        return [_line(region, self.image.size) for region in self.document.regions]

    def save(self, folder: str | Path, name: str, *, coco: bool = False) -> list[Path]:
        """Write everything, or nothing.

        Args:
            folder: Is made if need be.
            name: With which the files' names begin.
            coco: Also as a COCO file.

        Returns:
            What was written.

        Raises:
            OutputError: A place cannot be written.
        """
        where = places(folder, name, coco=coco, panoptic=self.panoptic is not None)
        files = {kind: path.name for kind, path in where.items() if kind != "document"}
        document = name_from(self.document, folder).replace(files=files)
        contents = {
            where["overlay"]: _png(self.overlay()),
            where["document"]: _json(document.to_dict()),
            where["mask"]: _png(id_picture(id_map(document, self.image.size))),
        }
        if coco:
            plain = document.replace(regions=[_annotated(r) for r in document.regions])
            names = () if document.segment is None else document.segment.classes
            bare = GroundedPrompt(canvas=plain.canvas, image=plain.image, regions=plain.regions)
            contents[where["coco"]] = _json(write_coco(bare, names=names).content)
        if self.panoptic is not None:
            png, text = self._panoptic(where["panoptic"].name, document.image or "")
            contents |= {where["panoptic"]: png, where["panoptic_json"]: text}
        write_files(contents, last=where["document"])
        return list(contents)

    def _panoptic(self, file_name: str, image: str) -> tuple[bytes, bytes]:
        """The PNG and the JSON of COCO's panoptic format; ids of categories count from 1."""
        assert self.panoptic is not None, "asked for when everything is"
        found, names = self.panoptic
        numbers = range(1, len(names) + 1)
        entry = panoptic_entry(found, image_id=1, file_name=file_name, category_ids=numbers)
        things = {segment.label for segment in found.segments if segment.is_thing}
        used = {segment.label for segment in found.segments}
        content = {
            "images": [
                {
                    "id": 1,
                    "width": self.image.width,
                    "height": self.image.height,
                    "file_name": image,
                }
            ],
            "annotations": [dict(entry.annotation)],
            "categories": [
                {"id": label + 1, "name": names[label], "isthing": int(label in things)}
                for label in sorted(used)
            ],
        }
        return entry.png, _json(content)


def places(
    folder: str | Path, name: str, *, coco: bool = False, panoptic: bool = False
) -> dict[str, Path]:
    """Where each file will go."""
    kinds = {"overlay": "overlay.png", "document": "json", "mask": "mask.png"}
    if coco:
        kinds["coco"] = "coco.json"
    if panoptic:
        kinds |= {"panoptic": "panoptic.png", "panoptic_json": "panoptic.json"}
    return {kind: Path(folder) / f"{name}.{ending}" for kind, ending in kinds.items()}


def id_map(document: GroundedPrompt, size: tuple[int, int]) -> Int[np.ndarray, "H W"]:
    """Which region each pixel belongs to: i is the i-th, 0 none; where masks overlap, the best.

    Args:
        document: An answer.
        size: (width, height) of the picture.
    """
    ids = np.zeros(size[::-1], np.int32)
    numbered = enumerate(document.regions, start=1)
    for number, region in sorted(numbered, key=lambda item: (item[1].score or 0.0, -item[0])):
        if region.mask is not None:
            ids[rle_to_bitmap(region.mask)] = number
    return ids


def id_picture(ids: Int[np.ndarray, "H W"]) -> Image.Image:
    """Ids as a picture: indexed and coloured up to 255, as DAVIS's are; beyond, 16 bits of gray.

    Raises:
        OutputError: More than 65535 regions.
    """
    most = int(ids.max(initial=0))
    if most >= PALETTE_SIZE:
        if most > np.iinfo(np.uint16).max:
            raise OutputError(f"a picture of masks holds up to 65535 regions; got {most}")
        return Image.fromarray(ids.astype(np.uint16))
    picture = Image.fromarray(ids.astype(np.uint8), "P")
    colors = [(0, 0, 0), *(region_color(index) for index in range(PALETTE_SIZE - 1))]
    picture.putpalette([value for color in colors for value in color])
    return picture


def _annotated(region: Region) -> Region:
    """What a COCO annotation holds of a region."""
    return Region(
        id=region.id,
        phrase=region.phrase or "object",
        box=region.box,
        mask=region.mask,
        score=region.score,
        attributes=region.attributes,
    )


def _line(region: Region, size: tuple[int, int]) -> str:
    label = " ".join(region.phrase.split()) or "object"
    score = "" if region.score is None else f"  {region.score:.2f}"
    area = 0 if region.mask is None else sum(region.mask.runs()[1::2])
    if region.box is None or not area:
        return f"{region.id}  {label}{score}  nothing"
    x0, y0, x1, y1 = (round(value * side) for value, side in zip(region.box, size * 2, strict=True))
    return f"{region.id}  {label}{score}  box {x0},{y0},{x1},{y1}  {area} pixels"


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
