"""What SEEM's decoder needs of an image, computed once and asked by any number of prompts.

Axes: B images, C channels, h w the mask features' map (stride 4), L levels (strides 32, 16, 8),
N pixels of a level in row order, A attention heads, E channels of a head.

Bilinear resizing is linear, so it commutes with the product of query and mask features: a layer
that wants the masks at its own size multiplies with mask features that were resized beforehand,
and masks of full size are never formed inside the decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from seem.refiner import RefinerMemory

__all__ = ["ImageMemory"]


@dataclass(frozen=True, kw_only=True)
class ImageMemory:
    """One batch of encoded images.

    Attributes:
        mask_features: [B, C, h, w].
        levels: The maps with their level embeddings, each [B, C, h_l, w_l].
        level_mask_features: Mask features resized to each level, [B, C, N_l].
        keys: Of the image, for each layer, [B, A, N_l, E].
        values: As `keys`.
        refiner: What the mask refiner needs; None: the model has none.
    """

    mask_features: Float[Tensor, "B C h w"]
    levels: tuple[Tensor, ...]
    level_mask_features: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    refiner: RefinerMemory | None = None

    def __len__(self) -> int:
        return len(self.mask_features)

    @property
    def padded_size(self) -> tuple[int, int]:
        """Height and width of the padded images, in pixels."""
        height, width = self.mask_features.shape[-2:]
        return 4 * height, 4 * width

    def select(self, images: Sequence[int] | Tensor) -> "ImageMemory":
        """The memory of some of the images, in the given order; an image may occur repeatedly."""
        index = torch.as_tensor(images, device=self.mask_features.device)

        def pick(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor[index] for tensor in tensors)

        return ImageMemory(
            mask_features=self.mask_features[index],
            levels=pick(self.levels),
            level_mask_features=pick(self.level_mask_features),
            keys=pick(self.keys),
            values=pick(self.values),
            refiner=None if self.refiner is None else self.refiner.select(index),
        )
