"""What words found: one mask for each phrase, or all instances of a text.

Axes: H W the image, N masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

__all__ = ["PhraseScores", "SearchScores"]

HIT = 0.5  # IoU from which a phrase or an instance counts as found


@dataclass
class PhraseScores:
    """Phrases and one mask each: the protocol of RefCOCO (arXiv 1608.00272), as in SEEM's tables.

    Attributes:
        ious: Of each phrase.
        common: Pixels that mask and truth share, over all phrases.
        joined: Pixels of mask or truth.
    """

    ious: list[float] = field(default_factory=list)
    common: int = 0
    joined: int = 0

    def add(self, truth: Bool[np.ndarray, "H W"], found: Bool[np.ndarray, "H W"]) -> None:
        """Count a phrase, whose truth is the union of all that it names."""
        self.ious.append(_iou(truth, found))
        self.common += int((truth & found).sum())
        self.joined += int((truth | found).sum())

    def result(self) -> dict[str, float | int]:
        """Cumulative IoU over pixels, mean IoU, share of phrases with IoU >= 0.5."""
        count = max(1, len(self.ious))
        return {
            "phrases": len(self.ious),
            "ciou": self.common / max(1, self.joined),
            "miou": sum(self.ious) / count,
            "ap50": sum(value >= HIT for value in self.ious) / count,
        }


@dataclass
class SearchScores:
    """Texts and all that was found of each.

    Attributes:
        texts: How many were looked for.
        instances: What there was to find.
        answers: Masks that were found.
        hits: Masks that are an instance, one each, with IoU >= 0.5.
        exact: Texts of which all was found, and nothing else.
    """

    texts: int = 0
    instances: int = 0
    answers: int = 0
    hits: int = 0
    exact: int = 0

    def add(
        self, truths: Sequence[Bool[np.ndarray, "H W"]], found: Sequence[Bool[np.ndarray, "H W"]]
    ) -> None:
        """Count a text.

        Args:
            truths: All its instances; there may be none.
            found: The answer, the best first: each takes the instance that it overlaps most, of
                those that are left.
        """
        left, hits = list(truths), 0
        for mask in found:
            overlaps = [_iou(truth, mask) for truth in left]
            if overlaps and max(overlaps) >= HIT:
                left.pop(int(np.argmax(overlaps)))
                hits += 1
        self.texts += 1
        self.instances += len(truths)
        self.answers += len(found)
        self.hits += hits
        self.exact += hits == len(truths) == len(found)

    def result(self) -> dict[str, float | int]:
        """Recall over instances, precision over answers, and the share of texts without mistake."""
        return {
            "texts": self.texts,
            "instances": self.instances,
            "answers": self.answers,
            "recall50": self.hits / max(1, self.instances),
            "precision50": self.hits / max(1, self.answers),
            "exact": self.exact / max(1, self.texts),
        }


def _iou(one: Bool[np.ndarray, "H W"], other: Bool[np.ndarray, "H W"]) -> float:
    """Without the epsilon of `seem.clicks.iou`, so that a half is a half."""
    return int((one & other).sum()) / max(1, int((one | other).sum()))
