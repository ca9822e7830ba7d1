"""Mean IoU of semantic maps: each pixel one class.

Axes: H W the image, K classes. As in Everingham et al., "The PASCAL Visual Object Classes
Challenge: A Retrospective" (IJCV 2015): a class's IoU is counted over the pixels of all images.
"""

import numpy as np
from jaxtyping import Int

from grounding.errors import LavallamaError

__all__ = ["SemanticIou"]


class SemanticIou:
    """The confusion of K classes over images, given one after another."""

    def __init__(self, classes: int) -> None:
        """Begin with nothing.

        Args:
            classes: K.
        """
        self.confusion = np.zeros((classes, classes), np.int64)  # [truth, found]

    def add(self, truth: Int[np.ndarray, "H W"], found: Int[np.ndarray, "H W"]) -> None:
        """Count one image.

        Args:
            truth: Indices of classes; below 0 is void and does not count.
            found: Indices of classes.

        Raises:
            LavallamaError: the maps differ in shape, or hold no index of a class.
        """
        if truth.shape != found.shape:
            raise LavallamaError(
                f"both maps must have one shape; got {truth.shape} and {found.shape}"
            )
        known = truth >= 0
        count = len(self.confusion)
        one, other = truth[known].astype(np.int64), found[known].astype(np.int64)
        if one.size and (max(one.max(), other.max()) >= count or other.min() < 0):
            raise LavallamaError(f"classes are numbered from 0 to {count - 1}")
        pairs = np.bincount(one * count + other, minlength=count * count)
        self.confusion += pairs.reshape(count, count)

    def result(self) -> dict[str, float | int]:
        """`miou` over the classes that occur in the truth, and how many `classes` these are."""
        wanted, found = self.confusion.sum(1), self.confusion.sum(0)
        common = self.confusion.diagonal()
        occurs = wanted > 0
        ious = common[occurs] / (wanted + found - common)[occurs]
        return {"miou": float(ious.mean()) if ious.size else 0.0, "classes": int(occurs.sum())}
