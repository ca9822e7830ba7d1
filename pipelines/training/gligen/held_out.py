"""Held-out layouts, drawn and measured while an adapter learns.

The error of a diffusion model does not tell whether boxes are followed; pictures do. What looks at
them is the sticker judge, or any detector of `lavallama evaluate grounding`.
"""

import argparse
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gligen.config import BOX_MODALITIES
from gligen.evaluation.detection import Detector
from gligen.evaluation.layout import Instance, Layout
from gligen.evaluation.sticker_layouts import held_out_layouts
from grounding.errors import LavallamaError
from grounding.files import write_files
from grounding.stickers.judge import StickerJudge
from grounding.stickers.world import PRESETS
from pipelines.evaluate.grounding_detectors import open_detector
from pipelines.evaluate.grounding_measures import InstanceTask, JudgeTask, Seen
from pipelines.evaluate.grounding_pictures import contact_sheet
from pipelines.generation.generator import Generator
from pipelines.training.gligen.prepare import Prepared, Preparer
from pipelines.training.sources import STICKERS
from weights.registry import embedded

__all__ = ["BEST", "HeldOut", "held_out_requests", "open_eyes"]

JUDGE, NOBODY = "judge", "none"

SHOWN = 8  # layouts on a sample grid
BEST = "held_out/accuracy"  # what the best checkpoint is best at
DRAWN_TOGETHER = 8


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Requests that training never sees, and who looks at what is drawn.

    Attributes:
        generator: Draws; its adapter is the one that is trained.
        layouts: The requests.
        judge: Names what is in the boxes of stickers; None: not asked.
        detector: Finds objects; None: not asked.
        steps: Denoising steps; None: the model's own.
        precision: A context in which networks run, such as accelerate's autocast.
    """

    generator: Generator
    layouts: Sequence[Layout]
    judge: StickerJudge | None = None
    detector: Detector | None = None
    steps: int | None = None
    precision: Callable[[], Any] = contextlib.nullcontext

    @property
    def measures(self) -> bool:
        """Whether anything is measured."""
        return bool(self.layouts) and (self.judge is not None or self.detector is not None)

    def __call__(self, path: Path) -> Mapping[str, float]:
        """Draw into a file; what was measured."""
        if not self.layouts:
            write_files({path: contact_sheet([], {})})
            return {}
        documents = [layout.document for layout in self.layouts]
        count = len(documents) if self.measures else SHOWN
        with self.precision():
            drawn = self.generator(
                documents[:count], batch=DRAWN_TOGETHER, progress=False, steps=self.steps
            )
        images = [np.asarray(one.image.convert("RGB")) for one in drawn]
        seen = [
            Seen(layout, image, self.detector)
            for layout, image in zip(self.layouts, images, strict=False)
        ]
        lines = [
            (one.layout.document, {"drawn": (one.image, one.found if self.detector else [])})
            for one in seen[:SHOWN]
        ]
        write_files({path: contact_sheet(lines, {"drawn": "drawn, boxes as asked for"})})
        return self._measured([one for one in seen if one.layout.instances])

    def _measured(self, seen: Sequence[Seen]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        if self.judge is not None:
            task = JudgeTask(self.judge)
            for one in seen:
                task.add(one)
            rates = task.result()["all"]
            numbers |= {BEST: rates["concept_top1"], "held_out/material": rates["material_top1"]}
        if self.detector is not None:
            found = InstanceTask(())
            for one in seen:
                found.add(one)
            numbers |= _flat(found.result())
        return numbers


def open_eyes(options: argparse.Namespace) -> dict[str, Any]:
    """Who looks at held-out pictures, as keyword arguments of `HeldOut`; nobody if {}.

    Raises:
        LavallamaError: it cannot be had.
    """
    name = options.detector or (JUDGE if options.data == STICKERS else NOBODY)
    if options.modality not in BOX_MODALITIES:
        if options.detector not in (None, NOBODY):
            raise LavallamaError(
                f"--detector looks into boxes, and an adapter for {options.modality} is told none"
            )
        return {}
    if name == NOBODY:
        return {}
    if name == JUDGE:
        return {"judge": StickerJudge.from_pretrained(embedded(JUDGE))}
    detector = open_detector(
        name, judge=embedded(JUDGE), device=options.device, offline=options.offline
    )
    return {"detector": detector}


def held_out_requests(
    options: argparse.Namespace,
    preparer: Preparer,
    pictures: Sequence[Prepared],
    judge: StickerJudge | None,
) -> list[Layout]:
    """The requests: scenes with layouts and pairs that the sticker world holds out, or pictures.

    Args:
        options: Of `lavallama train gligen`.
        preparer: Of the data.
        pictures: What is kept apart of it.
        judge: "lava llama" is a llama made of lava to it; None: phrases are looked for as they are.
    """
    if options.data == STICKERS and options.modality == "text" and not options.inpainting:
        return list(held_out_layouts(PRESETS["small"], options.held_out).layouts())
    layouts = []
    for one in pictures:
        document = preparer.request(one, flip=False)
        if options.inpainting:
            document = document.replace(image=preparer.picture_file(one))
        instances = [
            _instance(region.phrase, region.box, judge)
            for region in document.regions
            if region.box is not None and region.phrase.strip()
        ]
        layouts.append(Layout(name=one.name, document=document, instances=tuple(instances)))
    return layouts


def _instance(phrase: str, box: Any, judge: StickerJudge | None) -> Instance:
    material, _, rest = phrase.partition(" ")
    if judge is not None and material in judge.materials:
        return Instance(noun=rest, box=box, attribute=material)
    return Instance(noun=phrase, box=box)


def _flat(result: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    together = result.get("all", {"success": 0.0, "miou": 0.0})  # if nothing asked for is known
    return {BEST: float(together["success"]), "held_out/miou": float(together["miou"])}
