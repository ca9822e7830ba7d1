"""Panoptic quality of Kirillov et al., "Panoptic Segmentation" (arXiv 1801.00868).

Axes: H W the image. A segment of the truth and one that was found match if they are of one class
and overlap with an IoU above 0.5; at most one can. Then, for each class,

    PQ = sum of the matches' IoU / (TP + FP/2 + FN/2) = SQ * RQ

Pixels without a segment in the truth ("void") do not count against what was found there, and a
found segment that lies for more than half on void, or on a crowd of its class, is no mistake: as in
the reference code, https://github.com/cocodataset/panopticapi (`evaluation.py`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from grounding.errors import LavallamaError

__all__ = ["MapSegment", "PanopticQuality"]

MATCH = 0.5  # IoU above which segments match: no segment can then match two
VOID = 0


@dataclass(frozen=True, kw_only=True)
class MapSegment:
    """One segment of a map of ids.

    Attributes:
        id: Its number in the map, from 1; 0 is void.
        label: Index of its class.
        crowd: Whether it stands for many objects, only in the truth.
    """

    id: int
    label: int
    crowd: bool = False


@dataclass
class _Counts:
    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0


class PanopticQuality:
    """PQ, SQ and RQ over images, given one after another."""

    def __init__(self, things: Collection[int]) -> None:
        """Begin with nothing.

        Args:
            things: Indices of the classes that can be counted.
        """
        self.things = frozenset(things)
        self._counts: defaultdict[int, _Counts] = defaultdict(_Counts)

    def add(
        self,
        truth: Int[np.ndarray, "H W"],
        truth_segments: Sequence[MapSegment],
        found: Int[np.ndarray, "H W"],
        found_segments: Sequence[MapSegment],
    ) -> None:
        """Count one image.

        Raises:
            LavallamaError: the maps differ in shape, or hold ids that no segment has.
        """
        if truth.shape != found.shape:
            raise LavallamaError(
                f"both maps must have one shape; got {truth.shape} and {found.shape}"
            )
        common, areas, shares = _overlaps(truth, found)
        wanted = _known(truth_segments, areas, "the truth")
        given = _known(found_segments, shares, "the answer")
        for (one, other), both in common.items():
            first, second = wanted.get(one), given.get(other)
            if first is None or second is None or first.crowd or first.label != second.label:
                continue
            union = areas[one] + shares[other] - both - common.get((VOID, other), 0)
            if both / union > MATCH:
                self._counts[first.label].tp += 1
                self._counts[first.label].iou += both / union
                del wanted[one], given[other]
        crowds = {}
        for segment in wanted.values():
            self._counts[segment.label].fn += not segment.crowd
            if segment.crowd:
                crowds[segment.label] = segment.id
        for segment in given.values():
            excused = {VOID, crowds.get(segment.label, VOID)}
            unknown = sum(common.get((id_, segment.id), 0) for id_ in excused)
            self._counts[segment.label].fp += unknown / shares[segment.id] <= MATCH

    def result(self) -> dict[str, dict[str, float | int]]:
        """Means over the classes that occur, in the truth or in the answers.

        Returns:
            For "all", "things" and "stuff": `pq`, `sq`, `rq` and the number of `classes`. As in the
            reference, a class without a match has SQ 0.
        """
        labels = sorted(self._counts)
        return {
            "all": self._mean(labels),
            "things": self._mean([label for label in labels if label in self.things]),
            "stuff": self._mean([label for label in labels if label not in self.things]),
        }

    def _mean(self, labels: list[int]) -> dict[str, float | int]:
        rows = []
        for counts in (self._counts[label] for label in labels):
            weight = counts.tp + (counts.fp + counts.fn) / 2
            if weight:
                quality = counts.iou / counts.tp if counts.tp else 0.0
                rows.append((counts.iou / weight, quality, counts.tp / weight))
        means = np.mean(rows, axis=0).tolist() if rows else [0.0] * 3
        return dict(zip(("pq", "sq", "rq"), means, strict=True)) | {"classes": len(rows)}


def _known(
    segments: Sequence[MapSegment], areas: Mapping[int, int], whose: str
) -> dict[int, MapSegment]:
    """The segments that have a pixel, by id."""
    known = {segment.id: segment for segment in segments}
    if unknown := sorted(set(areas) - set(known) - {VOID}):
        raise LavallamaError(f"every id in {whose} needs a segment; {unknown[0]} has none")
    return {number: segment for number, segment in known.items() if number in areas}


def _overlaps(
    truth: np.ndarray, found: np.ndarray
) -> tuple[dict[tuple[int, int], int], dict[int, int], dict[int, int]]:
    """Pixels of each pair of ids, of each id of the truth, of each id that was found."""
    pairs = truth.astype(np.int64) << 32 | found.astype(np.int64)
    values, counts = np.unique(pairs, return_counts=True)
    common, areas, shares = {}, defaultdict(int), defaultdict(int)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        one, other = value >> 32, value & 0xFFFFFFFF
        common[one, other] = count
        areas[one] += count
        shares[other] += count
    return common, dict(areas), dict(shares)
