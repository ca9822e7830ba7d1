"""Shapes drawn on an image become tokens: what the image's features say at the marked pixels.

Axes: n objects, H W the padded image, L levels (strides 32, 16, 8), N marked pixels, C channels.

A point, stroke, box or mask is a bitmap. At up to 512 of its pixels (and of the negative bitmap's)
the features of each level are read bilinearly and projected; a learned vector says "here" or "not
here". The mean of the mask features at the positive pixels, `positive_mean`, chooses the winning
query afterwards (Zou et al., "Segment Everything Everywhere All at Once", arXiv 2304.06718,
section 3). Pixel y of H is read at y / H * (h - 1) of a map of h rows, as the official code does;
this is not the pixel's centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grounding.errors import PromptError

__all__ = ["MarkedPixels", "SpatialTokens", "encode_marks", "mark_pixels", "read_features"]


@dataclass(frozen=True, kw_only=True)
class MarkedPixels:
    """The pixels that prompts mark, those of positive bitmaps first.

    Attributes:
        places: (y, x) as fractions of the padded image, [N, 2].
        owners: The object that each pixel is about, [N].
        positive: Whether it lies on the object, [N].
        objects: The number of objects.
    """

    places: Float[Tensor, "N 2"]
    owners: Int[Tensor, " N"]
    positive: Bool[Tensor, " N"]
    objects: int


@dataclass(frozen=True, kw_only=True)
class SpatialTokens:
    """What the decoder reads of drawn prompts; from this image, or from another one.

    Attributes:
        tokens: For each level, [L, N, C].
        owners: The object that each token is about, [N].
        places: (y, x) of its pixel as fractions of the padded image that was drawn on, [N, 2].
        positive_mean: Mean mask feature of each object's positive pixels, [n, C]; zero without.
        negative_mean: The same of negative pixels; it chooses nothing.
        looks: What a mask refiner compares with (`seem.refiner.Prototypes`); None: it has none.
    """

    tokens: Float[Tensor, "L N C"]
    owners: Int[Tensor, " N"]
    places: Float[Tensor, "N 2"]
    positive_mean: Float[Tensor, "n C"]
    negative_mean: Float[Tensor, "n C"]
    looks: tuple[Tensor, ...] | None = None


def mark_pixels(
    positive: Bool[Tensor, "n H W"],
    negative: Bool[Tensor, "n H W"] | None,
    limit: int,
    generator: torch.Generator | None = None,
) -> MarkedPixels:
    """List the marked pixels of some objects, at most `limit` of each object and sign.

    The official v1 code lets all objects of a pass share one limit, which makes an object's answer
    depend on the others; here each object is read as if it were alone.

    Args:
        positive: What belongs to each object; every object needs a pixel.
        negative: What does not; None: nothing was said.
        limit: The most pixels of an object's positive bitmap, and of its negative one.
        generator: Draw the pixels that are kept, as the official code does. Without it they are
            spread evenly over the row-major list: number floor(i * N / limit) for i = 0, 1, ...

    Raises:
        PromptError: an object has no positive pixel, or shapes differ.
    """
    if negative is not None and negative.shape != positive.shape:
        raise PromptError(
            f"negative bitmaps must have the positive ones' shape {list(positive.shape)}; "
            f"got {list(negative.shape)}"
        )
    empty = (~positive.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise PromptError(
            f"every object needs a positive pixel inside the image; object {empty[0]} of "
            f"{len(positive)} has none"
        )
    parts = [_listed(positive, limit, generator)]
    if negative is not None:
        parts.append(_listed(negative, limit, generator))
    size = torch.tensor(positive.shape[1:], device=positive.device)
    found = torch.cat(parts)
    sign = torch.arange(len(found), device=found.device) < len(parts[0])
    places = found[:, 1:].float() / size
    return MarkedPixels(places=places, owners=found[:, 0], positive=sign, objects=len(positive))


def read_features(
    features: Float[Tensor, "C h w"], places: Float[Tensor, "N 2"]
) -> Float[Tensor, "N C"]:
    """A map's bilinear values at (y, x) fractions of the image: row y * (h - 1)."""
    grid = (2 * places.flip(-1) - 1).to(features.dtype)[None, :, None]
    return F.grid_sample(features[None], grid, align_corners=True)[0, :, :, 0].T


def encode_marks(
    marked: MarkedPixels,
    levels: Sequence[Float[Tensor, "C h w"]],
    mask_features: Float[Tensor, "C h w"],
    projections: Sequence[Float[Tensor, "C C"]],
    signs: Float[Tensor, "2 C"],
) -> SpatialTokens:
    """Read the tokens of marked pixels from one image.

    Args:
        marked: From `mark_pixels`.
        levels: The image's feature maps with their level embeddings.
        mask_features: The image's mask features, at stride 4.
        projections: For each level the matrix that multiplies features from the right.
        signs: The vectors that are added to positive (first) and negative tokens.
    """
    sign = torch.where(marked.positive[:, None], signs[0], signs[1])
    tokens = [
        read_features(level, marked.places) @ projection + sign
        for level, projection in zip(levels, projections, strict=True)
    ]
    read = read_features(mask_features, marked.places)
    return SpatialTokens(
        tokens=torch.stack(tokens),
        owners=marked.owners,
        places=marked.places,
        positive_mean=_means(read, marked.owners, marked.positive, marked.objects),
        negative_mean=_means(read, marked.owners, ~marked.positive, marked.objects),
    )


def _listed(
    bitmaps: Bool[Tensor, "n H W"], limit: int, generator: torch.Generator | None
) -> Int[Tensor, "N 3"]:
    """(object, y, x) of the pixels that are kept, row-major, object after object."""
    kept = []
    for number, bitmap in enumerate(bitmaps):
        found = bitmap.nonzero()
        total = len(found)
        if total > limit:
            if generator is None:
                chosen = torch.arange(limit) * total // limit
            else:
                chosen = torch.randperm(total, generator=generator)[:limit].sort().values
            found = found[chosen.to(found.device)]
        kept.append(F.pad(found, (1, 0), value=number))
    return torch.cat(kept)


def _means(
    values: Float[Tensor, "N C"],
    owners: Int[Tensor, " N"],
    chosen: Bool[Tensor, " N"],
    objects: int,
) -> Float[Tensor, "n C"]:
    """Mean of each object's chosen rows; zero where there is none."""
    belongs = (owners == torch.arange(objects, device=owners.device)[:, None]) & chosen
    weights = belongs.to(values.dtype)
    return weights @ values / weights.sum(1, keepdim=True).clamp(min=1)
