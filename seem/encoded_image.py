"""An image as SEEM keeps it: resized, encoded once, and asked any number of times.

Axes: H W the image in pixels, h w the mask map (stride 4), Q object queries.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from grounding.errors import PromptError
from grounding.picture_file import as_seen
from seem.backbones import SamViTConfig
from seem.decoder import Predictions, mask_logits
from seem.detector import Detections
from seem.image_memory import ImageMemory
from seem.model import Seem
from seem.preprocess import ImageSize, preprocess
from seem.prompt import Prompt

__all__ = [
    "EncodedImage",
    "Resizing",
    "default_resizing",
    "encode_image",
    "object_masks",
    "object_predictions",
]


@dataclass(frozen=True, kw_only=True)
class Resizing:
    """The size at which the model sees images: as large as both limits allow.

    Attributes:
        short_side: Pixels of the shorter side.
        long_side: Pixels of the longer side, at most.
    """

    short_side: int = 512
    long_side: int = 2048

    def __post_init__(self) -> None:
        if not 1 <= self.short_side <= self.long_side:
            raise PromptError(
                "images are resized to 1 <= short_side <= long_side pixels; got "
                f"{self.short_side} and {self.long_side}"
            )

    def fit(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) that an image of another (height, width) gets."""
        scale = min(self.short_side / min(size), self.long_side / max(size))
        height, width = (max(1, round(side * scale)) for side in size)
        return height, width


DEMO = Resizing()  # the short side is the official demo's; its long side has no limit
ANSWERS = Resizing(short_side=1024, long_side=1024)  # of a refiner: maps of 256, as SAM's
SAM = Resizing(short_side=1000, long_side=1024)  # the official evaluation with SAM's backbones


def default_resizing(model: Seem) -> Resizing:
    """The official size for a model."""
    return SAM if isinstance(model.config.backbone, SamViTConfig) else DEMO


@dataclass(kw_only=True, eq=False)
class EncodedImage:
    """An image that can be asked about.

    It grows while it is asked about, up to a bound: of closer looks at most 8 are kept, none of
    more than 256 pixels a side (`seem.zoom_in`), about 4 MiB each in the model "photographs".

    Attributes:
        memory: What the decoder needs of it.
        size: The sizes it went through.
        objects: What the object queries say of it; None: not asked yet.
        object_masks: Their mask logits at stride 4; None: not asked yet.
        view: How the memory sees the image; None: at `size`. A model with a mask refiner looks at
            the whole image small and at what it is asked about closely; `size` is then that of its
            answers.
        picture: The image's pixels, for closer looks; None: there are none.
        closer: Closer looks by their windows, the last few.
        detections: What the backbone's detector finds; None: not asked yet.
    """

    memory: ImageMemory
    size: ImageSize
    objects: Predictions | None = None
    object_masks: Float[Tensor, "Q h w"] | None = None
    view: ImageSize | None = None
    picture: UInt8[np.ndarray, "H W 3"] | None = None
    closer: dict[tuple[int, ...], "EncodedImage"] = field(default_factory=dict)
    detections: Detections | None = None


def encode_image(model: Seem, image: Any, resizing: Resizing) -> EncodedImage:
    """Encode one image.

    Args:
        model: SEEM.
        image: A PIL image of any 8-bit mode (gray is repeated, transparency dropped), or an array
            or tensor of uint8, [H, W, 3], [H, W, 4] or gray [H, W]. Its own pixels count: EXIF
            rotation is not applied.
        resizing: The size at which the model sees it; PIL's bicubic, as in the official demo.

    Raises:
        PromptError: not an image.
    """
    whole = picture = _rgb(image)
    original = (picture.height, picture.width)
    height, width = resizing.fit(original)
    if (height, width) != original:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    device = model.decoder.query_feat.weight.device
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().to(device)
    divisor = model.backbone.size_divisibility
    assert isinstance(divisor, int)
    prepared = preprocess([pixels], divisor=divisor, originals=[original])
    memory, view = model.encode_image(prepared.pixels), prepared.sizes[0]
    if model.refiner is None:
        return EncodedImage(memory=memory, size=view)
    image_size = ANSWERS.fit(original)
    padded = tuple(-(-side // divisor) * divisor for side in image_size)
    size = ImageSize(original=original, image=image_size, padded=(padded[0], padded[1]))
    return EncodedImage(memory=memory, size=size, view=view, picture=np.asarray(whole))


def object_predictions(model: Seem, image: EncodedImage) -> Predictions:
    """What the object queries say when nothing is asked; computed once for each image."""
    if image.objects is None:
        image.objects = model.decode(image.memory, [Prompt()]).predictions
    return image.objects


def object_masks(model: Seem, image: EncodedImage) -> Float[Tensor, "Q h w"]:
    """The masks of the object queries, logits at stride 4; computed once for each image."""
    if image.object_masks is None:
        said = object_predictions(model, image)
        image.object_masks = mask_logits(said.mask_embeddings, image.memory)[0]
    return image.object_masks


def _rgb(image: Any) -> Image.Image:
    if isinstance(image, Tensor):
        image = image.cpu().numpy()
    if isinstance(image, np.ndarray):
        fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype != np.uint8 or not fits or not image.size:
            raise PromptError(
                "an image array must be uint8 of shape [height, width, 3], RGB (or gray "
                f"[height, width], or RGBA); got {image.dtype} {list(image.shape)}"
            )
        image = Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image):
        raise PromptError(
            f"an image must be a PIL image or a uint8 array; got {type(image).__name__}: open "
            "files with grounding.picture_file.open_picture"
        )
    if not image.width or not image.height:
        raise PromptError(f"an image needs pixels; got {image.width} x {image.height}")
    return as_seen(image, "the image")
