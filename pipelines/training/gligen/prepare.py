"""A data set brought to a model: pictures at bucket sizes, documents in their coordinates.

Each picture is read once from its source; everything that the training needs of it goes to the
cache. Regions are kept as GLIGEN keeps them: at least a hundredth of the picture, the 30 largest
(arXiv 2301.07093, section 4).
Axes: C latent channels, h w latent cells.
"""

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gligen.config import BOX_MODALITIES, AdapterConfig
from gligen.evaluation.coco_layouts import MIN_AREA
from gligen.train.buckets import nearest_bucket, placement
from gligen.train.mirror import mirrored
from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.formats.annotation import same_shape
from grounding.geometry import CanvasMap, Size, box_area, clip_xyxy, normalized_to_pixels
from grounding.picture_file import open_picture, open_upright, read_picture_size
from grounding.prompt import Canvas, GroundedPrompt, Keypoint, Maps, Region
from grounding.region import Reference
from pipelines.generation.maps import MAP_FIELDS, SIXTEEN_BITS, canny_edges, read_map_picture
from pipelines.generation.source_picture import FOLLOWS_EDGES, read_picture
from pipelines.original import encoded_picture
from pipelines.training.gligen.cache import Cache
from pipelines.training.sources import Found

__all__ = ["Prepared", "Preparer"]

NORMAL_FLIP = 255  # x of a normal is red, 0 to 255 from left to right
NO_BOX = (0.0, 0.0, 0.0, 0.0)
Picture = Callable[[], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A picture that can be learnt from.

    Attributes:
        name: For reports.
        digest: sha256 of the picture's file.
        document: Words and regions on the bucket; reads no file yet, see `Preparer.request`.
        size: (width, height) of the bucket.
        map: The document's own map, before it is cut; None: it has none.
        map_digest: sha256 of the map's file.
        source_size: (width, height) of the picture itself.
    """

    name: str
    digest: str
    document: GroundedPrompt
    size: Size
    map: str | None
    map_digest: str | None
    source_size: Size


@dataclass(frozen=True, kw_only=True)
class Preparer:
    """Prepares pictures for one adapter on one base.

    Attributes:
        config: Of the adapter.
        buckets: Sizes in pixels.
        vae: The base's autoencoder.
        vae_digest: Of its weights.
        cache: Where everything goes.
        flips: Mirrored pictures are prepared too.
    """

    config: AdapterConfig
    buckets: tuple[Size, ...]
    vae: Any
    vae_digest: str
    cache: Cache
    flips: bool

    def __call__(self, source: Iterable[Found], drops: Drops) -> list[Prepared]:
        """All pictures that can be learnt from; the others are counted in `drops`."""
        prepared = []
        for found in source:
            try:
                one = self._prepare(found, drops)
            except Dropped as dropped:
                drops.picture(found.name, dropped)
                continue
            finally:
                drops.add(found.name, found.remarks)
            prepared.append(one)
            drops.pictures += 1
            drops.regions += len(one.document.regions)
        return prepared

    def latents(self, one: Prepared, *, flip: bool) -> Tensor:
        """Latents of a prepared picture, float32 [1, C, h, w].

        Args:
            one: The picture.
            flip: Mirrored.
        """
        return self.cache.tensors("latents", *self._encoding(one, flip, None))["latents"]

    def captioned(self, one: Prepared, *, flip: bool) -> GroundedPrompt:
        """Words and regions of a prepared picture."""
        return mirrored(one.document) if flip else one.document

    def request(
        self, one: Prepared, *, flip: bool, picture: Picture | None = None
    ) -> GroundedPrompt:
        """The document that the adapter's grounder reads: with maps and references as files.

        Args:
            one: The picture.
            flip: Mirrored.
            picture: Opens it at its bucket's size; None: it was prepared.
        """
        document = self.captioned(one, flip=flip)
        if self.config.map is not None:
            name = MAP_FIELDS[self.config.modality]
            path = self._map(one, name, flip, picture)
            return document.replace(maps=Maps.model_validate({name: path}))
        if self.config.modality == "text_image":
            regions = [self._shown(one, region, flip, picture) for region in document.regions]
            return document.replace(regions=regions)
        return document

    def picture_file(self, one: Prepared, picture: Picture | None = None) -> str:
        """The picture at its bucket's size, as a file; for inpainting. Arguments as above."""

        def make() -> bytes:
            assert picture is not None, "what is prepared is in the cache"
            return _png(picture())

        made_from = ["picture", one.digest, one.size]
        return str(self.cache.file("pictures", made_from, ".png", make))

    def _prepare(self, found: Found, drops: Drops) -> Prepared:
        try:
            data = found.read()
        except OSError as error:
            raise Dropped("no such file", (error.strerror or str(error)).lower()) from None
        try:
            source_size = _upright_size(data)
            document = found.document()
        except ValueError as error:  # ours, or of JSON and Unicode
            raise Dropped("a document that makes no sense", str(error)) from None
        given = None
        if self.config.map is not None:
            given = getattr(document.maps, MAP_FIELDS[self.config.modality])
        bucket = nearest_bucket(source_size, self.buckets)
        where = placement(source_size, bucket)
        _check_shape(document, source_size)
        regions, lost = self._regions(document, where)
        drops.of_picture(found.name, ((reason, "") for reason in lost))
        if not regions and self.config.map is None:
            raise Dropped("nothing to ground is left")
        one = Prepared(
            name=found.name,
            digest=hashlib.sha256(data).hexdigest(),
            document=GroundedPrompt(
                canvas=Canvas(width=bucket[0], height=bucket[1]),
                prompt=document.prompt or ", ".join(dict.fromkeys(r.phrase for r in regions)),
                regions=tuple(regions),
            ),
            size=bucket,
            map=given,
            map_digest=None if given is None else _digest_of(given),
            source_size=source_size,
        )
        self._fill(one, data)
        return one

    def _fill(self, one: Prepared, data: bytes) -> None:
        """Put all that the training reads of a picture into the cache."""
        opened: list[Image.Image] = []

        def picture() -> Image.Image:
            if not opened:
                try:
                    whole = open_picture(io.BytesIO(data))
                except PromptError as error:
                    reason = str(error).partition(": ")[2]
                    raise Dropped("a picture that cannot be read", reason) from None
                opened.append(_placed(whole, placement(whole.size, one.size)))
            return opened[0]

        if self.config.inpainting:
            self.picture_file(one, picture)
        for flip in (False, True) if self.flips else (False,):
            self.cache.keep("latents", *self._encoding(one, flip, picture))
            try:
                self.request(one, flip=flip, picture=picture)
            except PromptError as error:
                raise Dropped("a map or reference that cannot be read", str(error)) from None

    def _encoding(
        self, one: Prepared, flip: bool, picture: Picture | None
    ) -> tuple[Any, Callable[[], dict[str, Tensor]]]:
        """What latents depend on, and how they are made."""

        def make() -> dict[str, Tensor]:
            assert picture is not None, "what is prepared is in the cache"
            pixels = np.asarray(_flipped(picture(), flip), np.float32) / 127.5 - 1
            values = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            return {"latents": encoded_picture(values, self.vae)}

        return [one.digest, one.size, flip, self.vae_digest], make

    def _regions(
        self, document: GroundedPrompt, where: CanvasMap
    ) -> tuple[list[Region], list[str]]:
        """Regions in a bucket's coordinates, and why the others are left out."""
        if self.config.map is not None:
            return [], []
        people = self.config.modality == "keypoint"
        kept, lost = [], []
        for region in document.regions:
            placed = _placed_region(region, where)
            if people and not any(joint.visibility for joint in placed.keypoints):
                lost.append("no joints on the picture")
            elif not people and placed.box is None:
                lost.append("no box on the picture")
            elif not people and box_area(placed.box or NO_BOX) < MIN_AREA:
                lost.append(f"a box under {MIN_AREA:.0%} of the picture")
            elif self.config.modality == "text" and not placed.phrase.strip():
                lost.append("no phrase")
            else:
                kept.append(placed)
        most = self.config.max_boxes
        if self.config.modality in BOX_MODALITIES and len(kept) > most:
            lost += [f"beyond the {most} largest boxes"] * (len(kept) - most)
            order = sorted(range(len(kept)), key=lambda i: -box_area(kept[i].box or NO_BOX))
            kept = [kept[i] for i in sorted(order[:most])]
        return kept, lost

    def _map(self, one: Prepared, name: str, flip: bool, picture: Picture | None) -> str:
        """The map at the bucket's size: the document's, or the picture's own edges."""

        def make() -> bytes:
            if one.map is None:
                if self.config.modality != FOLLOWS_EDGES:
                    raise Dropped(f"no map (maps.{name})")
                assert picture is not None, "what is prepared is in the cache"
                return _png(Image.fromarray(canny_edges(_flipped(picture(), flip))))
            return _png(self._given_map(one.map, one, flip))

        made_from = ["map", name, one.map_digest or one.digest, one.size, flip]
        return str(self.cache.file("maps", made_from, ".png", make))

    def _given_map(self, name: str, one: Prepared, flip: bool) -> Image.Image:
        where = placement(one.source_size, one.size)
        if self.config.modality != "sem":
            picture = read_map_picture(name, self.config.modality, one.source_size)
            picture = _flipped(_placed(picture, where), flip)
            if picture.mode == "F":  # of 16 bits; so is the file that it goes to
                values = np.asarray(picture).clip(0, 1) * SIXTEEN_BITS
                return Image.fromarray(values.round().astype(np.uint16))
            if self.config.modality == "normal" and flip:
                red, *others = picture.split()
                picture = Image.merge("RGB", (red.point(lambda x: NORMAL_FLIP - x), *others))
            return picture
        classes = open_upright(name).resize(one.source_size, Image.Resampling.NEAREST)
        return _flipped(_placed(classes, where, Image.Resampling.NEAREST), flip)

    def _shown(self, one: Prepared, region: Region, flip: bool, picture: Picture | None) -> Region:
        """A region with a reference picture: its own, or what is cut out of its box."""
        if region.reference is not None:
            if picture is not None:
                read_picture(str(region.reference.image))  # whether it can be
            return region
        box = region.box
        assert box is not None, "regions without a box are dropped"

        def make() -> bytes:
            assert picture is not None, "what is prepared is in the cache"
            x0, y0, x1, y1 = (round(edge) for edge in normalized_to_pixels(box, one.size))
            return _png(_flipped(picture(), flip).crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))))

        made_from = ["crop", one.digest, one.size, box, flip]
        path = self.cache.file("pictures", made_from, ".png", make)
        return region.replace(reference=Reference(image=str(path)))


def _placed_region(region: Region, where: CanvasMap) -> Region:
    """A region on its bucket: phrase, box, joints and a reference of its own, nothing else."""
    bounds = region.bounds()
    box = None if bounds is None else clip_xyxy(where.normalized_box(bounds))
    given = region.reference
    return Region(
        phrase=region.phrase,
        box=box,
        keypoints=tuple(_placed_joint(joint, where) for joint in region.keypoints),
        reference=given if given is not None and given.image is not None else None,
    )


def _placed_joint(joint: Keypoint, where: CanvasMap) -> Keypoint:
    """A joint on the bucket; one that was cut off is not labelled there."""
    x, y, *_ = where.normalized_box((*joint.xy, *joint.xy))
    if 0 <= x <= 1 and 0 <= y <= 1:
        return joint.replace(xy=(x, y))
    return joint.replace(xy=(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)), visibility=0)


def _upright_size(data: bytes) -> Size:
    """(width, height) of a picture as people see it, from its header."""
    try:
        return read_picture_size(io.BytesIO(data))
    except PromptError as error:
        raise Dropped("a picture that cannot be read", str(error).partition(": ")[2]) from None


def _digest_of(name: str) -> str:
    """sha256 of a file; of anything else that a document calls a picture, of its name."""
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return hashlib.sha256(name.encode()).hexdigest()


def _check_shape(document: GroundedPrompt, size: Size) -> None:
    if document.canvas is None:
        return
    if not same_shape(document.canvas.size, size):
        raise Dropped(
            "a picture of another shape than its document says",
            f"{size[0]}x{size[1]} for {document.canvas.width}x{document.canvas.height}",
        )


def _placed(
    picture: Image.Image,
    where: CanvasMap,
    resampling: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """A picture on its bucket."""
    x0, y0, x1, y1 = (round(edge) for edge in where.placed())
    scaled = picture.resize((x1 - x0, y1 - y0), resampling)
    return scaled.crop((-x0, -y0, where.target[0] - x0, where.target[1] - y0))


def _flipped(picture: Image.Image, flip: bool) -> Image.Image:
    return ImageOps.mirror(picture) if flip else picture


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
