"""Composer: draw, look, repair, until the picture is what was asked for or the budget is spent.

The loop of self-correcting generation (Wu et al., "Self-correcting LLM-controlled Diffusion
Models", arXiv 2311.16090), with SEEM as the eye, GLIGEN as the hand, and rules that decide: a wrong
region is redrawn in a close-up upon the best picture so far, the worst first; where that does not
help, boxes are moved; what concerns the whole picture is drawn anew from another seed.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from grounding.errors import PromptError
from grounding.planning.arrangement import arrange
from grounding.planning.scene_graph import SceneGraph
from grounding.prompt import GroundedPrompt
from pipelines.composition.closeup import Closeup
from pipelines.composition.verdict import Verdict
from pipelines.planning.planner import usual_shape

__all__ = ["PICTURES", "Action", "Composer", "Order", "Step", "best_of", "fingerprint"]

PICTURES = 8
PATIENCE = 2  # times that a region is redrawn in vain before something else is tried

Action = Literal["draw", "redraw", "move", "reseed"]
Draw = Callable[[GroundedPrompt, int, "Image.Image | None"], Image.Image]
Look = Callable[[np.ndarray, GroundedPrompt, SceneGraph], Verdict]


@dataclass(frozen=True, kw_only=True)
class Order:
    """One picture that is to be drawn.

    Attributes:
        action: "draw" the first one; "redraw" a region of another; "move" boxes and draw anew;
            "reseed": draw anew.
        why: In words.
        base: Index of the step whose picture is redrawn; None: none is.
        plan: Where everything is to be.
        regions: Ids of the regions that are drawn.
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
        """What is drawn, as a document."""
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
        draw: Given a document, a seed and, to redraw its boxes, a picture: draws.
        look: Judges a picture.
        pictures: Pictures that are drawn, at most.
        moves: Whether boxes may be moved.
    """

    draw: Draw
    look: Look
    pictures: int = PICTURES
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
        while len(steps) < self.pictures and not steps[best_of(steps)].verdict.is_right:
            order = self._order(steps, graph, vain)
            steps.append(self.carry_out(order, graph, steps))
            if order.action == "redraw":
                vain.update(set(order.regions) & set(steps[-1].verdict.wrong))
            yield steps[-1]

    def carry_out(self, order: Order, graph: SceneGraph, steps: Sequence[Step]) -> Step:
        """Draw and judge one picture, upon those before it."""
        began = time.monotonic()
        image = self._drawn(order, graph, steps).convert("RGB")
        verdict = self.look(np.asarray(image), order.plan, graph)
        return Step(
            order=order, image=image, verdict=verdict, seconds=round(time.monotonic() - began, 3)
        )

    def _drawn(self, order: Order, graph: SceneGraph, steps: Sequence[Step]) -> Image.Image:
        if order.base is None:
            return self.draw(order.request, order.seed, None)
        source, [name] = steps[order.base].image, order.regions
        closeup = Closeup.of(order.plan, name, source.size, graph.background)
        drawn = self.draw(closeup.document, order.seed, closeup.cut(source))
        return closeup.put(drawn.convert("RGB"), source)

    def _order(self, steps: Sequence[Step], graph: SceneGraph, vain: Counter[str]) -> Order:
        """The next repair, by what is wrong with the best picture."""
        best, seed = best_of(steps), steps[0].order.seed + len(steps)
        verdict, plan = steps[best].verdict, steps[best].order.plan
        why = f"step {best}: {'; '.join(verdict.told)}"
        done = Counter(step.order.action for step in steps)
        hopeful = [
            region.id
            for region in map(plan.region, verdict.wrong)
            if vain[region.id] < PATIENCE and region.bounds() is not None
        ]
        all_wrong = len(verdict.wrong) == len(plan.regions) > 1
        if hopeful and (done["reseed"] or not (all_wrong or verdict.extra)):
            regions = (hopeful[0],)
            return Order(action="redraw", why=why, base=best, plan=plan, regions=regions, seed=seed)
        action, ahead = "reseed", done["reseed"] - done["move"]
        if self.moves and (ahead > 0 or (verdict.wrong and not hopeful and ahead == 0)):
            action = "move"
            plan = _moved(plan, graph, verdict.wrong or _ids(plan), seed)
        return Order(action=action, why=why, base=None, plan=plan, regions=_ids(plan), seed=seed)


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
