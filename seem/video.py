"""Follow objects through a video: prompt them on any frame, get their masks on all.

Axes: H W a frame, h w the mask map (stride 4 of the padded frame), K objects.

    video = VideoPredictor(predictor)
    video.init(open_frames("llamas.mp4"))
    video.add(0, 1, points=[[120, 80]])
    for frame, masks in video.propagate():
        masks[1]  # bool [H, W]

The conventions are those of SAM 2's video predictor
(https://github.com/facebookresearch/sam2); how an object is remembered, `seem.track` says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from grounding.errors import PromptError
from seem.encoded_image import EncodedImage
from seem.marks import draw, pixel_marks
from seem.postprocess import restore_linear
from seem.predictor import Predictor
from seem.preprocess import ImageSize
from seem.question import Question
from seem.track import Track

__all__ = ["Movie", "VideoPredictor"]

MEMORY = 6  # frames, as SAM 2 (arXiv 2408.00714, section 4: N)
CERTAIN = 20.0  # the logit of a mask that was given
STRIDE = 4  # of the mask map


class Movie(Protocol):
    """Frames by number, uint8 [H, W, 3], RGB, all of one size; `seem.frames.Frames`, or a list."""

    def __len__(self) -> int: ...  # noqa: D105

    def __getitem__(self, index: int, /) -> Any: ...  # noqa: D105


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """An object on a frame where it was prompted.

    Attributes:
        logits: Of the answer.
        mask: The answer at the frame's own size, which may be finer than the logits.
        given: Whether the mask was given instead of asked for.
    """

    logits: Float[Tensor, "h w"]
    mask: Bool[Tensor, "H W"]
    given: bool = False

    def full(self, size: ImageSize) -> Float[Tensor, "H W"]:
        """Logits at the frame's own size, above zero where the mask is."""
        if self.given:
            return torch.where(self.mask, CERTAIN, -CERTAIN)
        logits = restore_linear(self.logits[None], size)[0]
        least = torch.finfo(logits.dtype).tiny
        return torch.where(self.mask, logits.clamp(min=least), logits.clamp(max=0))


class VideoPredictor:
    """Objects, told apart by their ids, on the frames of one video.

    One frame is decoded and encoded at a time, and of each object a bounded number of frames is
    remembered, so the length of the video does not matter. A pixel belongs to one object at most:
    the one with the larger logit. An object that is not found has an empty mask, and may return.
    The same video and prompts give the same bits.
    """

    def __init__(self, predictor: Predictor, memory: int = MEMORY) -> None:
        """Prepare for a video.

        Args:
            predictor: Encodes and answers frames; its own image is left alone.
            memory: Frames that an object is remembered by, beside those with prompts.

        Raises:
            PromptError: No memory at all.
        """
        if memory < 1:
            raise PromptError(f"memory must be at least 1 frame; got {memory}")
        self.predictor, self.memory = predictor, memory
        self._frames: Movie | None = None
        self._tracks: dict[int, Track] = {}
        self._shown: dict[int, dict[int, _Shown]] = {}  # frame -> object -> answer
        self._encoded: tuple[int, EncodedImage] | None = None

    @property
    def frames(self) -> Movie:
        """The video.

        Raises:
            PromptError: None was given.
        """
        if self._frames is None:
            raise PromptError("there is no video to follow objects in: call init first")
        return self._frames

    @property
    def objects(self) -> tuple[int, ...]:
        """The ids, in the order in which they were added."""
        return tuple(self._tracks)

    def init(self, frames: Movie | Sequence[Any]) -> None:
        """Take a video, and forget all objects of the last one.

        Raises:
            PromptError: It has no frame.
        """
        if not len(frames):
            raise PromptError("a video needs at least one frame; got none")
        self._frames, self._encoded = frames, None
        self._tracks, self._shown = {}, {}

    def add(
        self, frame: int, object_id: int, *, text: str | None = None, **drawn: Any
    ) -> Bool[Tensor, "H W"]:
        """Show an object on a frame; what was said of it on that frame before is replaced.

        Args:
            frame: The frame's number.
            object_id: A number of the caller's own; a new one is a new object.
            text: What it is; the most probable instance is taken.
            **drawn: Where it is, as for `Predictor.predict`: points, labels, box, strokes,
                stroke_labels, mask; in pixels. A mask alone is taken as it is.

        Returns:
            Its mask on that frame, all of it: other objects do not count yet.

        Raises:
            PromptError: There is no such frame, or the prompt makes no sense.
        """
        marks = pixel_marks(self._encode(frame).size.original, **drawn)
        return self.ask(frame, object_id, Question(marks=marks, text=text))

    @torch.no_grad()
    def ask(self, frame: int, object_id: int, question: Question) -> Bool[Tensor, "H W"]:
        """As `add`, of a question as `Predictor.ask` takes it.

        Raises:
            PromptError: As `add`.
        """
        image = self._encode(frame)
        marks = question.marks
        alone = not (marks.points or marks.strokes or marks.box or question.text or question.audio)
        if marks.mask is not None and alone:
            drawing = draw(marks, image.size, box_mode="centre")
            device = image.memory.mask_features.device
            exact = torch.from_numpy(_at_size(marks.mask, image.size.original)).to(device)
            area = F.avg_pool2d(drawing.positive[None, None].float(), STRIDE)[0, 0].to(device)
            shown = _Shown(logits=(2 * area - 1) * CERTAIN, mask=exact, given=True)
        else:
            answer = self.predictor.ask([question], image=image)[0]
            shown = _Shown(logits=answer.logits[0], mask=answer.masks[0])
        if object_id not in self._tracks:
            self._tracks[object_id] = self.predictor.track(self.memory)
        self._shown.setdefault(frame, {})[object_id] = shown
        self._tracks[object_id].prompt(image, frame, shown.mask)
        return shown.mask

    def remove(self, object_id: int) -> None:
        """Forget an object.

        Raises:
            PromptError: There is none of that id.
        """
        if object_id not in self._tracks:
            raise PromptError(f"there is no object {object_id}; there are {list(self._tracks)}")
        del self._tracks[object_id]
        for shown in self._shown.values():
            shown.pop(object_id, None)

    def propagate(
        self, start: int = 0, *, reverse: bool = False
    ) -> Iterator[tuple[int, dict[int, Bool[Tensor, "H W"]]]]:
        """Follow all objects from a frame to the end, or back to the first frame.

        Every frame with a prompt counts, wherever it lies. Memories of an earlier walk do not.

        Args:
            start: The first frame of the walk.
            reverse: Walk back.

        Yields:
            The frame's number, and the mask of each object by its id.

        Raises:
            PromptError: Nothing to follow, or a frame that cannot be read.
        """
        lost = [name for name, track in self._tracks.items() if not track.prompted]
        if lost or not self._tracks:
            what = f"object {lost[0]} has no pixel on any frame" if lost else "no object was added"
            raise PromptError(f"there is nothing to follow: {what}: show it with add")
        for track in self._tracks.values():
            track.restart()
        for frame, picture in _walk(self.frames, start, reverse):
            yield frame, self._step(frame, picture)

    @torch.no_grad()
    def _step(self, frame: int, picture: Any) -> dict[int, Bool[Tensor, "H W"]]:
        image, shown = self._encode(frame, picture), self._shown.get(frame, {})
        logits, full = {}, []
        for name, track in self._tracks.items():
            said = shown.get(name)
            logits[name] = track.find(image) if said is None else said.logits
            full.append(
                restore_linear(logits[name][None], image.size)[0]
                if said is None
                else said.full(image.size)
            )
        masks = dict(zip(logits, _apart(full), strict=True))
        for name, mask in masks.items():
            self._tracks[name].see(image, logits[name], mask)
        return masks

    def _encode(self, frame: int, picture: Any = None) -> EncodedImage:
        """A frame, encoded; the last one is kept, since several objects are often shown on it."""
        if self._encoded is None or self._encoded[0] != frame:
            picture = self._picture(frame) if picture is None else picture
            self._encoded = frame, self.predictor.encode(picture)
        return self._encoded[1]

    def _picture(self, frame: int) -> Any:
        if not 0 <= frame < len(self.frames):
            raise PromptError(f"frames are numbered 0 to {len(self.frames) - 1}; got {frame}")
        return self.frames[frame]


def _walk(frames: Movie, start: int, reverse: bool) -> Iterator[tuple[int, Any]]:
    if not 0 <= start < len(frames):
        raise PromptError(f"frames are numbered 0 to {len(frames) - 1}; got {start}")
    walk = getattr(frames, "walk", None)
    if walk is not None:
        yield from walk(start, reverse=reverse)
        return
    for index in range(start, -1, -1) if reverse else range(start, len(frames)):
        yield index, frames[index]


def _apart(logits: Sequence[Float[Tensor, "H W"]]) -> list[Bool[Tensor, "H W"]]:
    """Masks that do not overlap: the larger logit has the pixel, of equal ones the first."""
    maps = torch.stack(list(logits))
    winner = maps.argmax(0)
    return [(one > 0) & (winner == number) for number, one in enumerate(maps)]


def _at_size(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape != size:
        raise PromptError(
            f"a mask must have the frame's shape [{size[0]}, {size[1]}]; got {list(mask.shape)}"
        )
    return mask
