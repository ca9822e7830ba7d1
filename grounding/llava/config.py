"""What a LLaVA is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grounding.errors import CheckpointError
from grounding.geometry import Size
from grounding.llava.anyres import PINPOINTS, anyres_tokens
from grounding.llava.pictures import Aspect, PictureReader

__all__ = ["LlavaConfig"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LlavaConfig:
    """What a LLaVA is made of.

    Attributes:
        vision: Config of the vision tower, a CLIP-like model of transformers.
        text: Config of the language model, any causal one of transformers.
        projector: `linear`, `mlpNx_gelu` or `identity`.
        layer: Which hidden states of the vision tower are read.
        feature: Its patches alone, or the class token too.
        aspect: What is done with pictures that are not square.
        pinpoints: Canvases of the aspect `anyres`, (width, height) in pixels.
        image_token: Id of `<image>` in the vocabulary; None: it is in none.
        fenced: Whether pictures stand between `<im_start>` and `<im_end>`, as in the first LLaVA.
        template: Name of the template that it was trained with; None: its files do not say.
    """

    vision: Any  # PretrainedConfig
    text: Any  # PretrainedConfig
    projector: str = "mlp2x_gelu"
    layer: int = -2
    feature: Literal["patch", "cls_patch"] = "patch"
    aspect: Aspect = "pad"
    pinpoints: tuple[Size, ...] = PINPOINTS
    image_token: int | None = None
    fenced: bool = False
    template: str | None = None

    def __post_init__(self) -> None:
        if self.side % self.patch:
            raise CheckpointError(
                f"the side of the vision tower's pictures must be a multiple of its patches', got "
                f"{self.side} and {self.patch}"
            )
        depth = int(self.vision.num_hidden_layers)
        if not -depth - 1 <= self.layer <= depth:
            raise CheckpointError(
                f"the vision tower has {depth} layers, layer {self.layer} is none of them"
            )
        for width, height in self.pinpoints if self.aspect == "anyres" else ():
            if width % self.side or height % self.side or min(width, height) < self.side:
                raise CheckpointError(
                    f"pinpoints must be multiples of the vision tower's {self.side} pixels, got "
                    f"{width}x{height}"
                )

    @property
    def side(self) -> int:
        """Side of the vision tower's pictures, in pixels."""
        return int(self.vision.image_size)

    @property
    def patch(self) -> int:
        """Side of a patch, in pixels."""
        return int(self.vision.patch_size)

    @property
    def reader(self) -> PictureReader:
        """What makes pictures ready."""
        return PictureReader(side=self.side, aspect=self.aspect, pinpoints=self.pinpoints)

    def tokens(self, size: Size) -> int:
        """Return how many tokens a picture of a size becomes."""
        if self.aspect == "anyres":
            return anyres_tokens(size, self.pinpoints, self.side, self.patch)
        return (self.side // self.patch) ** 2 + (self.feature == "cls_patch")
