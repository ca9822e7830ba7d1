"""Aspect buckets: the few picture sizes that a data set of all shapes is brought to.

A batch needs pictures of one size. Squares would cut off the sides of most photographs, and the
boxes there; so each picture goes to the bucket whose shape is nearest to its own, and only what
sticks out of that is cut off (as in NovelAI's "Improvements on Stable Diffusion", 2022,
https://blog.novelai.net/novelai-improvements-on-stable-diffusion-e10d38db82ac).
"""

import math

from grounding.geometry import CanvasMap, Size, crop, resize

__all__ = ["bucket_sizes", "nearest_bucket", "placement"]


def bucket_sizes(own: Size, multiple: int, longest: float) -> tuple[Size, ...]:
    """The sizes, (width, height) in pixels, from the widest to the highest.

    Args:
        own: What the model was trained on; no bucket has a larger area.
        multiple: Sides are multiples of it.
        longest: The most that a longer side is of a shorter one, 1 or more; 1: the own size alone.
    """
    sizes = {own}
    area = own[0] * own[1]
    for width in range(multiple, int(own[0] * math.sqrt(longest)) + multiple, multiple):
        height = area // width // multiple * multiple
        if height and max(width / height, height / width) <= longest and longest > 1:
            sizes.add((width, height))
    return tuple(sorted(sizes, key=lambda size: size[0] / size[1], reverse=True))


def nearest_bucket(size: Size, buckets: tuple[Size, ...]) -> Size:
    """The bucket of the nearest shape, on a logarithmic scale; of two, the larger."""
    shape = math.log(size[0] / size[1])
    return min(buckets, key=lambda b: (abs(math.log(b[0] / b[1]) - shape), -b[0] * b[1]))


def placement(size: Size, bucket: Size) -> CanvasMap:
    """Where a picture lies on its bucket: scaled until it covers it, the middle cut out."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    width, height = (max(b, round(s * scale)) for s, b in zip(size, bucket, strict=True))
    left, top = (width - bucket[0]) // 2, (height - bucket[1]) // 2
    return resize(size, (width, height)).then(crop((width, height), left, top, *bucket))
