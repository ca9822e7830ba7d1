"""One object of a video, as a model with a mask refiner remembers it.

Axes: H W the frame, h w the mask map (stride 4 of `EncodedImage.size`).

The last mask is carried along with the pixels under it by optical flow (dense inverse search,
Kroeger et al., arXiv 1603.03590). The refiner looks closely at where that leads, with the carried
mask for its last answer, and compares with what the object looked like on frames that are
remembered. The answer is the mean of both: flow knows nothing of objects and drifts, and a look at
one frame trembles. An object that is lost is looked for on the whole frame, as one that is shown on
another image.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from seem.encoded_image import EncodedImage
from seem.marks import Marks
from seem.model import Seem
from seem.postprocess import restore_linear
from seem.prompt_encoder import SpatialTokens
from seem.refiner import likeness
from seem.track import joined
from seem.zoom_in import (
    answer_reference,
    answer_window,
    on_mask_map,
    read_marks,
    window_around,
)

__all__ = ["RefinedTrack"]

STRIDE = 4  # of the mask map
MIN_FLOW = 32  # pixels: DIS looks at patches of 8 on levels of a pyramid
FLOW_SIDE = 320  # pixels of the longer side at which flow is computed
CARRIED = 0.75  # share of the carried mask in an answer, where the flow explains the picture
EXPLAINED = 16.0  # gray levels of difference at which it does so in part
BLUR = 2.0  # deviation in pixels over which differences are averaged
SURE = 6.0  # logits beyond are no surer
# Cosines of looks of what goes on being the object, and is it again elsewhere. Of objects of films
# made of photographs those on the next frame were 0.78 to 1; of what lay at the same place after a
# cut to another scene 0.34 to 0.86, in eight of nine cases below 0.75.
LIKE, ALIKE = 0.75, 0.85
ALMOST_NONE = 16  # pixels of the frame: what is smaller is no object


@dataclass(frozen=True, kw_only=True, eq=False)
class _Example:
    """What an object looks like on a frame, seen from afar and closely."""

    whole: SpatialTokens
    close: SpatialTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class _Last:
    """Where an object was, and the frame."""

    logits: Float[np.ndarray, "h w"]
    gray: UInt8[np.ndarray, "a b"]


class RefinedTrack:
    """A track of a model with a mask refiner: `seem.track.Track`."""

    def __init__(self, model: Seem, memory: int) -> None:
        """Begin without memories.

        Args:
            model: With a refiner.
            memory: Frames to remember beside those with prompts.
        """
        self.model = model
        self.prompted: dict[int, _Example] = {}
        self.recent: deque[_Example] = deque(maxlen=memory)
        self._last: _Last | None = None

    def restart(self) -> None:
        """Forget everything but the prompts."""
        self.recent.clear()
        self._last = None

    def prompt(self, image: EncodedImage, frame: int, mask: Bool[Tensor, "H W"]) -> None:
        """Remember a frame with a prompt for good: `seem.track.Track.prompt`."""
        if mask.sum() >= ALMOST_NONE:
            self.prompted[frame] = self._read(image, mask)
        else:
            self.prompted.pop(frame, None)

    def see(
        self, image: EncodedImage, logits: Float[Tensor, "h w"], mask: Bool[Tensor, "H W"]
    ) -> None:
        """Remember where the object is, and what it looks like: `seem.track.Track.see`."""
        if mask.sum() < ALMOST_NONE:
            self._last = None
            return
        self._last = _Last(logits=logits.clamp(-SURE, SURE).numpy(force=True), gray=_gray(image))
        self.recent.append(self._read(image, mask))

    def find(self, image: EncodedImage) -> Float[Tensor, "h w"]:
        """The object's mask logits, all below zero if it is not there: `seem.track.Track.find`."""
        found = None if self._last is None else self._go_on(image, self._last)
        if found is None:
            found = self._search(image)
        if found is None:
            height, width = (side // STRIDE for side in image.size.padded)
            return torch.full((height, width), -SURE, device=image.memory.mask_features.device)
        return found

    def _go_on(self, image: EncodedImage, last: _Last) -> Float[Tensor, "h w"] | None:
        """The object near its last place; None: it is not there."""
        device = image.memory.mask_features.device
        logits, trust = (torch.from_numpy(x).to(device) for x in _carry(last, image))
        carried = restore_linear(logits[None], image.size)[0]
        if (carried > 0).sum() < ALMOST_NONE:
            return None
        where = Marks(mask=(carried > 0).numpy(force=True))
        window, shown = window_around(image, where), self._memory("close")
        answers = answer_window(self.model, image, window, where, previous=carried, shown=shown)
        said = on_mask_map(answers, image)[0].clamp(-SURE, SURE)
        share = CARRIED * trust
        found = share * logits + (1 - share) * said
        return found if self._likeness(image, found) >= LIKE else None

    def _search(self, image: EncodedImage) -> Float[Tensor, "h w"] | None:
        """The object anywhere on the frame; None: it is not there."""
        answers = answer_reference(self.model, image, self._memory("whole"))
        found = on_mask_map(answers, image)[0].clamp(-SURE, SURE)
        return found if self._likeness(image, found) >= ALIKE else None

    def _read(self, image: EncodedImage, mask: Bool[Tensor, "H W"]) -> _Example:
        marks = Marks(mask=mask.numpy(force=True))
        return _Example(
            whole=read_marks(self.model, image, marks),
            close=read_marks(self.model, image, marks, window_around(image, marks)),
        )

    def _memory(self, distance: Literal["whole", "close"]) -> SpatialTokens:
        """All that is remembered: prompts count half, recent frames the other half."""
        kinds = [self.prompted.values(), self.recent]
        return joined([joined([getattr(x, distance) for x in kind]) for kind in kinds if kind])

    def _likeness(self, image: EncodedImage, logits: Float[Tensor, "h w"]) -> float:
        """The mean cosine of what a mask shows with the frames with prompts; 0 of no mask."""
        mask = restore_linear(logits[None], image.size)[0] > 0
        if mask.sum() < ALMOST_NONE:
            return 0.0
        seen = read_marks(self.model, image, Marks(mask=mask.numpy(force=True))).looks
        known = joined([example.whole for example in self.prompted.values()]).looks
        assert seen is not None
        assert known is not None
        return likeness(seen, known)


def _carry(
    last: _Last, image: EncodedImage
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The last mask's logits where they are now, and how far the flow explains the picture."""
    now = _gray(image)
    still = np.zeros((*now.shape, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(now, last.gray, still)
    there = _cells(now.shape) + flow
    wrong = cv2.absdiff(now, _sample(last.gray, there)).astype(np.float32)
    trust = np.exp(-((cv2.GaussianBlur(wrong, (0, 0), BLUR) / EXPLAINED) ** 2))
    high, wide = (side / STRIDE for side in image.size.image)  # the rest of the map is padding
    scale = np.array([wide / now.shape[1], high / now.shape[0]], np.float32)
    places = (_cells(last.logits.shape) + 0.5) / scale - 0.5
    back = (_sample(there, places) + 0.5) * scale - 0.5
    return _sample(last.logits, back, beyond=-SURE), _sample(trust, places)


def _cells(shape: tuple[int, ...]) -> Float[np.ndarray, "a b 2"]:
    """The (x, y) of each cell of a map."""
    rows, columns = (np.arange(side, dtype=np.float32) for side in shape)
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def _sample(
    level: np.ndarray, places: Float[np.ndarray, "a b 2"], *, beyond: float | None = None
) -> np.ndarray:
    """A map at places between its cells; None beyond its rim: as at the rim."""
    rim = cv2.BORDER_REPLICATE if beyond is None else cv2.BORDER_CONSTANT
    x, y = places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)
    return cv2.remap(
        level, x, y, cv2.INTER_LINEAR, borderMode=rim, borderValue=(beyond or 0.0,) * 4
    )


def _gray(image: EncodedImage) -> UInt8[np.ndarray, "a b"]:
    """The image without colours, small."""
    assert image.picture is not None, "models with a refiner keep the picture"
    gray = cv2.cvtColor(image.picture, cv2.COLOR_RGB2GRAY)
    scale = FLOW_SIDE / max(gray.shape)
    size = max(MIN_FLOW, round(gray.shape[1] * scale)), max(MIN_FLOW, round(gray.shape[0] * scale))
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
