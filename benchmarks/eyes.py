"""How well the loop's two eyes tell right things from wrong ones: `python -m benchmarks.eyes`.

Requests of many things at once are laid out and drawn (`benchmarks.compose.many`). The judge, a
classifier of crops that knows every pair, says which things came out right. Beside it: how many of
the right and of the wrong ones each eye passes, and the area under the curve of its certainty, 0.5
for an eye that guesses. The first is SEEM (`pipelines.composition.looker`), which passes or does
not; the second the likeness of box and phrase (`pipelines.composition.likeness`). The last line
printed is one JSON object.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from benchmarks.compose import instances, many
from grounding.errors import PromptError
from grounding.planning.caption import read_caption
from grounding.stickers.judge import PLAIN, StickerJudge, crop
from grounding.stickers.vocabulary import CONCEPTS
from pipelines.compose import open_eye, open_hand
from pipelines.composition.likeness import SecondLook
from pipelines.console import guarded, quiet_libraries
from pipelines.planning.planner import Planner
from weights.registry import embedded


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eyes", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--scenes", type=int, default=60, help="how many pictures")
    options = parser.parse_args()
    return guarded("benchmarks.eyes", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    draw, look = open_hand({}), open_eye({})
    assert isinstance(look, SecondLook), "the embedded models have two eyes"
    judge = StickerJudge.from_pretrained(embedded("judge"))
    right, first, second = [], [], []
    asked_for = itertools.islice(many(), options.scenes)
    for _, layout in tqdm(asked_for, total=options.scenes, disable=None):
        caption = layout.document.prompt
        plan = Planner().plan(caption).document
        picture = draw(plan, 0, None).convert("RGB")
        image = np.asarray(picture)
        named = judge.names([crop(image, one.box) for one in instances(plan)])
        asked = [(one.noun, one.attribute or PLAIN) for one in instances(plan)]
        right += [name == wanted for name, wanted in zip(named, asked, strict=True)]
        verdict = look.look(image, plan, read_caption(caption, CONCEPTS))
        first += [float(region.id not in verdict.wrong) for region in plan.regions]
        second += [look.likeness(picture, region) or 0.0 for region in plan.regions]
    told = {
        "benchmark": "eyes",
        "objects": len(right),
        "right": sum(right),
        "seem": summary(right, first, least=0.5),
        "likeness": summary(right, second, least=look.least),
        "command": " ".join(["python", "-m", "benchmarks.eyes", *sys.argv[1:]]),
    }
    print(json.dumps(told))
    return 0


def summary(right: Sequence[bool], certainty: Sequence[float], least: float) -> dict[str, float]:
    """What an eye passes of what is right and of what is wrong, and its area under the curve.

    Args:
        right: Of each object, by the judge; some are, some are not.
        certainty: Of the eye.
        least: Certainty from which it passes an object.

    Raises:
        PromptError: all are right, or none is.
    """
    is_right, certain = np.asarray(right), np.asarray(certainty)
    good, bad = certain[is_right], certain[~is_right]
    if not len(good) or not len(bad):
        raise PromptError(
            f"{len(good)} things came out right and {len(bad)} wrong: it takes some of both, ask "
            "for more --scenes"
        )
    above = (good[:, None] > bad).mean() + (good[:, None] == bad).mean() / 2
    return {
        "passes_right": round(float((good >= least).mean()), 4),
        "passes_wrong": round(float((bad >= least).mean()), 4),
        "area_under_curve": round(float(above), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
