"""Measure zero-shot classification on stickers: ``python -m pipelines.evaluate zero-shot``.

Each sticker of held-out scenes is cut out by its box and compared with all phrases that the world
has; and, as in Winoground (arXiv 2204.03162), two pictures with two captions of the same words.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grounding.files import check_writable, write_files
from grounding.stickers.scene import Scene
from grounding.stickers.world import PRESETS, Split, World
from pipelines.classify import SETS
from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, offline_flag
from pipelines.generation.options import whole

if TYPE_CHECKING:
    from pipelines.retrieval.classifier import Classifier

__all__ = ["main"]

PROG = "lavallama evaluate zero-shot"
DIGITS = 4

_DESCRIPTION = """\
Measure zero-shot classification with a CLIP, or with the embedded model, on held-out scenes of the
sticker world, and print a report in Markdown and one line of JSON.

Each sticker is cut out by its box and compared with every phrase, "llama", "lava llama" and so on.
Twins are two pictures and two captions of the same words: text score, both pictures have the higher
cosine with their own caption; image score, both captions with their own picture; group score, both.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task; returns the exit code."""
    options = _parser().parse_args(argv)
    return guarded(PROG, lambda: _evaluate(options))


def _parser() -> Parser:
    parser = Parser(prog=PROG, usage=f"{PROG} [options]", description=_DESCRIPTION)
    parser.add_argument(
        "--model",
        metavar="MODEL",
        default="embedded",
        help="embedded, a folder or hub id of a CLIP, or module:name (default: embedded)",
    )
    parser.add_argument(
        "--templates",
        choices=SETS,
        default="plain",
        help="the sentences that phrases stand in (default: plain)",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="the world")
    parser.add_argument(
        "--scenes",
        metavar="N",
        type=whole(2, 100_000),
        default=300,
        help="of the sticker world (default: 300)",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="for report.md and report.json")
    device_flag(parser)
    offline_flag(parser)
    return parser


def _evaluate(options: argparse.Namespace) -> int:
    out: Path | None = options.out
    if out is not None:
        check_writable([out / "report.md", out / "report.json"])
    quiet_libraries()
    from pipelines.retrieval.classifier import TEMPLATES, Classifier
    from pipelines.retrieval.embedders import open_embedder

    embedder = open_embedder(options.model, device=options.device, offline=options.offline)
    classifier = Classifier(embedder=embedder, templates=TEMPLATES[options.templates])
    world, half = PRESETS[options.preset], options.scenes // 2
    counts: dict[Split, int] = {"held-out": options.scenes - half, "held-out pairs": half}
    scenes = [(split, world.scene(n, split)) for split, many in counts.items() for n in range(many)]
    results = {
        "model": options.model,
        "templates": options.templates,
        "data": f"{options.scenes} held-out scenes of the sticker world",
        "phrases": len(_phrases(world)),
        "crops": _crops(classifier, world, scenes),
        "twins": _twins(classifier, [scene for _, scene in scenes]),
    }
    text = _report(results)
    if out is not None:
        dumped = json.dumps(results, indent=1) + "\n"
        write_files({out / "report.md": text.encode(), out / "report.json": dumped.encode()})
    print(text)
    print(json.dumps(results))
    return 0


def _phrases(world: World) -> list[str]:
    made = [f"{material} {concept}" for concept in world.concepts for material in world.materials]
    return [*world.concepts, *made]


def _crops(
    classifier: "Classifier", world: World, scenes: Iterable[tuple[str, Scene]]
) -> dict[str, Any]:
    """By split: how often the object, the material and both are named rightly."""
    from PIL import Image
    from tqdm import tqdm

    from grounding.geometry import normalized_to_pixels
    from grounding.stickers.scene import render

    phrases = _phrases(world)
    rows: defaultdict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for split, scene in tqdm(list(scenes), desc="scenes", disable=None):
        picture = Image.fromarray(render(scene).image)
        for sticker in scene.stickers:
            x0, y0, x1, y1 = (round(v) for v in normalized_to_pixels(sticker.box, picture.size))
            [chances] = classifier.probabilities([picture.crop((x0, y0, x1, y1))], phrases)
            said = phrases[int(chances.argmax())]
            *material, concept = said.split(" ", 1) if said not in world.concepts else (said,)
            right = concept == sticker.concept, (material or [None])[0] == sticker.material
            rows[split].append(right)
    rows["all"] = [right for some in rows.values() for right in some]
    return {
        group: {
            "objects": len(rights),
            "object_top1": round(float(np.mean([one for one, _ in rights])), DIGITS),
            "material_top1": round(float(np.mean([two for _, two in rights])), DIGITS),
            "phrase_top1": round(float(np.mean([one and two for one, two in rights])), DIGITS),
        }
        for group, rights in rows.items()
    }


def _twins(classifier: "Classifier", scenes: Sequence[Scene]) -> dict[str, Any]:
    """Text, image and group score of Winoground (section 3.3), by what is exchanged."""
    from PIL import Image

    from grounding.llava.evaluation.twins import find_twins
    from grounding.stickers.scene import render

    rows: defaultdict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for number, scene in enumerate(scenes):
        for twins in find_twins(scene, np.random.default_rng(number)):
            pictures = [Image.fromarray(render(each).image) for each in twins.scenes]
            (a, b), (c, d) = classifier.similarities(pictures, twins.captions).tolist()
            rows[twins.kind].append((a > b and d > c, a > c and d > b))
    return {
        kind: {
            "pairs": len(scores),
            "text": round(float(np.mean([text for text, _ in scores])), DIGITS),
            "image": round(float(np.mean([image for _, image in scores])), DIGITS),
            "group": round(float(np.mean([text and image for text, image in scores])), DIGITS),
        }
        for kind, scores in sorted(rows.items())
    }


def _report(results: dict[str, Any]) -> str:
    lines = [f"# Zero-shot classification by `{results['model']}`", ""]
    lines += [f"On {results['data']}; each sticker against {results['phrases']} phrases.", ""]
    lines += _table("stickers", results["crops"])
    lines += ["", "Two pictures, two captions of the same words:", ""]
    return "\n".join(lines + _table("exchanged", results["twins"])) + "\n"


def _table(first: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    keys = list(next(iter(rows.values()), {}))
    lines = [f"| {' | '.join([first, *keys])} |", f"|{'---|' * (len(keys) + 1)}"]
    return lines + [
        f"| {name} | {' | '.join(str(row[key]) for key in keys)} |" for name, row in rows.items()
    ]
