"""Studio: the models of an editing session, opened once, when they are first needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gligen.config import BOX_MODALITIES

if TYPE_CHECKING:
    from pipelines.generation.generator import Generator
    from seem.encoded_image import EncodedImage
    from seem.predictor import Predictor

__all__ = ["Studio"]


@dataclass(kw_only=True)
class Studio:
    """Names of models; or models that are already open, which then count.

    Attributes:
        model: what draws, as for `pipelines.generation.generator.Generator.from_pretrained`.
        adapter: its GLIGEN adapter.
        vae: in place of the model's own.
        text_encoder: in place of the model's own.
        segmenter: what finds, as for `pipelines.segmentation.segmenter.open_predictor`.
        device: of both.
        offline: never use the network.
        drawing: a generator that is open.
        finding: a predictor that is open.
    """

    model: str = "embedded"
    adapter: str | None = None
    vae: str | None = None
    text_encoder: str | None = None
    segmenter: str = "embedded"
    device: str = "auto"
    offline: bool = False
    drawing: Generator | None = None
    finding: Predictor | None = None
    _seen: tuple[UInt8[np.ndarray, "H W 3"], EncodedImage] | None = field(
        default=None, init=False, repr=False
    )

    @cached_property
    def generator(self) -> Generator:
        """What draws."""
        if self.drawing is not None:
            return self.drawing
        from pipelines.generation.generator import Generator

        return Generator.from_pretrained(
            self.model,
            self.adapter,
            device=self.device,
            offline=self.offline,
            vae=self.vae,
            text_encoder=self.text_encoder,
        )

    @cached_property
    def predictor(self) -> Predictor:
        """What finds."""
        if self.finding is not None:
            return self.finding
        from pipelines.segmentation.segmenter import open_predictor

        return open_predictor(self.segmenter, device=self.device, offline=self.offline)

    @property
    def inpaints(self) -> bool:
        """Whether what draws can redraw a part of a picture."""
        adapter = self.generator.adapter
        if self.generator.base.inpaints:
            return True
        return adapter is not None and adapter.config.modality in BOX_MODALITIES

    def looking_at(self, picture: UInt8[np.ndarray, "H W 3"]) -> Predictor:
        """What finds, with a picture before it; the last one is not read again."""
        if self._seen is None or self._seen[0] is not picture:
            self._seen = picture, self.predictor.encode(Image.fromarray(picture))
        self.predictor.set_image(self._seen[1])
        return self.predictor
