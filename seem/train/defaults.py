"""How a model is taken further on somebody's own pictures, where nothing else is asked for.

A rule, not a search: what the model is and how many pictures there are decide the numbers of a
`Recipe` and which parts stay as they are; `explain` says why.
"""

from dataclasses import dataclass

from grounding.loop import LoopConfig
from seem.train.recipes import Recipe

__all__ = ["OWN", "Base", "Chosen", "choose", "explain"]

SMALLER = 2 / 3  # of the size, in the first half of the steps; and at least
LEAST = 64  # pixels
OWN = "own"  # what the choice is called, as a recipe
SMALL = 50_000_000  # parameters up to which a CPU trains a model; the official ones have 100 to 400
FEW = 400  # pictures up to which the image encoder stays as it is
LOOKS = 160  # times that each picture is looked at, within these limits of steps
STEPS, MOST_STEPS = 400, 6000
REPLAYED, SCENES = 0.4, 600  # share of the pictures that show what was known; how many there are


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a run starts from.

    Attributes:
        parameters: How many it has.
        short_side: Pixels of the shorter side of pictures as it sees them.
        replays: Whether pictures of what it knows are at hand, to be shown among the new ones.
    """

    parameters: int
    short_side: int
    replays: bool


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is chosen.

    Attributes:
        recipe: All numbers.
        frozen: Parts that stay as they are.
        replay: Share of the pictures that show what the model knew.
    """

    recipe: Recipe
    frozen: tuple[str, ...]
    replay: float


def choose(
    base: Base, pictures: int, *, steps: int | None = None, batch: int | None = None
) -> Chosen:
    """Choose how to train.

    Args:
        base: What to start from.
        pictures: To learn from.
        steps: As they are asked for; the warm-up and the average go by them.
        batch: Likewise; the steps go by it.
    """
    small = base.parameters <= SMALL
    batch = batch or 8
    if steps is None:
        steps = min(max(round(LOOKS * pictures / batch), STEPS), MOST_STEPS)
    few = pictures <= FEW
    frozen = ("backbone", "text_encoder") if few else ("text_encoder",)
    rate = 5e-4 if small else 5e-5
    warmup = min(max(1, steps // 10), 200)
    ema = round(max(0.0, 1 - 20 / steps), 4) if steps >= STEPS else 0.0
    size = base.short_side
    smaller = min(size, max(LEAST, round(SMALLER * size / 32) * 32))
    replay = REPLAYED if base.replays else 0.0
    loop = LoopConfig(
        steps=steps,
        learning_rate=rate,
        warmup=warmup,
        weight_decay=0.02 if small else 0.05,
        ema=ema,
        save_every=max(1, min(100, steps // 4)),
        sample_every=max(1, steps // 4),
        log_every=min(10, steps),
    )
    recipe = Recipe(
        config="",
        preset="crowd",
        scenes=SCENES if base.replays else 0,
        collages=0,
        words=0,
        loop=loop,
        pasted=0.5,
        batch=batch,
        objects=3 if small else 8,
        points=512 if small else 12_544,
        sizes={0: smaller, steps // 2: size} if steps > 1 else {0: size},
    )
    return Chosen(recipe=recipe, frozen=frozen, replay=replay)


def explain(base: Base, pictures: int, chosen: Chosen) -> list[str]:
    """Say what is chosen, why, and which options change it.

    Args:
        base: What to start from.
        pictures: To learn from.
        chosen: With what was asked for in its place.
    """
    recipe, frozen = chosen.recipe, chosen.frozen
    loop, size = recipe.loop, list(recipe.sizes.values())[-1]
    looks = max(1, round(loop.steps * recipe.batch * (1 - chosen.replay) / pictures))
    told = [
        f"{loop.steps} steps of {recipe.batch} pictures, each of {pictures} seen about {looks} "
        f"times, at {size} pixels as the model is used to (--steps, --batch, --size)",
        f"learning rate {loop.learning_rate:g} after {loop.warmup} steps of warm-up, then "
        f"{loop.schedule}; averaged by {loop.ema:g}: about half of the rate that a model of "
        f"{base.parameters / 1e6:.1f} M parameters is made with (--learning-rate, --warmup, "
        "--schedule, --ema)",
        f"frozen: {' and '.join(frozen) or 'nothing'}; {pictures} pictures teach "
        f"{'no' if pictures <= FEW else 'an'} image encoder, and words are learned apart "
        "(--freeze)",
    ]
    if chosen.replay:
        told.append(
            f"{chosen.replay:.0%} of the pictures show what the model knew, so that it stays known "
            "(--replay)"
        )
    return told
