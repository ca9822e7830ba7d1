"""One question about an image, in the user's terms, and the answer to it.

Axes: C masks, H W the original image, h w the mask map (stride 4 of the padded image).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grounding.errors import PromptError
from seem.marks import Marks
from seem.prompt_encoder import SpatialTokens

__all__ = ["Exemplar", "Found", "Prediction", "Question", "read_previous"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Exemplar:
    """Something on another image, or on this one, that the answer should look like.

    Attributes:
        tokens: What the decoder reads of it (`Predictor.exemplar`).
    """

    tokens: SpatialTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What is asked about one object; at least one of marks, text, audio and reference.

    Attributes:
        marks: What is drawn on the image (`seem.marks`).
        text: What the object is, in words.
        audio: The same in spoken words: their transcript. In "demo" models it does not see the
            text, nor the text it; to the others it is a text.
        reference: What it looks like.
        previous: The mask logits of the last answer, [h, w] or [1, h, w]: this one refines it.
    """

    marks: Marks = Marks()
    text: str | None = None
    audio: str | None = None
    reference: Exemplar | None = None
    previous: Tensor | None = None


class Prediction(NamedTuple):
    """The answer to one question, the best mask first; unpacks as SAM's predictor returns it.

    Attributes:
        masks: At the image's own size.
        scores: In [0, 1], see `Predictor`.
        logits: At stride 4 of the padded image; the next question's `previous`.
    """

    masks: Bool[Tensor, "C H W"]
    scores: Float[Tensor, " C"]
    logits: Float[Tensor, "C h w"]


class Found(NamedTuple):
    """All instances of one text, the best first; there may be none.

    Attributes:
        text: What was looked for.
        masks: At the image's own size.
        scores: In [0, 1].
        logits: At stride 4 of the padded image.
    """

    text: str
    masks: Bool[Tensor, "C H W"]
    scores: Float[Tensor, " C"]
    logits: Float[Tensor, "C h w"]


def read_previous(previous: Tensor, shape: tuple[int, int], like: Tensor) -> Float[Tensor, "1 h w"]:
    """The last answer's logits as a question takes them.

    Args:
        previous: As they were given, [h, w] or [1, h, w].
        shape: Height and width of the mask map.
        like: Has the type and the device that they get.

    Raises:
        PromptError: they are not one finite map of that shape.
    """
    mask = torch.as_tensor(previous).to(like)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.shape != (1, *shape):
        raise PromptError(
            f"previous must be one answer's logits [1, {shape[0]}, {shape[1]}]; got "
            f"{list(mask.shape)}: take logits[:1]"
        )
    if not bool(mask.isfinite().all()):
        raise PromptError("previous must be finite logits; got NaN or infinity")
    return mask
