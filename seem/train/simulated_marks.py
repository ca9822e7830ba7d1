"""Prompts that a person might give about a known segment, and how they correct an answer.

Bitmaps are bools [S, S] in pixels of the view.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool

from grounding.region import Point, Stroke
from seem.clicks import Clicks, click_square, depth, first_click, next_click
from seem.evaluation.marks import rough, scribble
from seem.marks import BRUSH, Marks, around

__all__ = ["SimulatedPrompt", "correct", "draw_prompt"]

CLICKS, BOXES, STROKES = 0.57, 0.27, 0.11  # shares of the prompts; the rest is rough masks
DEEPEST = 0.6  # share of the clicks that lie where the evaluation's do
FULL_ENOUGH = 0.3  # a box around a segment that fills less of it says nothing
JITTERED, JITTER = 0.6, 0.03  # share of the boxes that are a little off, and by how much of a side


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedPrompt:
    """What was said about one segment up to now.

    Attributes:
        truth: The segment.
        marks: What was drawn.
        clicks: Where, so that no place is clicked twice.
    """

    truth: Bool[np.ndarray, "S S"]
    marks: Marks
    clicks: Clicks


def draw_prompt(truth: Bool[np.ndarray, "S S"], generator: np.random.Generator) -> SimulatedPrompt:
    """Click on a segment, draw a box around it, a line or a rough mask on it."""
    draw = generator.random()
    nothing = Clicks(positive=np.zeros_like(truth), negative=np.zeros_like(truth))
    if draw < CLICKS:
        clicks = first_click(truth) if generator.random() < DEEPEST else _any(truth, generator)
        return SimulatedPrompt(truth=truth, marks=_points(clicks), clicks=clicks)
    x0, y0, x1, y1 = around(truth)
    full = truth.sum() > FULL_ENOUGH * (x1 - x0) * (y1 - y0)
    if draw < CLICKS + BOXES and full:
        return SimulatedPrompt(truth=truth, marks=_box(truth, generator), clicks=nothing)
    if draw < 1 - (1 - CLICKS - BOXES - STROKES) or not full:
        marks = _stroke(truth, generator)
    else:
        marks = Marks(mask=rough(truth) if generator.random() < 0.5 else _simple(truth))
    return SimulatedPrompt(truth=truth, marks=marks, clicks=nothing)


def correct(prompt: SimulatedPrompt, answer: Bool[np.ndarray, "S S"]) -> SimulatedPrompt:
    """Click on the largest mistake of an answer, if it has one worth a click."""
    clicks = next_click(prompt.truth, answer, prompt.clicks)
    added = _points(replace(clicks, places=clicks.places[len(prompt.clicks.places) :]))
    marks = replace(prompt.marks, points=prompt.marks.points + added.points)
    return replace(prompt, marks=marks, clicks=clicks)


def _points(clicks: Clicks) -> Marks:
    height, width = clicks.positive.shape
    return Marks(
        points=tuple(
            Point(xy=((x + 0.5) / width, (y + 0.5) / height), label=1 if label else 0)
            for y, x, label in clicks.places
        )
    )


def _any(truth: np.ndarray, generator: np.random.Generator) -> Clicks:
    """A click anywhere, the sooner the deeper."""
    deep = depth(truth).ravel()
    place = divmod(int(generator.choice(deep.size, p=deep / deep.sum())), truth.shape[1])
    return Clicks(
        positive=click_square(place, truth.shape),
        negative=np.zeros_like(truth),
        places=((*place, 1),),
    )


def _box(truth: np.ndarray, generator: np.random.Generator) -> Marks:
    height, width = truth.shape
    tight = np.array(around(truth), float)
    box = tight
    if generator.random() < JITTERED:
        sides = np.tile(tight[2:] - tight[:2], 2)
        box = (tight + generator.normal(0, JITTER, 4) * sides).clip(0, (width, height) * 2)
        if (box[2:] - box[:2]).min() < 2:
            box = tight
    x0, y0, x1, y1 = (box / (width, height, width, height)).tolist()
    return Marks(box=(x0, y0, x1, y1))


def _stroke(truth: np.ndarray, generator: np.random.Generator) -> Marks:
    small = cv2.resize(truth.astype(np.float32), None, fx=0.5, fy=0.5) > 0.5  # thinned sooner
    if not small.any():
        small = truth
    height, width = small.shape
    line = (scribble(small, generator) + 0.5) / (width, height)
    thick = BRUSH * generator.uniform(0.6, 1.6)
    return Marks(strokes=(Stroke(xy=tuple(map(tuple, line.tolist())), width=thick, label=1),))


def _simple(truth: np.ndarray) -> np.ndarray:
    """The segment as a polygon of few corners."""
    outlines, _ = cv2.findContours(
        truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    largest = max(outlines, key=cv2.contourArea)
    corners = cv2.approxPolyDP(largest, 0.02 * cv2.arcLength(largest, True), True)
    painted = cv2.fillPoly(np.zeros(truth.shape, np.uint8), [corners], 1).astype(bool)
    return painted if painted.any() else truth
