"""What "left of" means for boxes: each predicate as a test, and as a region where a box may lie.

Boxes are normalised xyxy, y down. "left of" and its like compare centres, as the evaluation of
LLM-grounded Diffusion does (Lian et al., arXiv 2305.13655, section 4), with a margin; "in front
of" and "behind" compare lower edges: of things on one ground, the nearer stands lower in a picture
(the height cue of Hoiem et al., "Putting Objects in Perspective", CVPR 2006).
"""

from collections.abc import Sequence
from typing import Final

from grounding.geometry import Box, box_area, box_intersection

__all__ = ["ANY", "PLACES", "PREDICATES", "cover", "holds"]

MARGIN = 0.04  # of the canvas: centres nearer than this are not left of or above each other
NEAR = 0.25  # of the canvas: the widest gap between things beside each other
TOUCH = 0.08  # of the canvas: how far what stands on something may float above it
SIDE = 0.5  # of the canvas: "at left" is left of its middle
CENTRE = 0.17  # of the canvas: how far from its middle "at centre" reaches

_AXES: Final = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
PLACES: Final = {"at left": (0, -1), "at right": (0, 1), "at top": (1, -1), "at bottom": (1, 1)}
PREDICATES: Final[dict[str, int]] = {
    **dict.fromkeys((*PLACES, "at centre"), 0),
    **dict.fromkeys((*_AXES, "on", "inside", "beside", "in front of", "behind"), 1),
    "between": 2,
}
"""Each predicate, and how many others it takes."""

ANY: Final = frozenset({"on", "inside", "beside", "in front of", "behind"})
"""Said of several others, these hold of one of them: cats on two chairs sit on one each."""


def holds(predicate: str, subject: Box, others: Sequence[Box] = (), *, slack: float = 0.0) -> bool:
    """Tell whether a box stands so to others.

    Args:
        predicate: One of `PREDICATES`.
        subject: The box it speaks of.
        others: As many as the predicate takes.
        slack: How much clearer than needed it must be, as a fraction of the canvas; for planning.
    """
    x, y = _centre(subject)
    if predicate in PLACES:
        axis, sign = PLACES[predicate]
        return sign * ((x, y)[axis] - SIDE) > slack
    if predicate == "at centre":
        return max(abs(x - SIDE), abs(y - SIDE)) <= CENTRE - slack
    if predicate == "between":
        return _is_between((x, y), *map(_centre, others))
    [other] = others
    if predicate in _AXES:
        axis, sign = _AXES[predicate]
        return sign * ((x, y)[axis] - _centre(other)[axis]) > MARGIN + slack
    if predicate == "on":
        return _stands_on(subject, other)
    if predicate == "inside":
        shared = box_intersection(subject, other)
        return shared is not None and box_area(shared) >= 0.6 * box_area(subject)
    if predicate == "beside":
        return _is_beside(subject, other)
    lower = subject[3] - other[3]
    return (lower if predicate == "in front of" else -lower) > slack


def cover(a: Box, b: Box) -> float:
    """The share of the smaller box that the other covers, 0 to 1."""
    shared = box_intersection(a, b)
    return 0.0 if shared is None else box_area(shared) / min(box_area(a), box_area(b))


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _is_between(point: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Along the axis on which the two lie further apart."""
    axis = 0 if abs(a[0] - b[0]) >= abs(a[1] - b[1]) else 1
    low, high = sorted((a[axis], b[axis]))
    return low < point[axis] < high


def _stands_on(a: Box, b: Box) -> bool:
    """Its foot is on the other's upper half, its middle above the other's, and over the other."""
    middle = (a[0] + a[2]) / 2
    higher = a[1] + a[3] < b[1] + b[3]
    return higher and b[0] <= middle <= b[2] and b[1] - TOUCH <= a[3] <= (b[1] + b[3]) / 2 + TOUCH


def _is_beside(a: Box, b: Box) -> bool:
    """On about the same height, with no wide gap, and not one within the other."""
    gap = max(a[0], b[0]) - min(a[2], b[2])
    shared = min(a[3], b[3]) - max(a[1], b[1])
    apart = abs(a[0] + a[2] - b[0] - b[2]) / 2 > MARGIN
    return apart and gap <= NEAR and shared >= 0.3 * min(a[3] - a[1], b[3] - b[1])
