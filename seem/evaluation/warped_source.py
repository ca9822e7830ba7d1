"""Films made of photographs: a camera pans, turns and zooms over each, and its surface bends.

Axes: H W the photograph, h w a frame, T frames. The same warp is applied to picture and masks, so
the truth is exact on every frame. What real films have beside that, these have not: nothing moves
by itself, and nothing is hidden by what moves in front of it.
"""

import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float

from grounding.errors import PromptError
from seem.evaluation.sample import VOID_ID, Clip, Sample, Source

__all__ = ["warped_film", "warped_source"]

FRAMES = 12
LONG_SIDE = 480  # pixels of a frame, at most; DAVIS' 480p has 854
WINDOW = (0.6, 0.9)  # sides of what the camera sees, in sides of the photograph
TURN = 0.15  # radians, at most, to either side
BEND = 0.02  # of the window's longer side: how far its surface is moved
WAVES = (0.5, 1.5)  # of the bend, over the window
OBJECTS = 3  # of a film, things first, then the largest


def warped_source(source: Source) -> Source:
    """Films of the images of a source.

    Args:
        source: With images; its segments are the objects.

    Raises:
        PromptError: it has no images.
    """
    if not source.count:
        raise PromptError(f"{source.what}: films are made of images; this data has none")

    def clips() -> Iterator[Clip]:
        for sample in source.samples():
            yield warped_film(sample)

    return Source(
        what=f"films made of {source.what}",
        tasks=("video",),
        usual=("video",),
        clip_count=source.count,
        clips=clips,
        left_out=source.left_out,
        drops=source.drops,
        facts=source.facts,
    )


def warped_film(sample: Sample) -> Clip:
    """The film of an image; a sample without a segment that counts becomes one without objects.

    Objects are segments that can be clicked on (`Truth.group`) and stand on the first frame. What
    belongs to no segment, and crowds, is void.
    """
    generator = np.random.default_rng(zlib.crc32(f"film {sample.name}".encode()))
    height, width = sample.image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    ids = _numbered(sample)
    path = _Path((height, width), generator)
    frames, maps = [], []
    for step in range(FRAMES):
        places = path.places(step / (FRAMES - 1), size)
        x, y = places[..., 0], places[..., 1]
        rim = cv2.BORDER_REFLECT_101
        frames.append(cv2.remap(sample.image, x, y, cv2.INTER_LINEAR, borderMode=rim))
        maps.append(cv2.remap(ids, x, y, cv2.INTER_NEAREST, borderMode=rim))
    chosen = _chosen(sample, maps[0])
    table = np.zeros(256, np.uint8)
    table[[VOID_ID, *chosen]] = [VOID_ID, *range(1, 1 + len(chosen))]
    return Clip(name=sample.name, frames=frames, ids=[table[numbers] for numbers in maps])


def _numbered(sample: Sample) -> np.ndarray:
    """The number of each pixel's truth, from 1; 255 where there is none, or a crowd."""
    ids = np.full(sample.image.shape[:2], VOID_ID if sample.complete else 0, np.uint8)
    for number, truth in enumerate(sample.truths[: VOID_ID - 1], 1):
        ids[truth.mask] = VOID_ID if truth.crowd else number
    return ids


def _chosen(sample: Sample, first: np.ndarray) -> list[int]:
    """Numbers of the objects of a film, given its first frame."""
    areas = np.bincount(first.ravel(), minlength=VOID_ID + 1)
    least = 0.005 * first.size
    able = [
        number
        for number, truth in enumerate(sample.truths[: VOID_ID - 1], 1)
        if truth.group and not truth.crowd and areas[number] >= least
    ]
    able.sort(key=lambda number: (not sample.truths[number - 1].thing, -areas[number]))
    return sorted(able[:OBJECTS])


class _Path:
    """Where the camera looks at each time in [0, 1]."""

    def __init__(self, size: tuple[int, int], generator: np.random.Generator) -> None:
        height, width = size
        self.size = size
        self.zooms = generator.uniform(*WINDOW, 2)
        margins = (1 - self.zooms) / 2
        self.middles = np.stack(
            [(0.5 + m * generator.uniform(-1, 1, 2)) * (width, height) for m in margins]
        )
        self.turn = generator.uniform(-TURN, TURN)
        self.waves = generator.uniform(*WAVES, (2, 2))
        self.phases = generator.uniform(0, 2 * np.pi, 2)

    def places(self, time: float, size: tuple[int, int]) -> Float[np.ndarray, "h w 2"]:
        """The (x, y) on the photograph that each pixel of a frame of a size shows, float32."""
        height, width = self.size
        ease = (1 - np.cos(np.pi * time)) / 2
        zoom = self.zooms[0] ** (1 - ease) * self.zooms[1] ** ease
        middle = (1 - ease) * self.middles[0] + ease * self.middles[1]
        rows, columns = ((np.arange(side) + 0.5) / side - 0.5 for side in size)
        v, u = np.meshgrid(rows, columns, indexing="ij")
        bend = BEND * ease * max(self.size)
        (a, b), (c, d) = 2 * np.pi * self.waves
        shift_x = bend * (np.sin(a * u + b * v + self.phases[0]) - np.sin(self.phases[0]))
        shift_y = bend * (np.sin(c * u + d * v + self.phases[1]) - np.sin(self.phases[1]))
        x, y = (u * width + shift_x) * zoom, (v * height + shift_y) * zoom
        cosine, sine = np.cos(self.turn * ease), np.sin(self.turn * ease)
        turned = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
        return (turned + middle - 0.5).astype(np.float32)
