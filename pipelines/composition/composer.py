"""Composer: draw, look, repair, until the picture is what was asked for or the budget is spent.

The loop of self-correcting generation (Wu et al., "Self-correcting LLM-controlled Diffusion
Models", arXiv 2311.16090), with SEEM as the eye, GLIGEN as the hand, and rules that decide: what is
to be of some material, and is wrong, is drawn plain first and then drawn over; other wrong regions
are redrawn inside their boxes upon the best picture so far; where that does not help, their boxes
are moved; what concerns the whole picture is drawn anew from another seed.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from grounding.errors import PromptError
from grounding.planning.arrangement import arrange
from grounding.planning.scene_graph import SceneGraph
from grounding.prompt import GroundedPrompt
from pipelines.composition.looker import Verdict
from pipelines.composition.sketch import HALFWAY, is_made_of_something, sketch
from pipelines.planning.planner import usual_shape

__all__ = ["Action", "Budget", "Composer", "Order", "Step", "best_of", "fingerprint"]

PATIENCE = 2  # times that a region is redrawn in vain before something else is tried

Action = Literal["draw", "redraw", "sketch", "move", "reseed"]
Draw = Callable[[GroundedPrompt, int, "Image.Image | None", "float | None"], Image.Image]
Look = Callable[[np.ndarray, GroundedPrompt, SceneGraph], Verdict]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop.

    Attributes:
        rounds: Repairs that are decided on, at most.
        tries: Pictures drawn for each repair, at most.
        pictures: Pictures in all, at most, the first one included.
    """

    rounds: int = 1
    tries: int = 2
    pictures: int = 8


@dataclass(frozen=True, kw_only=True)
class Order:
    """One picture that is to be drawn.

    Attributes:
        action: "draw" the first one; "redraw" regions of another; "sketch" regions plain and draw
            over them; "move" boxes and draw anew; "reseed": draw anew.
        why: In words.
        base: Index of the step whose picture is redrawn; None: none is.
        plan: Where everything is to be.
        regions: Ids of the regions that are drawn, or sketched.
        seed: Of the noise.
    """

    action: Action
    why: str
    base: int | None
    plan: GroundedPrompt
    regions: tuple[str, ...]
    seed: int

    @property
    def request(self) -> GroundedPrompt:
        """What the generator is given."""
        if self.action == "sketch":
            return self.plan
        kept = tuple(region for region in self.plan.regions if region.id in self.regions)
        return self.plan.replace(regions=kept)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One picture, and what is thought of it.

    Attributes:
        order: What was to be drawn.
        image: RGB.
        verdict: What is right about it.
        seconds: Drawing and looking took.
    """

    order: Order
    image: Image.Image
    verdict: Verdict
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Composer:
    """Draws until it is right.

    Attributes:
        draw: Given a document, a seed and, to redraw its boxes, a picture, or to draw over all of
            it, a picture and a strength: draws.
        look: Judges a picture.
        budget: When to stop.
        moves: Whether boxes may be moved.
    """

    draw: Draw
    look: Look
    budget: Budget = field(default_factory=Budget)
    moves: bool = True

    def __call__(self, plan: GroundedPrompt, graph: SceneGraph, *, seed: int = 0) -> Iterator[Step]:
        """Draw pictures; each has the seed after the last one's.

        Args:
            plan: Where everything is to be.
            graph: What is asked for.
            seed: Of the first picture.

        Yields:
            Each picture as soon as it is judged. `best_of` says which one is the result.
        """
        first = Order(
            action="draw", why="the plan", base=None, plan=plan, regions=_ids(plan), seed=seed
        )
        steps = [self.carry_out(first, graph, [])]
        yield steps[0]
        vain: Counter[str] = Counter()
        for _ in range(self.budget.rounds):
            if steps[-1].verdict.is_right:
                return
            base = best_of(steps)
            action, why = self._decide(steps, base, vain)
            for _ in range(self.budget.tries):
                if len(steps) >= self.budget.pictures or steps[-1].verdict.is_right:
                    return
                order = _order(action, why, base, steps, graph)
                steps.append(self.carry_out(order, graph, steps))
                vain.update(set(steps[-1].verdict.wrong) & set(steps[base].verdict.wrong))
                yield steps[-1]

    def carry_out(self, order: Order, graph: SceneGraph, steps: Sequence[Step]) -> Step:
        """Draw and judge one picture, upon those before it."""
        began = time.monotonic()
        source = None if order.base is None else steps[order.base].image
        strength = None
        if order.action == "sketch":
            plain = sketch(order.plan, order.regions)
            source, strength = self.draw(plain, order.seed, None, None), HALFWAY
        image = self.draw(order.request, order.seed, source, strength).convert("RGB")
        verdict = self.look(np.asarray(image), order.plan, graph)
        return Step(
            order=order, image=image, verdict=verdict, seconds=round(time.monotonic() - began, 3)
        )

    def _decide(self, steps: Sequence[Step], base: int, vain: Counter[str]) -> tuple[Action, str]:
        """Choose the next repair by what is wrong with the best picture."""
        verdict, regions = steps[base].verdict, steps[base].order.plan.regions
        why = f"step {base}: {'; '.join(verdict.findings)}"
        done = Counter(step.order.action for step in steps)
        if not done["sketch"] and _made_of_something(steps[base]):
            return "sketch", why
        tired = any(vain[name] >= PATIENCE for name in verdict.wrong)
        some = 0 < len(verdict.wrong) < len(regions)
        if some and not tired and not verdict.extra:
            return "redraw", why
        ahead = done["reseed"] - done["move"]
        if self.moves and (ahead > 0 or (tired and ahead == 0)):
            return "move", why
        return "reseed", why


def _order(action: Action, why: str, base: int, steps: Sequence[Step], graph: SceneGraph) -> Order:
    """The next picture of a repair."""
    best = steps[base]
    plan, seed = best.order.plan, steps[0].order.seed + len(steps)
    if action in ("redraw", "sketch"):
        upon = base if action == "redraw" else None
        wrong = best.verdict.wrong
        return Order(action=action, why=why, base=upon, plan=plan, regions=wrong, seed=seed)
    if action == "move":
        plan = _moved(plan, graph, best.verdict.wrong or _ids(plan), seed)
    return Order(action=action, why=why, base=None, plan=plan, regions=_ids(plan), seed=seed)


def _made_of_something(step: Step) -> bool:
    """Whether what is wrong was to be of some material or colour."""
    wrong = step.verdict.wrong
    return any(is_made_of_something(one) for one in step.order.plan.regions if one.id in wrong)


def _ids(plan: GroundedPrompt) -> tuple[str, ...]:
    return tuple(region.id for region in plan.regions)


def best_of(steps: Sequence[Step]) -> int:
    """The index of the best picture, ties to the first."""
    return max(range(len(steps)), key=lambda index: (steps[index].verdict.score, -index))


def fingerprint(image: Image.Image) -> str:
    """SHA-256 of a picture's size and RGB bytes, 64 hexadecimal digits."""
    pixels = image.convert("RGB")
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()


def _moved(
    plan: GroundedPrompt, graph: SceneGraph, wrong: Sequence[str], seed: int
) -> GroundedPrompt:
    """Lay out anew what is wrong, beside what is right; all of it where that has no place."""
    slots = dict(zip((region.id for region in plan.regions), graph.slots(), strict=True))
    fixed = {
        slots[region.id]: region.box
        for region in plan.regions
        if region.id not in wrong and region.box is not None
    }
    try:
        boxes = arrange(graph, seed=seed, shape=usual_shape, fixed=fixed)
    except PromptError:
        boxes = arrange(graph, seed=seed, shape=usual_shape)
    regions = tuple(region.replace(box=boxes[slots[region.id]]) for region in plan.regions)
    return plan.replace(regions=regions)
