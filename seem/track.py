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
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seem.asked import queries_of
from seem.decoder import Predictions, mask_logits
from seem.encoded_image import EncodedImage, object_predictions
from seem.image_memory import ImageMemory
from seem.marks import Marks, draw
from seem.model import Seem
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens

__all__ = ["QueryTrack", "Track", "joined"]

PROMPTED_TOKENS = 256  # pixels that are read of a frame with a prompt
RECENT_TOKENS = 64  # and of another one
LIKENESS = 0.5  # cosine of mean mask features below which it is not the same object
NEARNESS = 0.5  # weight of the overlap with the last mask, against likeness


class Track(Protocol):
    """One object of a video, as a kind of model remembers it (`Predictor.track`)."""

    @property
    def prompted(self) -> Mapping[int, Any]:
        """What was read of the frames with a prompt, by their numbers."""
        ...

    def restart(self) -> None:
        """Forget everything but the prompts."""
        ...

    def prompt(self, image: EncodedImage, frame: int, mask: Bool[Tensor, "H W"]) -> None:
        """Remember a frame with a prompt for good.

        Args:
            image: The frame.
            frame: Its number.
            mask: The object, at the frame's own size; if it is empty, the frame is forgotten.
        """
        ...

    def see(
        self, image: EncodedImage, logits: Float[Tensor, "h w"], mask: Bool[Tensor, "H W"]
    ) -> None:
        """Remember where the object is on a frame, and what it looks like there.

        Args:
            image: The frame.
            logits: Of its mask.
            mask: The same at the frame's own size, without what belongs to other objects; empty
                where the object is away.
        """
        ...

    def find(self, image: EncodedImage) -> Float[Tensor, "h w"]:
        """The object's mask logits on the frame after the last one that was seen.

        All are below zero if it is not there.
        """
        ...


class QueryTrack:
    """A track of a model whose queries' masks are its answers."""

    def __init__(self, model: Seem, memory: int) -> None:
        """Begin without memories.

        Args:
            model: SEEM.
            memory: Frames to remember beside those with prompts.
        """
        self.model = model
        self.prompted: dict[int, SpatialTokens] = {}
        self.recent: deque[SpatialTokens] = deque(maxlen=memory)
        self.last: Float[Tensor, "h w"] | None = None

    def restart(self) -> None:
        """Forget everything but the prompts."""
        self.recent.clear()
        self.last = None

    def prompt(self, image: EncodedImage, frame: int, mask: Bool[Tensor, "H W"]) -> None:
        """Remember a frame with a prompt for good: `Track.prompt`."""
        inside = _padded(mask, image)
        if inside.any():
            self.prompted[frame] = self._read(image, inside, PROMPTED_TOKENS)
        else:
            self.prompted.pop(frame, None)

    def see(
        self, image: EncodedImage, logits: Float[Tensor, "h w"], mask: Bool[Tensor, "H W"]
    ) -> None:
        """Remember where the object was; while it is away, where it was before: `Track.see`."""
        inside = _padded(mask, image)
        if inside.any():
            self.last = logits
            self.recent.append(self._read(image, inside, RECENT_TOKENS))
        else:
            self.last = None

    def find(self, image: EncodedImage) -> Float[Tensor, "h w"]:
        """The object's mask logits on a frame, all below zero if it is not there: `Track.find`.

        The decoder's answers to the memories compete with the image's object queries: by the
        cosine of a candidate's mean mask feature with the remembered one, and by its overlap (IoU)
        with the last mask.
        """
        model, grouping = self.model, self.model.decoder.grouping
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

    def _read(self, image: EncodedImage, inside: Tensor, limit: int) -> SpatialTokens:
        return self.model.decoder.read_marks(image.memory, inside[None], limit=limit)


def joined(seen: list[SpatialTokens]) -> SpatialTokens:
    """Memories of one object as one."""
    looks = [one.looks for one in seen if one.looks is not None]
    return SpatialTokens(
        tokens=torch.cat([one.tokens for one in seen], dim=1),
        owners=torch.cat([one.owners for one in seen]),
        places=torch.cat([one.places for one in seen]),
        positive_mean=torch.stack([one.positive_mean for one in seen]).mean(0),
        negative_mean=torch.stack([one.negative_mean for one in seen]).mean(0),
        looks=tuple(torch.stack(level).mean(0) for level in zip(*looks, strict=True)) or None,
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


def _padded(mask: Bool[Tensor, "H W"], image: EncodedImage) -> Bool[Tensor, "H W"]:
    """A mask on the padded image; what is too small to be seen there is nothing."""
    if not mask.any():
        return torch.zeros(image.size.padded, dtype=torch.bool, device=mask.device)
    drawing = draw(Marks(mask=mask.cpu().numpy()), image.size, box_mode="centre")
    return drawing.positive.to(mask.device)


def _both(one: Predictions, other: Predictions) -> Predictions:
    return Predictions(
        captions=torch.cat([one.captions, other.captions], dim=1),
        mask_embeddings=torch.cat([one.mask_embeddings, other.mask_embeddings], dim=1),
    )
