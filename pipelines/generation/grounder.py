"""Grounder: from a prompt document to the tensors that an adapter's tokenizer takes.

Axes: N regions that the adapter takes, K joints, D channels of a phrase, V of a picture's feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from gligen.adapter import GligenAdapter
from gligen.config import BOX_MODALITIES
from gligen.isolation import Isolation
from grounding.errors import CheckpointError, PromptError
from grounding.geometry import normalized_to_pixels
from grounding.joints import JOINTS
from grounding.prompt import GroundedPrompt
from grounding.region import Reference, Region
from pipelines.generation.layout import Layout, Notice, plan_layout
from pipelines.generation.maps import read_map
from pipelines.generation.request import Grounded, Grounding
from pipelines.generation.source_picture import read_picture, source_picture
from pipelines.generation.territory import territory
from pipelines.generation.text import TextReader

if TYPE_CHECKING:
    from weights.image_encoder import ImageEncoder

__all__ = ["Grounder"]


class Grounder:
    """Reads documents for one adapter.

    Args:
        adapter: its modality decides what is read.
        reader: of phrases.
        images: of reference pictures, if there is one.

    Raises:
        CheckpointError: the adapter's phrases are not those of the reader.
    """

    def __init__(
        self, adapter: GligenAdapter, reader: TextReader, images: ImageEncoder | None = None
    ) -> None:
        self.adapter, self.reader, self.images = adapter, reader, images
        self._like = next(adapter.parameters())
        wanted = adapter.config.phrase_dim
        if adapter.config.modality in BOX_MODALITIES and wanted != reader.phrase_dim:
            raise CheckpointError(
                f"the adapter reads phrases of {wanted} channels, the text encoders of this base "
                f"give {reader.phrase_dim}: take the adapter of this base"
            )

    @torch.no_grad()
    def __call__(
        self,
        document: GroundedPrompt,
        size: tuple[int, int],
        say: Notice,
        *,
        cells: tuple[int, int] | None = None,
    ) -> Grounding | None:
        """What a document asks for, or None if it asks for a plain picture.

        Args:
            document: any prompt document.
            size: (width, height) of the picture to be drawn.
            say: told of everything that has no effect on the picture.
            cells: (height, width) of the latents, if regions are to be kept apart.

        Raises:
            PromptError: it asks for what this adapter cannot do, or names files that do not serve.
        """
        config = self.adapter.config
        layout = plan_layout(
            document, config, say, isolate=cells is not None, pictures=self._pictures_as_phrases
        )
        if config.map is not None:
            return self._map(document, size)
        if config.modality == "keypoint":
            return self._poses(layout)
        if not layout.boxes:
            return None
        boxes, masks = self._boxes(layout)
        phrases, said = self._words(layout.phrases, say)
        isolation = None
        if cells is not None:
            isolation = territory(layout.regions, config.max_boxes, size, cells)
        if config.modality == "text":
            phrases = self._with_pictures(phrases, document, layout)
            return self._grounding(boxes, masks, phrases, isolation=isolation)
        images, shown = self._references(document, layout)
        return self._grounding(boxes, masks, phrases, images, said, shown, isolation=isolation)

    @torch.no_grad()
    def grounded(self, layouts: Sequence[Grounding]) -> Grounded:
        """What a batch of pictures grounds together."""
        columns = zip(*(layout.inputs for layout in layouts), strict=True)
        apart = [layout.isolation for layout in layouts if layout.isolation is not None]
        return Grounded(
            tokens=self.adapter.tokens(*(torch.cat(column) for column in columns)),
            isolation=Isolation.joined(apart) if apart else None,
        )

    def _grounding(
        self, *inputs: Tensor, maps: Tensor | None = None, isolation: Isolation | None = None
    ) -> Grounding:
        return Grounding(inputs=inputs, maps=maps, isolation=isolation).to(self._like.device)

    def _boxes(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Boxes [1, N, 4] and masks [1, N]; absent ones are zero."""
        found, count = len(layout.boxes), self.adapter.config.max_boxes
        boxes, masks = torch.zeros(1, count, 4), torch.zeros(1, count)
        boxes[0, :found] = torch.tensor(layout.boxes)
        masks[0, :found] = 1
        return boxes, masks

    def _words(self, texts: Sequence[str], say: Notice) -> tuple[Tensor, Tensor]:
        """Phrases [1, N, D], zero where nothing is said, and where something is [1, N]."""
        config = self.adapter.config
        phrases = self._like.new_zeros(1, config.max_boxes, config.phrase_dim)
        said = torch.zeros(1, config.max_boxes)
        embedded = {text: self.reader.phrase(text, say) for text in dict.fromkeys(texts) if text}
        for index, text in enumerate(texts):
            if text:
                phrases[0, index] = embedded[text][0]
                said[0, index] = 1
        return phrases, said

    @property
    def _pictures_as_phrases(self) -> bool:
        return self.images is not None and self.images.speaks_phrases

    def _with_pictures(self, phrases: Tensor, document: GroundedPrompt, layout: Layout) -> Tensor:
        """Phrases [1, N, D], with the features of reference pictures in the place of theirs."""
        for index, reference in enumerate(layout.references):
            if reference is not None:
                phrases[0, index] = self._feature(document, reference)[0]
        return phrases

    def _references(self, document: GroundedPrompt, layout: Layout) -> tuple[Tensor, Tensor]:
        """Features [1, N, V] of the regions' reference pictures, and where there are any [1, N]."""
        config = self.adapter.config
        features = self._like.new_zeros(1, config.max_boxes, config.image_dim)
        shown = torch.zeros(1, config.max_boxes)
        for index, reference in enumerate(layout.references):
            if reference is None:
                continue
            features[0, index] = self._feature(document, reference)[0]
            shown[0, index] = 1
        return features, shown

    def _feature(self, document: GroundedPrompt, reference: Reference) -> Tensor:
        if self.images is None:
            raise PromptError(
                "reference pictures are read by an image encoder, and neither the adapter nor the "
                "model came with one: name one with --image-encoder"
            )
        feature = self.images(_referred(document, reference))
        config = self.adapter.config
        width = config.phrase_dim if config.modality == "text" else config.image_dim
        if feature.shape[-1] != width:
            raise PromptError(
                f"the adapter reads pictures in {width} channels, the image encoder gives "
                f"{feature.shape[-1]}: they do not belong together"
            )
        return feature

    def _poses(self, layout: Layout) -> Grounding | None:
        """Points [1, K, 2] and masks [1, K]: person by person, joint by joint."""
        if not layout.regions:
            return None
        count = self.adapter.config.token_count
        points, masks = torch.zeros(1, count, 2), torch.zeros(1, count)
        for person, region in enumerate(layout.regions):
            for joint, place in _joints(region).items():
                index = person * len(JOINTS) + joint
                points[0, index] = torch.tensor(place)
                masks[0, index] = 1
        return self._grounding(points, masks)

    def _map(self, document: GroundedPrompt, size: tuple[int, int]) -> Grounding | None:
        maps = read_map(self.adapter.config, document, source_picture(document), size)
        return None if maps is None else self._grounding(maps, torch.ones(1), maps=maps)


def _joints(region: Region) -> dict[int, tuple[float, float]]:
    """A person's visible joints by their number: by name, or all 17 in COCO's order.

    Raises:
        PromptError: names that are no joints, or another number of nameless ones.
    """
    named = [point for point in region.keypoints if point.name is not None]
    if not named and len(region.keypoints) != len(JOINTS):
        raise PromptError(
            f"region {region.id!r}: {len(region.keypoints)} keypoints without names; name them, or "
            f"give all {len(JOINTS)} in COCO's order"
        )
    found: dict[int, tuple[float, float]] = {}
    for place, point in enumerate(region.keypoints):
        name = JOINTS[place] if not named else point.name
        if name not in JOINTS:
            raise PromptError(
                f"region {region.id!r}: no joint is called {name!r}; they are {', '.join(JOINTS)}"
            )
        if point.visibility:
            found[JOINTS.index(name)] = point.xy
    return found


def _referred(document: GroundedPrompt, reference: Reference) -> Image.Image:
    """The picture that a region should look like."""
    if reference.image is not None:
        if reference.region is not None:
            raise PromptError(
                f"{reference.image}: only whole pictures serve as references; cut the region "
                f"{reference.region!r} out of it"
            )
        return read_picture(reference.image)
    assert reference.region is not None, "a reference has an image, a region or both"
    source, box = source_picture(document), document.region(reference.region).bounds()
    if source is None or box is None:
        raise PromptError(
            f"the region {reference.region!r} cannot be shown as a reference: "
            + ("the document names no image" if source is None else "it has no box")
        )
    picture = read_picture(source)
    x0, y0, x1, y1 = (round(edge) for edge in normalized_to_pixels(box, picture.size))
    return picture.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
