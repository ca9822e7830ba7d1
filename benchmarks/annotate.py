"""How much of what is on pictures `lavallama annotate` finds, and how much of it is true.

    python -m benchmarks.annotate --source scenes --images 200
    python -m benchmarks.annotate --images 500
    python -m benchmarks.annotate --source scenes --images 3000 --train 600 --runs runs/annotate

Pictures are held-out scenes of the sticker world: drawn by the embedded model from their layouts
("generated", where what was asked for counts as the truth, though the model may not have drawn
it), or rendered ("scenes", where the truth is exact). A region that was found is right if its box
has an IoU of at least 0.5 with that of an object, each object once; its phrase is right if it is
that object's too, "lava llama", and its name if it is "llama". `--captions` gives the captions of
the scenes beside the pictures, whose phrases are then looked for.

`--train` trains two adapters with the same settings, on what was annotated and on the truth, and
sets the judge's scores on held-out scenes side by side; the annotated pictures are then scenes of
training. `--unchecked` leaves out the agreement of masks with their boxes, `--embedder none` the
second eye that names regions, to see what they are worth.
A run goes on where it stopped. The last line is JSON.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from benchmarks.machine import device_name
from grounding.geometry import Box, box_iou
from grounding.prompt import Canvas, GroundedPrompt, Region, Sampling
from grounding.stickers.scene import Scene, render
from grounding.stickers.world import PRESETS
from pipelines.annotate.annotator import NAME_KEY
from pipelines.annotate.dataset import Dataset
from pipelines.annotate.raw import list_pictures
from pipelines.annotate.record import things_in
from pipelines.annotate.settings import Settings
from pipelines.evaluate.grounding import main as evaluate
from pipelines.training.gligen.command import main as train

MATCH = 0.5  # IoU
SEED = 20_000  # of the first scene
TRAINING = (
    *("--places", "--field", "384", "--batch", "16", "--learning-rate", "1e-3"),
    *("--schedule", "cosine", "--ema", "0.998", "--weight-decay", "0.01", "--flip", "0"),
    *("--detector", "none"),
)


def scenes(options: argparse.Namespace) -> list[Scene]:
    """The scenes: held-out, or, to train on, of training."""
    split = "train" if options.train else "held-out"
    return [PRESETS["small"].scene(SEED + i, split) for i in range(options.images)]


def truth(scene: Scene, image: str) -> GroundedPrompt:
    """What is asked for, or is there."""
    return GroundedPrompt(
        canvas=Canvas(width=scene.size[0], height=scene.size[1]),
        image=image,
        prompt=scene.caption,
        regions=tuple(
            Region(phrase=s.phrase, box=s.box, attributes={NAME_KEY: s.concept})
            for s in scene.stickers
        ),
    )


def request(scene: Scene, seed: int) -> GroundedPrompt:
    """What the embedded model is to draw."""
    regions = tuple(Region(phrase=s.phrase, box=s.box) for s in scene.stickers)
    return GroundedPrompt(prompt=scene.caption, regions=regions, sampling=Sampling(seed=seed))


def write_pictures(options: argparse.Namespace, asked: Sequence[Scene], folder: Path) -> None:
    """Write the pictures that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:06d}.png" for i in range(len(asked))]
    missing = [i for i, name in enumerate(names) if not (folder / name).exists()]
    if options.captions:
        for scene, name in zip(asked, names, strict=True):
            (folder / name).with_suffix(".txt").write_text(scene.caption, "utf-8")
    if options.source == "scenes":
        for i in missing:
            Image.fromarray(render(asked[i]).image).save(folder / names[i])
        return
    from pipelines.generate import Generator

    generator = Generator.from_pretrained(device=options.device)
    for start in tqdm(range(0, len(missing), options.batch), desc="pictures", disable=None):
        some = missing[start : start + options.batch]
        documents = [request(asked[i], seed=SEED + i) for i in some]
        drawn = generator(documents, batch=options.batch, progress=False)
        for i, picture in zip(some, drawn, strict=True):
            picture.image.save(folder / names[i])


def annotate(options: argparse.Namespace, folder: Path) -> tuple[Path, float, dict[str, Any]]:
    """Annotate the pictures; returns the documents, the seconds a picture, and the report."""
    settings = Settings(
        device=options.device,
        embedder=options.embedder,
        agreement=0.0 if options.unchecked else 0.5,
    )
    kind = "-unchecked" * options.unchecked + f"-by-{options.embedder}" * bool(options.embedder)
    place = folder.with_name(f"{folder.name}-annotated{kind.replace('/', '-')}")
    dataset = Dataset(folder=place, settings=settings)
    raws = list_pictures(folder)
    start = time.process_time()
    count = dataset.annotate(raws)
    seconds = (time.process_time() - start) / max(count, 1)
    drops = dataset.write(raws, ("gligen",))
    return dataset.folder, seconds, drops.report()


def measure(documents: Path, asked: Sequence[Scene]) -> dict[str, Any]:
    """Precision and recall of boxes, and of boxes with the right words."""
    found: dict[str, GroundedPrompt] = {}
    for line in documents.read_text("utf-8").splitlines():
        document = GroundedPrompt.model_validate(json.loads(line))
        found[Path(document.image or "").name] = document
    right: Counter[str] = Counter()
    claimed = there = backgrounds = 0
    for i, scene in enumerate(asked):
        name = f"{i:06d}.png"
        regions = things_in(found[name]) if name in found else []
        objects = list(truth(scene, name).regions)
        claimed, there = claimed + len(regions), there + len(objects)
        for region, real in matches(regions, objects):
            right["box"] += 1
            right["phrase"] += region.phrase == real.phrase
            right["name"] += region.attributes[NAME_KEY] == real.attributes[NAME_KEY]
        stuff = [r for r in found[name].regions if r not in regions] if name in found else []
        backgrounds += any(r.phrase == scene.background for r in stuff)
    rates = {
        what: {
            "precision": round(right[what] / max(claimed, 1), 4),
            "recall": round(right[what] / max(there, 1), 4),
        }
        for what in ("box", "name", "phrase")
    }
    return {
        **rates,
        "background": round(backgrounds / len(asked), 4),
        "regions": claimed,
        "objects": there,
    }


def matches(found: Sequence[Region], objects: Sequence[Region]) -> list[tuple[Region, Region]]:
    """Pairs of what was found and what is there, the best overlap first, each once."""
    pairs = sorted(
        (
            (box_iou(_box(a), _box(b)), i, j)
            for i, a in enumerate(found)
            for j, b in enumerate(objects)
        ),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    taken: tuple[set[int], set[int]] = (set(), set())
    matched = []
    for overlap, i, j in pairs:
        if overlap >= MATCH and i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            matched.append((found[i], objects[j]))
    return matched


def _box(region: Region) -> Box:
    assert region.box is not None, "things have boxes"
    return region.box


def compare(
    options: argparse.Namespace, pictures: Path, annotated: Path, asked: Sequence[Scene]
) -> dict[str, Any]:
    """Train on what was annotated and on the truth; the judge's scores of both."""
    exact = options.runs / "truth.jsonl"
    lines = [truth(s, f"{pictures.name}/{i:06d}.png").to_dict() for i, s in enumerate(asked)]
    exact.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    scores = {}
    for side, data in (("annotated", annotated / "gligen.jsonl"), ("truth", exact)):
        name = annotated.name if side == "annotated" else "truth"
        run, adapter, place = (
            options.runs / f"{name}-{end}" for end in ("run", "adapter", "report")
        )
        settings = [*TRAINING, "--runs", str(run), "--steps", str(options.train)]
        common = ["--data", str(data), "--device", options.device, *settings]
        _done(train([*common, "--warmup", str(max(1, options.train // 10))]))
        _done(train([*common, "--export", str(adapter)]))
        _done(
            evaluate(
                ["--adapter", str(adapter), "--scenes", str(options.judged), "--tasks", "judge"]
                + ["--device", options.device, "--no-floor", "--out", str(place)]
            )
        )
        judged = json.loads((place / "report.json").read_text())["gated"]["judge"]["all"]
        scores[side] = judged["concept_top1"]
    ratio = scores["annotated"] / scores["truth"] if scores["truth"] else None
    return {"steps": options.train, "score": scores, "ratio": ratio and round(ratio, 4)}


def _done(code: int) -> None:
    if code:
        raise SystemExit(code)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as the last line says it."""
    asked = scenes(options)
    pictures = options.runs / ("captioned" if options.captions else "pictures")
    write_pictures(options, asked, pictures)
    folder, seconds, report = annotate(options, pictures)
    result = {
        "benchmark": "annotate",
        "source": options.source,
        "images": options.images,
        "captions": "given" if options.captions else "made by rule",
        "checked": not options.unchecked,
        "embedder": options.embedder or "the segmenter's own",
        **measure(folder / "documents.jsonl", asked),
        "dropped_pictures": report["dropped_pictures"],
        "dropped_regions": report["dropped_regions"],
        "cpu_seconds_a_picture": round(seconds, 3),
        "peer": "the truth of the scenes",
    }
    if options.train:
        result["training"] = compare(options, pictures, folder, asked)
    return {
        **result,
        "device": device_name(options.device),
        "versions": {"torch": version("torch")},
        "command": shlex.join(["python", "-m", "benchmarks.annotate", *options.arguments]),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.annotate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", choices=("generated", "scenes"), default="generated")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--captions", action="store_true", help="give those of the scenes")
    parser.add_argument("--unchecked", action="store_true", help="without the check by boxes")
    parser.add_argument("--embedder", help="as `lavallama annotate` has it")
    parser.add_argument("--train", type=int, default=0, help="steps of each adapter; 0: none")
    parser.add_argument(
        "--judged", type=int, default=100, help="scenes that adapters are judged on"
    )
    parser.add_argument("--batch", type=int, default=4, help="pictures drawn at once")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=Path, help="a folder to keep everything in")
    options = parser.parse_args(arguments)
    options.arguments = arguments
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, in the folder that was named or in one for this run alone."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    with tempfile.TemporaryDirectory() as folder:
        options.runs = options.runs or Path(folder)
        print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
