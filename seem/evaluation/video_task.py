"""Objects of films, shown on the first frame and followed to the end: J and F.

Axes: H W the frame. As DAVIS counts the semi-supervised task (arXiv 1704.00675, section 3): of
each object the mean over the annotated frames but the first and the last, then over all objects.
"""

from collections import defaultdict
from typing import Any, Literal, get_args

import numpy as np

from seem.clicks import deepest_pixel
from seem.evaluation.boundary import contour_similarity, region_similarity
from seem.evaluation.sample import VOID_ID, Clip
from seem.predictor import Predictor
from seem.video import VideoPredictor

__all__ = ["Shown", "VideoTask"]

Shown = Literal["mask", "click"]


class VideoTask:
    """J and F of films, given one after another, with each way of showing the objects."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.clips = self.left_out = 0
        self._scores: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._frames = 0

    def add(self, predictor: Predictor, clip: Clip) -> None:
        """Follow the objects of a film, once from their masks, once from a click on each."""
        measured = [i for i in range(1, len(clip.ids) - 1) if clip.ids[i] is not None]
        if not measured or not clip.objects:
            self.left_out += 1
            return
        self.clips += 1
        self._frames += len(measured)
        for shown in get_args(Shown):
            self._scores[shown] += self.follow(predictor, clip, shown)

    def follow(self, predictor: Predictor, clip: Clip, shown: Shown) -> list[tuple[float, float]]:
        """J and F of each object of a film.

        Args:
            predictor: Its own image is left alone.
            clip: With a frame that counts, and an object on the first.
            shown: What is said of each object on the first frame: its mask, or a click where it is
                deepest.
        """
        video = VideoPredictor(predictor.for_image(clip.frames[0]))
        video.init(clip.frames)
        first = clip.ids[0]
        assert first is not None, "a clip with objects has ids on the first frame"
        for number in clip.objects:
            mask = first == number
            if shown == "mask":
                video.add(0, number, mask=mask)
            else:
                place = deepest_pixel(mask)
                assert place is not None, "the object is on the frame"
                video.add(0, number, points=[[place[1], place[0]]])
        scores: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for index, masks in video.propagate():
            ids = clip.ids[index]
            if ids is None or index in (0, len(clip.ids) - 1):
                continue
            void = ids == VOID_ID
            for number in clip.objects:
                pair = ids == number, np.asarray(masks[number].cpu())
                scores[number].append(
                    (region_similarity(*pair, void), contour_similarity(*pair, void))
                )
        return [tuple(np.mean(rows, axis=0).tolist()) for rows in scores.values()]

    def result(self) -> dict[str, Any]:
        """For each way of showing: `jf`, `j`, `f`; and how many films, objects and frames."""
        told: dict[str, Any] = {"films": self.clips, "frames": self._frames}
        for shown, rows in self._scores.items():
            region, line = np.mean(rows, axis=0).tolist()
            told["objects"] = len(rows)
            told[shown] = {"jf": (region + line) / 2, "j": region, "f": line}
        return told
