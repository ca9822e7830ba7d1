"""One object of a video: what is remembered of it, and where it is on the next frame.

Axes: Q candidates, C channels, h w the mask map (stride 4), H W the padded image.

A frame with a prompt is remembered for good, others while they are recent. Of a remembered frame
SEEM's own tokens are kept, read at pixels of the object's mask: what the decoder calls a reference
(Zou et al., "Segment Everything Everywhere All at Once", arXiv 2304.06718, section 3.3, follows
objects through videos so). The last frame's mask goes where an interactive round's last mask goes,
into the decoder's memory tokens. Remembering a bounded number of frames, and prompted ones for
good, is SAM 2's rule (arXiv 2408.00714, section 4).
"""

from collections import deque

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seem.asked import queries_of
from seem.decoder import Predictions, mask_logits
from seem.encoded_image import EncodedImage, object_predictions
from seem.image_memory import ImageMemory
from seem.model import Seem
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens

__all__ = ["Track"]

PROMPTED_TOKENS = 256  # pixels that are read of a frame with a prompt
RECENT_TOKENS = 64  # and of another one
LIKENESS = 0.5  # cosine of mean mask features below which it is not the same object
NEARNESS = 0.5  # weight of the overlap with the last mask, against likeness


class Track:
    """What is remembered of one object."""

    def __init__(self, memory: int) -> None:
        """Begin without memories.

        Args:
            memory: Frames to remember beside those with prompts.
        """
        self.prompted: dict[int, SpatialTokens] = {}
        self.recent: deque[SpatialTokens] = deque(maxlen=memory)
        self.last: Float[Tensor, "h w"] | None = None

    def restart(self) -> None:
        """Forget everything but the prompts."""
        self.recent.clear()
        self.last = None

    def prompt(self, model: Seem, image: EncodedImage, frame: int, inside: Tensor) -> None:
        """Remember a frame with a prompt for good.

        Args:
            model: SEEM.
            image: The frame.
            frame: Its number.
            inside: The object, [H, W] of the padded image; if it is empty, the frame is forgotten.
        """
        if inside.any():
            self.prompted[frame] = _tokens(model, image, inside, PROMPTED_TOKENS)
        else:
            self.prompted.pop(frame, None)

    def see(
        self, model: Seem, image: EncodedImage, logits: Float[Tensor, "h w"], inside: Tensor
    ) -> None:
        """Remember where the object was on a frame; while it is away, where it was before.

        Args:
            model: SEEM.
            image: The frame.
            logits: Of its mask.
            inside: The mask, [H, W] of the padded image, without what belongs to other objects.
        """
        if inside.any():
            self.last = logits
            self.recent.append(_tokens(model, image, inside, RECENT_TOKENS))
        else:
            self.last = None

    def find(self, model: Seem, image: EncodedImage) -> Float[Tensor, "h w"]:
        """The object's mask logits on a frame, all below zero if it is not there.

        The decoder's answers to the memories compete with the image's object queries: by the
        cosine of a candidate's mean mask feature with the remembered one, and by its overlap (IoU)
        with the last mask.
        """
        grouping = model.decoder.grouping
        seen = joined([*self.prompted.values(), *self.recent])
        previous = self.last[None] if self.last is not None and grouping.has_memory else None
        prompt = Prompt(visual=seen, previous=previous)
        output = model.decode(image.memory, [prompt], objects=False)
        answers = queries_of(output, 0, grouping.spatial_queries)
        others = object_predictions(model, image)
        candidates = mask_logits(_both(answers, others).mask_embeddings, image.memory)[0]
        known = joined(list(self.prompted.values())).positive_mean[0]
        likeness = mask_features(candidates > 0, image.memory) @ (known / known.norm())
        value = likeness
        if self.last is not None:
            value = value + NEARNESS * overlap(candidates > 0, self.last > 0)
        best = int(value.argmax())
        if likeness[best] < LIKENESS:
            return candidates[best].clamp(max=-1.0)
        return candidates[best]


def joined(seen: list[SpatialTokens]) -> SpatialTokens:
    """Memories of one object as one."""
    return SpatialTokens(
        tokens=torch.cat([one.tokens for one in seen], dim=1),
        owners=torch.cat([one.owners for one in seen]),
        places=torch.cat([one.places for one in seen]),
        positive_mean=torch.stack([one.positive_mean for one in seen]).mean(0),
        negative_mean=torch.stack([one.negative_mean for one in seen]).mean(0),
    )


def mask_features(inside: Bool[Tensor, "Q h w"], memory: ImageMemory) -> Float[Tensor, "Q C"]:
    """The mean mask feature inside each mask, of unit length; zero for an empty mask."""
    features = memory.mask_features[0].flatten(1)
    sums = inside.flatten(1).to(features.dtype) @ features.T
    return sums / sums.norm(dim=1, keepdim=True).clamp(min=torch.finfo(sums.dtype).tiny)


def overlap(inside: Bool[Tensor, "Q h w"], last: Bool[Tensor, "h w"]) -> Float[Tensor, " Q"]:
    """IoU of each mask with the last one."""
    common = (inside & last).flatten(1).sum(1)
    return common / (inside | last).flatten(1).sum(1).clamp(min=1)


def _tokens(model: Seem, image: EncodedImage, inside: Tensor, limit: int) -> SpatialTokens:
    return model.decoder.read_marks(image.memory, inside[None], limit=limit)


def _both(one: Predictions, other: Predictions) -> Predictions:
    return Predictions(
        captions=torch.cat([one.captions, other.captions], dim=1),
        mask_embeddings=torch.cat([one.mask_embeddings, other.mask_embeddings], dim=1),
    )
