"""A layout by rules alone: boxes for all that a scene graph asks for, where its relations hold.

Along each axis, "left of" and "above" say who comes first; the earliest and latest place of each
box follow by longest paths, as in the compaction of circuit layouts (Liao and Wong, "An algorithm
to compact a VLSI symbolic layout with mixed constraints", 1983). Boxes are drawn at random between
those bounds, one after the other; a layout that does not come out right is thrown away, and the
boxes shrink as tries go by.
"""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grounding.errors import PromptError
from grounding.geometry import Box
from grounding.planning.relations import ANY, PLACES, cover, holds
from grounding.planning.scene_graph import Bond, SceneGraph, Slot

__all__ = ["LEAST_SIDE", "Shape", "arrange", "crowded"]

Shape = Callable[[str], float]  # a noun's usual width / height

ATTEMPTS = 400  # layouts that are begun
TRIES = 30  # places for one box
PATIENCE = 20  # layouts begun before the boxes shrink
SHRINK = 0.9
CHOICE = 4  # right layouts among which the one nearest to what was wished is taken
EPSILON = 1e-9
MARGIN = 0.02  # of the canvas: kept free at its edges, if there is room
GAP = 0.02  # of the canvas: between boxes in a row
LEAST_SIDE = 0.05  # of the canvas: no box shrinks below
LARGEST = 0.8  # longer side of a single box
ROOM = 0.95  # longer side of each of n boxes: this over the root of n
CLEAR = 0.02  # of the canvas: how much clearer than needed relations are
MAX_COVER = 0.04  # share of the smaller of two boxes that the other may cover
BOND_COVER = {"on": 0.35, "inside": 1.0, "in front of": 0.35, "behind": 0.35}
_SIDEWAYS = ("left of", "right of", "above", "below")
SIZES = {"big": 1.25, "large": 1.25, "huge": 1.4, "giant": 1.4, "tall": 1.1, "long": 1.1}
SIZES |= {"small": 0.7, "little": 0.7, "tiny": 0.5, "short": 0.85}


def arrange(
    graph: SceneGraph,
    *,
    seed: int = 0,
    shape: Shape = lambda noun: 1.0,
    fixed: Mapping[Slot, Box] | None = None,
    wished: Mapping[Slot, Box] | None = None,
) -> dict[Slot, Box]:
    """Find a box for each instance of each thing.

    Args:
        graph: What is asked for.
        seed: The same seed gives the same layout; others, others.
        shape: Width over height of a noun, on the canvas's own proportions.
        fixed: Boxes that stay where they are.
        wished: Where others should be as nearly as can be, at the size that they have.

    Returns:
        Normalised xyxy for each slot, to three decimals.

    Raises:
        PromptError: nothing is asked for, its relations contradict each other, or there is no room.
    """
    task = _Task(graph, shape, dict(fixed or {}), dict(wished or {}))
    if not task.slots:
        raise PromptError("the caption names nothing that could be put into a box")
    right: list[dict[Slot, Box]] = []
    for attempt in range(ATTEMPTS):
        boxes = _attempt(task, random.Random(f"layout {seed} {attempt}"), attempt)
        if boxes is not None:
            right.append(boxes)
            if len(right) == (CHOICE if task.wished else 1):
                break
    if not right:
        said = "; ".join(graph.say(bond) for bond in graph.bonds)
        raise PromptError(
            f"no layout of {len(task.slots)} boxes was found"
            + (f" in which this holds: {said}" if said else "")
            + ": ask for less, or for what can be together"
        )
    return min(right, key=lambda boxes: _distance(boxes, task.wished))


def crowded(graph: SceneGraph, boxes: Mapping[Slot, Box], most: float) -> list[tuple[Slot, Slot]]:
    """Pairs of which one covers more than a share of the other, and no relation says so."""
    allowed = _allowed(graph)
    return [
        (a, b)
        for a, b in itertools.combinations(boxes, 2)
        if cover(boxes[a], boxes[b]) > max(most, allowed.get(frozenset((a, b)), 0.0))
    ]


@dataclass
class _Task:
    """What is to be laid out, and what of it is given."""

    graph: SceneGraph
    shape: Shape
    fixed: dict[Slot, Box]
    wished: dict[Slot, Box]

    def __post_init__(self) -> None:
        self.slots = list(self.graph.slots())
        self.links = [link for bond in self.graph.bonds for link in _links(self.graph, bond)]
        self.allowed = _allowed(self.graph)
        self.order = _supports_first(self.slots, self.links)
        self.straight: dict[Slot, list[tuple[str, Slot]]] = {}  # single things, left of each other
        for predicate, subject, others in self.links:
            pair = (subject, *others)
            if predicate in _SIDEWAYS and all(self.graph.things[s.thing].count == 1 for s in pair):
                self.straight.setdefault(subject, []).append((predicate, others[0]))
                self.straight.setdefault(others[0], []).append((predicate, subject))


Link = tuple[str, Slot, tuple[Slot, ...]]  # predicate, subject, others
Row = tuple[Slot, Slot]  # the first comes before the second along an axis


def _links(graph: SceneGraph, bond: Bond) -> list[Link]:
    """A relation between things as relations between their instances."""
    slots = list(graph.slots())

    def instances(thing: int) -> list[Slot]:
        return [slot for slot in slots if slot.thing == thing]

    subjects = instances(bond.subject)
    if len(set(bond.others)) < len(bond.others):
        return [(bond.predicate, one, tuple(instances(bond.others[0])[:2])) for one in subjects]
    if bond.predicate in ANY and bond.others:
        others = instances(bond.others[0])
        pairs = zip(subjects, itertools.cycle(others), strict=False)
        return [(bond.predicate, one, (other,)) for one, other in pairs]
    groups = itertools.product(subjects, *map(instances, bond.others))
    return [(bond.predicate, one, tuple(others)) for one, *others in groups]


def _allowed(graph: SceneGraph) -> dict[frozenset[Slot], float]:
    return {
        frozenset((subject, other)): BOND_COVER[predicate]
        for bond in graph.bonds
        for predicate, subject, others in _links(graph, bond)
        if predicate in BOND_COVER
        for other in others
    }


def _supports_first(slots: Sequence[Slot], links: Sequence[Link]) -> list[Slot]:
    """What others stand on, in or beside comes before them; else the order of mention."""
    needs: dict[Slot, set[Slot]] = {slot: set() for slot in slots}
    for predicate, subject, others in links:
        if predicate not in _SIDEWAYS:
            needs[subject].update(others)
    order: list[Slot] = []
    while len(order) < len(slots):
        ready = [s for s in slots if s not in order and needs[s] <= set(order)]
        order.append(ready[0] if ready else next(s for s in slots if s not in order))
    return order


@dataclass
class _Draft:
    """One layout that was begun."""

    task: _Task
    sizes: dict[Slot, tuple[float, float]]
    rows: tuple[list[Row], list[Row]]
    generator: random.Random
    strict: bool
    boxes: dict[Slot, Box]

    def __post_init__(self) -> None:
        links = self.task.links
        self.anchors = [
            {slot: _anchor(links, slot, self.sizes[slot], axis) for slot in self.task.slots}
            for axis in (0, 1)
        ]


def _attempt(task: _Task, generator: random.Random, attempt: int) -> dict[Slot, Box] | None:
    """Begin one layout; None if it does not come out right."""
    draft = _Draft(
        task=task,
        sizes=_sizes(task, generator, SHRINK ** (attempt // PATIENCE)),
        rows=_rows(task.links, generator),
        generator=generator,
        strict=attempt < ATTEMPTS // 2,
        boxes=dict(task.fixed),
    )
    boxes = draft.boxes
    for slot in task.order:
        if slot in boxes:
            continue
        box = _place(draft, slot)
        if box is None:
            return None
        boxes[slot] = box
    slack = CLEAR if draft.strict else 0.0
    moved = [link for link in task.links if not {link[1], *link[2]} <= task.fixed.keys()]
    sound = all(
        holds(predicate, boxes[subject], [boxes[other] for other in others], slack=slack)
        for predicate, subject, others in moved
    )
    return {slot: boxes[slot] for slot in task.slots} if sound else None


def _sizes(task: _Task, generator: random.Random, scale: float) -> dict[Slot, tuple[float, float]]:
    """Width and height of each box."""
    side = min(LARGEST, ROOM / len(task.slots) ** 0.5)
    of_things = [generator.uniform(0.85, 1.0) * side for _ in task.graph.things]
    sizes = {}
    for slot in task.slots:
        given = task.fixed.get(slot) or task.wished.get(slot)
        if given is not None:
            shrunk = 1.0 if slot in task.fixed else scale
            sizes[slot] = ((given[2] - given[0]) * shrunk, (given[3] - given[1]) * shrunk)
            continue
        thing = task.graph.things[slot.thing]
        longer = of_things[slot.thing] * scale
        for kind, word in thing.attributes:
            longer *= SIZES.get(word, 1.0) if kind == "size" else 1.0
        longer = min(longer, 1 - 2 * MARGIN)
        ratio = min(4.0, max(0.25, task.shape(thing.noun)))
        sizes[slot] = (longer, longer / ratio) if ratio > 1 else (longer * ratio, longer)
    _support(task, sizes)
    for slot in task.slots:
        if slot not in task.fixed:
            sizes[slot] = (max(sizes[slot][0], LEAST_SIDE), max(sizes[slot][1], LEAST_SIDE))
    return sizes


def _support(task: _Task, sizes: dict[Slot, tuple[float, float]]) -> None:
    """Make what is inside something smaller than it, and what carries several wide enough."""
    load: dict[Slot, float] = {}
    crowd = [others[0] for predicate, _, others in task.links if predicate == "inside"]
    for predicate, subject, others in task.links:
        if predicate == "inside" and subject not in task.fixed:
            share = 0.6 / crowd.count(others[0])
            shrink = min(1.0, *(share * sizes[others[0]][i] / sizes[subject][i] for i in (0, 1)))
            sizes[subject] = (sizes[subject][0] * shrink, sizes[subject][1] * shrink)
        if predicate == "on":
            load[others[0]] = load.get(others[0], 0.0) + sizes[subject][0]
    for slot, width in load.items():
        if slot not in task.fixed and slot not in task.wished:
            sizes[slot] = (min(max(sizes[slot][0], width), 1 - 2 * MARGIN), sizes[slot][1])


def _rows(links: Sequence[Link], generator: random.Random) -> tuple[list[Row], list[Row]]:
    """Who comes before whom from left to right, and from top to bottom; chance decides the rest."""
    rows: tuple[list[Row], list[Row]] = ([], [])
    turned: dict[frozenset[Slot], tuple[bool, bool]] = {}  # pairs that something is between
    for predicate, subject, others in links:
        if predicate in ("left of", "above"):
            rows[predicate == "above"].append((subject, others[0]))
        elif predicate in ("right of", "below"):
            rows[predicate == "below"].append((others[0], subject))
        elif predicate == "beside":
            pair = (subject, others[0])
            rows[0].append(pair if generator.random() < 0.5 else (pair[1], pair[0]))
        elif predicate == "between":
            axis, flip = generator.random() < 0.25, generator.random() < 0.5
            axis, flip = turned.setdefault(frozenset(others), (axis, flip))
            first, last = others[::-1] if flip else others
            rows[axis].extend(((first, subject), (subject, last)))
    return rows


def _place(draft: _Draft, slot: Slot) -> Box | None:
    """Find a place for one box beside those that have theirs."""
    size, wish = draft.sizes[slot], draft.task.wished.get(slot)
    ranges = []
    for axis in (0, 1):
        low, high = _bounds(draft, slot, axis)
        for link in draft.task.links:
            if link[1] == slot:
                near = _range(link, size, draft.boxes, axis)
                low, high = max(low, near[0]), min(high, near[1])
        if low > high + EPSILON:
            return None
        ranges.append((low, max(low, high)))
    for index in range(TRIES):
        x, y = (draft.generator.uniform(*one) for one in ranges)
        if wish is not None:  # from where it was wished, further and further
            share = min(1.0, 2 * index / TRIES)
            x, y = (
                min(max(wish[axis] + share * (value - wish[axis]), low), high)
                for axis, (value, (low, high)) in enumerate(zip((x, y), ranges, strict=True))
            )
        right, bottom = min(x + size[0], 1.0), min(y + size[1], 1.0)
        box = (round(x, 3), round(y, 3), round(right, 3), round(bottom, 3))
        if _is_free(draft, slot, box):
            return box
    return None


def _bounds(draft: _Draft, slot: Slot, axis: int) -> tuple[float, float]:
    """The earliest and latest start of a box, that leave room for all before and after it."""
    known: dict[tuple[Slot, bool], float] = {}
    rows, boxes = draft.rows[axis], draft.boxes

    def reach(one: Slot, forward: bool) -> float:
        """How far from the edge a box and all that must lie before it reach, by longest paths."""
        if one in boxes:
            return 1 - boxes[one][axis] if forward else boxes[one][axis + 2]
        if (one, forward) not in known:
            known[one, forward] = 2.0  # while it is asked for: a circle is longer than the canvas
            length = draft.sizes[one][axis]
            steps = (
                [b for a, b in rows if a == one] if forward else [a for a, b in rows if b == one]
            )
            edge = min(MARGIN, (1 - length) / 2)
            low, high = draft.anchors[axis][one]
            own = 1 - high if forward else low + length
            past = [reach(step, forward) + GAP for step in steps]
            known[one, forward] = max(own, length + max([edge, *past]))
        return known[one, forward]

    return reach(slot, False) - draft.sizes[slot][axis], 1 - reach(slot, True)


def _anchor(
    links: Sequence[Link], slot: Slot, size: tuple[float, float], axis: int
) -> tuple[float, float]:
    """Where a box may start along an axis, by its place on the canvas."""
    own = [_range(link, size, {}, axis) for link in links if link[1] == slot and not link[2]]
    return max([0.0, *(low for low, _ in own)]), min([1.0 - size[axis], *(high for _, high in own)])


def _range(
    link: Link, size: tuple[float, float], boxes: dict[Slot, Box], axis: int
) -> tuple[float, float]:
    """Where a box may start along an axis, by one relation to what has its place already."""
    predicate, _, others = link
    length, free = size[axis], (0.0, 1.0 - size[axis])
    if predicate in PLACES:
        on_axis, sign = PLACES[predicate]
        if on_axis != axis:
            return free
        middle = 0.5 - length / 2
        return (0.0, middle - 0.06) if sign < 0 else (middle + 0.06, free[1])
    if predicate == "at centre":
        return 0.42 - length / 2, 0.58 - length / 2
    if any(other not in boxes for other in others) or predicate == "between":
        return free
    return _range_beside(predicate, boxes[others[0]], length, axis)


def _range_beside(predicate: str, other: Box, length: float, axis: int) -> tuple[float, float]:
    """Where a box of a length may start along an axis, by its relation to another box."""
    low, high = other[axis], other[axis + 2]
    extent, centred = high - low, (low + high - length) / 2
    if predicate == "inside":
        return low, max(low, high - length)
    if predicate == "beside":
        reach = 0.2 * extent
        return (
            (low - length - 0.12, high + 0.12) if axis == 0 else (centred - reach, centred + reach)
        )
    if predicate in ("on", "in front of", "behind") and axis == 0:
        return centred - 0.3 * extent, centred + 0.3 * extent
    if predicate == "on":
        return low - length, low - length + min(0.15 * extent, 0.3 * length)
    if predicate == "in front of":
        return high + 0.04 - length, 1.0 - length
    return 0.0, high - 0.04 - length if predicate == "behind" else 1.0 - length


def _is_free(draft: _Draft, slot: Slot, box: Box) -> bool:
    """Whether a box covers no other, and lies more to the side than aslant of what it is beside."""
    task = draft.task
    for other, taken in draft.boxes.items():
        if cover(box, taken) > max(MAX_COVER, task.allowed.get(frozenset((slot, other)), 0.0)):
            return False
    return not draft.strict or all(
        _is_straight(box, draft.boxes[other], predicate)
        for predicate, other in task.straight.get(slot, ())
        if other in draft.boxes
    )


def _is_straight(a: Box, b: Box, predicate: str) -> bool:
    across = abs(a[0] + a[2] - b[0] - b[2])
    down = abs(a[1] + a[3] - b[1] - b[3])
    return across >= down if predicate in ("left of", "right of") else down >= across


def _distance(boxes: Mapping[Slot, Box], wished: Mapping[Slot, Box]) -> float:
    return sum(
        abs(a - b) for slot, box in wished.items() for a, b in zip(boxes[slot], box, strict=True)
    )
