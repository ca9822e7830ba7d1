"""Measure how well pictures follow their boxes: ``python -m pipelines.evaluate grounding``.

Held-out scenes of the sticker world are requested, drawn, and cut up along the requested boxes; the
judge, a classifier that has only ever seen rendered crops, names what is in each. The same base
without gates is the floor. Half of the scenes have layouts that training never had, the other half
(material, object) pairs that it never had.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from grounding.files import write_files
from grounding.geometry import box_iou
from grounding.prompt import Canvas, GroundedPrompt, Region
from grounding.stickers.scene import Box, Scene, render
from grounding.stickers.vocabulary import PLAIN_BACKGROUNDS
from grounding.stickers.world import PRESETS, Split, World
from pipelines.console import Parser, guarded, quiet_libraries

if TYPE_CHECKING:
    from grounding.stickers.judge import StickerJudge
    from pipelines.generator import Generator

__all__ = ["Tally", "box_of_difference", "main", "measure", "to_prompt"]

DIFFERENCE = 40  # of 255, the largest channel: what differs more from a plain background is object
PROG = "lavallama evaluate grounding"
EMBEDDED_JUDGE = Path(__file__).parents[2] / "weights" / "embedded" / "judge"


@dataclasses.dataclass
class Tally:
    """Counts of what the judge recognised.

    Attributes:
        objects: Requested objects.
        concepts: Objects whose concept was named rightly.
        with_material: Requested objects that are made of a material.
        materials: Of those, how many had their material named rightly.
    """

    objects: int = 0
    concepts: int = 0
    with_material: int = 0
    materials: int = 0

    def add(self, scene: Scene, image: np.ndarray, judge: "StickerJudge") -> None:
        """Judge one picture, uint8 [H, W, 3], against the scene that was requested."""
        from grounding.stickers.judge import crop

        names = judge.names([crop(image, sticker.box) for sticker in scene.stickers])
        for sticker, (concept, material) in zip(scene.stickers, names, strict=True):
            self.objects += 1
            self.concepts += concept == sticker.concept
            if sticker.material:
                self.with_material += 1
                self.materials += material == sticker.material

    def rates(self) -> dict[str, float | int]:
        """Shares recognised."""
        return {
            "objects": self.objects,
            "concept_top1": round(self.concepts / max(1, self.objects), 4),
            "material_top1": round(self.materials / max(1, self.with_material), 4),
        }


def to_prompt(scene: Scene) -> GroundedPrompt:
    """Ask for a scene: its caption, and each sticker's phrase and box."""
    width, height = scene.size
    return GroundedPrompt(
        canvas=Canvas(width=width, height=height),
        prompt=scene.caption,
        regions=tuple(Region(phrase=s.phrase, box=s.box) for s in scene.stickers),
    )


def held_out_scenes(world: World, count: int) -> dict[Split, list[Scene]]:
    """Half with held-out layouts, half with held-out pairs."""
    half = count // 2
    return {
        "held-out": [world.scene(seed, "held-out") for seed in range(count - half)],
        "held-out pairs": [world.scene(seed, "held-out pairs") for seed in range(half)],
    }


def box_of_difference(image: np.ndarray) -> Box | None:
    """Where a picture differs from its plain background.

    Args:
        image: uint8 [H, W, 3]; its background is the median colour of its rim.

    Returns:
        Normalised xyxy around everything that differs, specks aside; None if nothing does.
    """
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    difference = np.abs(image.astype(np.int16) - np.median(rim, 0)).max(-1)
    mask = (difference > DIFFERENCE).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def measure(
    generator: "Generator", judge: "StickerJudge", world: World, count: int, batch: int = 10
) -> dict[str, Any]:
    """Draw held-out scenes with a generator and judge the pictures.

    Returns:
        Rates by split, over all, and ``box_iou`` on plain backgrounds.
    """
    result: dict[str, Any] = {}
    tallies = []
    for split, scenes in held_out_scenes(world, count).items():
        tally = Tally()
        for scene, image in _drawn(generator, scenes, batch):
            tally.add(scene, image, judge)
        tallies.append(dataclasses.astuple(tally))
        result[split.replace(" ", "_").replace("-", "_")] = tally.rates()
    result["all"] = Tally(*map(sum, zip(*tallies, strict=True))).rates()
    plain = dataclasses.replace(
        world,
        backgrounds=tuple(b for b in world.backgrounds if b in PLAIN_BACKGROUNDS),
        counts=(1.0,),
    )
    scenes = [plain.scene(seed, "held-out") for seed in range(max(1, count // 6))]
    overlaps = []
    for scene, image in _drawn(generator, scenes, batch):
        box = box_of_difference(image)
        overlaps.append(0.0 if box is None else box_iou(box, scene.stickers[0].box))
    result["box_iou"] = round(float(np.mean(overlaps)), 4)
    return result


def _drawn(
    generator: "Generator", scenes: Sequence[Scene], batch: int
) -> list[tuple[Scene, np.ndarray]]:
    drawn = generator([to_prompt(scene) for scene in scenes], batch=batch)
    return [(s, np.asarray(d.image.convert("RGB"))) for s, d in zip(scenes, drawn, strict=True)]


def judged_renderings(judge: "StickerJudge", world: World, count: int) -> dict[str, Any]:
    """What the judge makes of the true pictures: the ceiling of every other number."""
    tally = Tally()
    for scenes in held_out_scenes(world, count).values():
        for scene in scenes:
            tally.add(scene, render(scene).image, judge)
    return tally.rates()


def report(results: dict[str, Any]) -> str:
    """The measurement as a Markdown table."""
    lines = [
        f"# Grounding of `{results['model']}`",
        "",
        f"{results['scenes']} held-out scenes of preset `{results['preset']}`; object and material "
        "named by the judge inside the requested box.",
        "",
        "| pictures | object | object, new pairs | material | box IoU, plain background |",
        "|---|---|---|---|---|",
    ]
    for name, label in (("gated", "with gates"), ("floor", "same base without gates")):
        if name in results:
            r = results[name]
            lines.append(
                f"| {label} | {r['all']['concept_top1']:.3f} "
                f"| {r['held_out_pairs']['concept_top1']:.3f} "
                f"| {r['all']['material_top1']:.3f} | {r['box_iou']:.3f} |"
            )
    ceiling = results["rendered"]
    lines.append(
        f"| the true renderings | {ceiling['concept_top1']:.3f} | | "
        f"{ceiling['material_top1']:.3f} | |"
    )
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Measure how well pictures follow their boxes, on held-out sticker scenes.",
    )
    parser.add_argument("--model", default="embedded", help="embedded, a folder or a hub id")
    parser.add_argument("--adapter", default=None, help="a GLIGEN adapter for the model")
    parser.add_argument("--judge", type=Path, default=EMBEDDED_JUDGE, help="the judge's folder")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="the world")
    parser.add_argument("--scenes", type=int, default=300, help="how many, at least 2")
    parser.add_argument("--steps", type=int, help="of the sampler; default: the model's own")
    parser.add_argument("--no-floor", action="store_true", help="leave out the base without gates")
    parser.add_argument("--out", type=Path, help="a folder for report.md and report.json")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(PROG, lambda: _evaluate(arguments))


def _evaluate(arguments: argparse.Namespace) -> int:
    quiet_libraries()
    from grounding.errors import PromptError
    from grounding.stickers.judge import StickerJudge
    from pipelines.generator import Generator

    if arguments.scenes < 2:
        raise PromptError(f"--scenes must be at least 2; got {arguments.scenes}")
    world = PRESETS[arguments.preset]
    judge = StickerJudge.from_pretrained(arguments.judge)
    results: dict[str, Any] = {
        "model": arguments.model,
        "preset": arguments.preset,
        "scenes": arguments.scenes,
        "rendered": judged_renderings(judge, world, arguments.scenes),
    }
    adapters = {"gated": arguments.adapter} | ({} if arguments.no_floor else {"floor": "none"})
    for name, adapter in adapters.items():
        generator = Generator.from_pretrained(arguments.model, adapter)
        if arguments.steps:
            own = generator.defaults.model_copy(update={"steps": arguments.steps})
            generator.defaults = own
        results[name] = measure(generator, judge, world, arguments.scenes)
    if arguments.out:
        text = json.dumps(results, indent=1) + "\n"
        write_files(
            {
                arguments.out / "report.md": report(results).encode(),
                arguments.out / "report.json": text.encode(),
            }
        )
    print(report(results))
    print(json.dumps(results))
    return 0
