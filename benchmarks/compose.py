"""What the loop buys: `python -m benchmarks.compose` draws requests once, and with repairs.

A third of the requests are held-out prompts of the four tasks in the manner of LLM-grounded
Diffusion (`gligen.evaluation.prompt_tasks`); a third are captions of scenes whose every object is
of a material that it never had in training ("pairs"); a third ask for six things at once ("many"),
each of which has to be small. Rules lay them out. The first picture of each composition
is the one shot, the best one what the loop makes of it. Other models steer the loop; the judge, a
classifier of crops that has no part in it, says in each requested box what is there. Each request
is a line of `results.jsonl` in the folder of the run, where a run that was killed goes on. The last
line printed is one JSON object.
"""

import argparse
import dataclasses
import itertools
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gligen.evaluation.layout import Instance, Layout
from gligen.evaluation.prompt_tasks import PROMPT_TASKS, prompt_task
from gligen.evaluation.recognition import Tally
from gligen.evaluation.sticker_layouts import sticker_layout
from grounding.planning.caption import read_caption, read_phrase
from grounding.prompt import GroundedPrompt
from grounding.stickers.judge import StickerJudge
from grounding.stickers.vocabulary import CONCEPTS
from grounding.stickers.world import PRESETS
from pipelines.compose import open_eye, open_hand
from pipelines.composition.composer import PICTURES, Composer, Step, best_of
from pipelines.console import guarded, quiet_libraries
from pipelines.planning.planner import Planner
from weights.registry import embedded

PAIRS, MANY = "pairs", "many"
SIX = 6  # things that are many
SMALL = (0.2, 0.5)  # sides that they may have in the scenes whose captions are taken


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compose", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--requests", type=int, default=100, help="how many")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="pictures, at most")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's)")
    parser.add_argument("--runs", type=Path, default=Path("runs/compose"), help="where to")
    options = parser.parse_args()
    return guarded("benchmarks.compose", lambda: _run(options))


def requests(count: int) -> Iterator[tuple[str, Layout]]:
    """Requests of all tasks by turns, each followed by one of new pairs and one of many things."""
    world = PRESETS["small"]
    each = -(-count // len(PROMPT_TASKS))
    sets = [prompt_task(task, world, each).layouts() for task in PROMPT_TASKS]
    tasks = ((one.group, one) for row in zip(*sets, strict=True) for one in row)
    scenes = (world.scene(seed, "held-out pairs") for seed in itertools.count())
    pairs = ((PAIRS, sticker_layout(scene, group=PAIRS)) for scene in scenes)
    turns = (one for three in zip(tasks, pairs, many(), strict=False) for one in three)
    return itertools.islice(turns, count)


def many() -> Iterator[tuple[str, Layout]]:
    """Requests of six things, of any material or none."""
    world = dataclasses.replace(PRESETS["small"], sides=SMALL)
    for seed in itertools.count():
        yield MANY, sticker_layout(world.scene(seed, "any pair", count=SIX), group=MANY)


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    options.runs.mkdir(parents=True, exist_ok=True)
    results = options.runs / "results.jsonl"
    done = _read(results)
    made_with: dict[str, Any] = {"steps": options.steps}
    composer = Composer(
        draw=open_hand(made_with),
        look=open_eye(made_with),
        pictures=options.pictures,
    )
    judge = StickerJudge.from_pretrained(embedded("judge"))
    for task, layout in tqdm(requests(options.requests), total=options.requests, disable=None):
        if layout.name not in done:
            line = {"name": layout.name, "task": task, **_compose(composer, judge, layout)}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            done[layout.name] = line
    lines = [done[layout.name] for _, layout in requests(options.requests)]
    print(json.dumps(_summary(lines, options)))
    return 0


def _compose(composer: Composer, judge: StickerJudge, layout: Layout) -> dict[str, Any]:
    caption = layout.document.prompt
    if layout.document.negative_prompt:
        caption += f", without {layout.document.negative_prompt}"
    graph = read_caption(caption, CONCEPTS)
    began = time.monotonic()
    plan = Planner().plan(caption).document
    steps = list(composer(plan, graph))
    best = best_of(steps)
    return {
        "caption": caption,
        "pictures": len(steps),
        "seconds": round(time.monotonic() - began, 3),
        "first_seconds": steps[0].seconds,
        "actions": [step.order.action for step in steps],
        "best": best,
        "once": _judged(steps[0], judge),
        "composed": _judged(steps[best], judge),
    }


def _judged(step: Step, judge: StickerJudge) -> dict[str, Any]:
    """What the judge, and the eyes of the loop, think of a picture."""
    asked = instances(step.order.plan)
    tally = Tally()
    tally.add(asked, np.asarray(step.image), judge)
    right = tally.concepts == tally.objects and tally.materials == tally.with_material
    return {
        "objects": tally.objects,
        "concepts": tally.concepts,
        "with_material": tally.with_material,
        "materials": tally.materials,
        "right": right,
        "eyes_right": step.verdict.is_right,
        "score": step.verdict.score,
    }


def instances(plan: GroundedPrompt) -> list[Instance]:
    """What the judge is asked for: every planned region."""
    found = []
    for region in plan.regions:
        thing, box = read_phrase(region.phrase, CONCEPTS), region.bounds()
        if thing is not None and box is not None:
            material = dict(thing.attributes).get("material")
            found.append(Instance(noun=thing.noun, box=box, attribute=material))
    return found


def _read(results: Path) -> dict[str, dict[str, Any]]:
    """The requests that are done; a line that was cut off is done anew."""
    done = {}
    for text in results.read_text("utf-8").splitlines() if results.is_file() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        done[line["name"]] = line
    return done


def _summary(lines: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    def rates(which: str, chosen: list[dict[str, Any]]) -> dict[str, float | None]:
        told = [line[which] for line in chosen]

        def share(part: str, whole: str) -> float | None:
            among = sum(one[whole] for one in told)
            return round(sum(one[part] for one in told) / among, 4) if among else None

        return {
            "judge_pictures_right": round(sum(one["right"] for one in told) / len(told), 4),
            "judge_objects": share("concepts", "objects"),
            "judge_materials": share("materials", "with_material"),
            "eyes_pictures_right": round(sum(one["eyes_right"] for one in told) / len(told), 4),
        }

    tasks = dict.fromkeys(line["task"] for line in lines)
    count = len(lines)
    return {
        "requests": count,
        "most_pictures": options.pictures,
        "once": rates("once", lines),
        "composed": rates("composed", lines),
        "tasks": {
            task: {
                which: rates(which, [line for line in lines if line["task"] == task])
                for which in ("once", "composed")
            }
            for task in tasks
        },
        "pictures": round(sum(line["pictures"] for line in lines) / count, 3),
        "seconds_once": round(sum(line["first_seconds"] for line in lines) / count, 3),
        "seconds_composed": round(sum(line["seconds"] for line in lines) / count, 3),
        "python": platform.python_version(),
        "command": " ".join(["python", "-m", "benchmarks.compose", *sys.argv[1:]]),
    }


if __name__ == "__main__":
    sys.exit(main())
