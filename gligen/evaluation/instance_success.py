"""COCO-MIG's scores: of each instance, whether it is where it was asked for, and what it should be.

Zhou et al., "MIGC: Multi-Instance Generation Controller for Text-to-Image Synthesis", arXiv
2402.05408, section 4.1, as its evaluation computes them
(https://github.com/LeyRio/MIG_Bench/blob/main/eval_mig.py). The detector looks for the noun alone.
The instance's IoU is the largest that any found box has with the box asked for. It is a success if
that reaches 0.5 and the attribute, if one was asked for, is there too. In the mean, an instance in
its place with a wrong attribute counts 0.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gligen.evaluation.detection import MATCH, Detector, View, best_overlap, likely
from gligen.evaluation.layout import Instance

__all__ = ["InstanceSuccess"]

ALL = "all"


@dataclass(frozen=True)
class _Row:
    """One picture: the IoU of each instance, and whether it is a success."""

    overlaps: tuple[float, ...]
    successes: tuple[bool, ...]


class InstanceSuccess:
    """Pictures, given one after another, told apart by their number of instances."""

    def __init__(self, attributes: Sequence[str] = ()) -> None:
        """Begin with nothing.

        Args:
            attributes: Those that an instance may have.
        """
        self.attributes = tuple(attributes)
        self._rows: defaultdict[int, list[_Row]] = defaultdict(list)

    def add(self, asked: Sequence[Instance], view: View, detector: Detector) -> None:
        """Count one picture, if anything was asked for."""
        if not asked:
            return
        found = {noun: likely(view, detector, noun) for noun in {each.noun for each in asked}}
        overlaps, successes = [], []
        for instance in asked:
            overlap, best = best_overlap(instance.box, found[instance.noun])
            placed = best is not None and overlap >= MATCH
            right = True
            if placed and best and instance.attribute and detector.tells_attributes:
                told = view.attribute(best.box, instance.noun, self.attributes)
                right = told == instance.attribute
            overlaps.append(overlap if right else 0.0)
            successes.append(placed and right)
        self._rows[len(asked)].append(_Row(tuple(overlaps), tuple(successes)))

    def result(self) -> dict[str, dict[str, Any]]:
        """By the number of instances, in order, and "all".

        Each: `pictures`, `instances`, `miou`, `success` (share of the instances) and `whole` (share
        of the pictures all of whose instances are successes).
        """
        rows = {str(count): self._rows[count] for count in sorted(self._rows)}
        rows[ALL] = [row for count in rows for row in rows[count]]
        return {name: _scores(group) for name, group in rows.items() if group}


def _scores(rows: Sequence[_Row]) -> dict[str, Any]:
    overlaps = [overlap for row in rows for overlap in row.overlaps]
    successes = [success for row in rows for success in row.successes]
    return {
        "pictures": len(rows),
        "instances": len(overlaps),
        "miou": sum(overlaps) / len(overlaps),
        "success": sum(successes) / len(successes),
        "whole": sum(all(row.successes) for row in rows) / len(rows),
    }
