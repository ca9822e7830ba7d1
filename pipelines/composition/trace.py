"""Trace: every step of a composition, on disk, so that it can be looked at and done again.

A folder holds `trace.json`, and of each step the picture, an overlay with what was found (filled)
and asked for (dashed), and the best one once more as `picture.png` with its document.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from grounding.draw import draw_found
from grounding.errors import PromptError
from grounding.files import write_files
from grounding.jsonfile import parse_json, read_text
from grounding.part import Number, Part, Text, Whole
from grounding.prompt import GroundedPrompt
from pipelines.composition.composer import Action, Order, Step, best_of, fingerprint
from pipelines.generation.png import encode_png

__all__ = ["FORMAT", "NAME", "RecordedStep", "Trace", "trace_of", "write_step"]

FORMAT = "lavallama/compose/v1"
NAME = "trace.json"
RESULT = "picture.png"
Count = Annotated[Whole, Field(ge=0)]


class RecordedStep(Part):
    """One step, as it is written."""

    action: Action = Field(description="As in `composer.Order`, as the next five.")
    why: Text
    base: Count | None = None
    regions: tuple[Text, ...] = ()
    seed: Count
    plan: GroundedPrompt
    picture: Text = Field(description="File beside the trace.")
    sha256: Text = Field(description="Of the picture's size and RGB bytes.")
    findings: tuple[Text, ...] = Field(default=(), description="What is wrong with it.")
    found: GroundedPrompt = Field(description="What was seen on it.")
    score: Number = Field(description="The more is right, the higher.")
    seconds: Number = Field(description="Drawing and looking took.")

    def order(self) -> Order:
        """What was drawn."""
        return Order(
            action=self.action,
            why=self.why,
            base=self.base,
            plan=self.plan,
            regions=self.regions,
            seed=self.seed,
        )


class Trace(Part):
    """A whole composition: what was asked for, with what it was made, and each step."""

    format: Literal["lavallama/compose/v1"] = FORMAT
    caption: Text
    made_with: dict[Text, Text | bool | int | float | None] = Field(
        description="Options of the generator and the finder, and versions."
    )
    steps: tuple[RecordedStep, ...]
    best: Count = Field(description="Index of the step that is the result.")

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read a trace.

        Raises:
            PromptError: one line that names the file and the entry.
        """
        try:
            trace = cls.model_validate(parse_json(read_text(path)))
            if not trace.steps or trace.best >= len(trace.steps):
                raise PromptError("a trace needs steps, one of them the best")
            for number, step in enumerate(trace.steps):
                if step.base is not None and step.base >= number:
                    raise PromptError(f"steps[{number}].base: must be an earlier step")
                redraws = step.base is not None and len(step.regions) == 1
                if (step.action == "redraw") != redraws or (step.base is not None) != redraws:
                    raise PromptError(f"steps[{number}]: a redraw has a base and one region")
        except PromptError as error:
            raise PromptError(f"{path}: {error}") from None
        return trace

    def text(self) -> str:
        """The trace as readable JSON."""
        content = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for step, written in zip(self.steps, content["steps"], strict=True):
            written |= {"plan": step.plan.to_dict(), "found": step.found.to_dict()}
        return json.dumps({"format": FORMAT} | content, indent=2, ensure_ascii=False) + "\n"


def trace_of(
    caption: str,
    steps: Sequence[Step],
    made_with: Mapping[str, str | bool | int | float | None],
) -> Trace:
    """The trace of what was done so far."""
    recorded = tuple(
        RecordedStep(
            action=step.order.action,
            why=step.order.why,
            base=step.order.base,
            regions=step.order.regions,
            seed=step.order.seed,
            plan=step.order.plan,
            picture=f"{_stem(number, step)}.png",
            sha256=fingerprint(step.image),
            findings=step.verdict.told,
            found=step.verdict.found,
            score=step.verdict.score,
            seconds=step.seconds,
        )
        for number, step in enumerate(steps)
    )
    return Trace(caption=caption, made_with=dict(made_with), steps=recorded, best=best_of(steps))


def write_step(folder: Path, trace: Trace, steps: Sequence[Step]) -> None:
    """Write the trace, the last step's pictures and the best picture; all of it or nothing.

    Raises:
        OutputError: it cannot be written.
    """
    last, best = steps[-1], steps[trace.best]
    stem = _stem(len(steps) - 1, last)
    result = best.order.plan.replace(image=RESULT, files={"image": RESULT})
    document = (folder / RESULT).with_suffix(".json")
    write_files(
        {
            folder / f"{stem}.png": encode_png(last.image, last.order.request),
            folder / f"{stem}.found.png": _overlay(last),
            folder / RESULT: encode_png(best.image, best.order.plan),
            document: _json(result),
            folder / NAME: trace.text().encode(),
        },
        last=document,
    )


def _stem(number: int, step: Step) -> str:
    return f"{number:02d}-{step.order.action}"


def _overlay(step: Step) -> bytes:
    buffer = io.BytesIO()
    overlay = draw_found(step.image, step.verdict.found, step.order.plan.regions)
    overlay.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _json(document: GroundedPrompt) -> bytes:
    return (json.dumps(document.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()
