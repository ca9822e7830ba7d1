"""Questions about scenes of stickers, with their answers: what the embedded LLaVA is taught.

    exists      Is there a lava llama in the image?                              Yes
    count       How many llamas are in the image?                                2
    material    What is the llama made of?                                       lava
    side        Is the llama on the left?                                        Yes
                Is the llama at the top or at the bottom?                        top
    relation    Is the llama left of the dog?                                    No
                Is the llama left or right of the dog?                           right
    refer       Please provide the bounding box coordinate of the region this
                sentence describes: lava llama.                                  [0.10, 0.20, ...]
    region      Please provide a short description for this region: [0.10, ...]. a lava llama
    fits        Which caption fits the image? A: a lava llama and an ice dog.
                B: an ice llama and a lava dog.                                  A
    ...

Yes and no, and A and B, are equally likely. Boxes are written as LLaVA-1.5 does. `plans` has
questions that need no picture. In the split "train" no pair of material and concept that the
world holds out is ever named, neither in a question nor in an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import numpy as np

from grounding.stickers.captions import APART, caption
from grounding.stickers.scene import Box, Scene, Sticker
from grounding.stickers.vocabulary import BACKGROUNDS, article
from grounding.stickers.world import HELD_OUT_PAIRS, Split, World

__all__ = [
    "FITS",
    "KINDS",
    "PLAIN",
    "REFER",
    "Kind",
    "Question",
    "ask",
    "ask_several",
    "box_text",
    "plural",
]

Kind = Literal[
    "caption", "exists", "count", "material", "maker", "side", "relation", "refer", "region",
    "fits", "grounded", "list", "background", "plan",
]  # fmt: skip
PLAIN = "plain"  # the answer, where an object is made of no material
T = TypeVar("T")

SHARES: Final[dict[Kind, float]] = {
    "caption": 0.03,
    "exists": 0.14,
    "count": 0.14,
    "material": 0.06,
    "maker": 0.03,
    "side": 0.08,
    "relation": 0.18,
    "refer": 0.14,
    "region": 0.05,
    "fits": 0.11,
    "grounded": 0.015,
    "list": 0.015,
    "background": 0.01,
}
"""How often a question about a picture is of each kind."""
KINDS: Final[tuple[Kind, ...]] = tuple(SHARES)

CAPTION = ("Describe the image.", "Write a caption for the image.", "What is in the image?")
REFER = "Please provide the bounding box coordinate of the region this sentence describes: {}."
REGION = "Please provide a short description for this region: {}."
FITS = "Which caption fits the image? A: {}. B: {}."
DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
"""The axis of a direction, and the sign of the difference of the centres along it."""
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
SIDES = {
    "left of": "on the left",
    "right of": "on the right",
    "above": "at the top",
    "below": "at the bottom",
}
SAME_PLURAL = ("fish", "glasses", "cherries", "grapes", "cheese", "bread")
MISSING_COUNTED = 0.2  # share of the counts of a thing that is not there


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and what is to be answered.

    Attributes:
        kind: What it asks for.
        text: The question.
        answer: The answer.
        box: Of "refer" and "region": the normalised box that it is about.
        options: Of "fits": the caption that fits, and the one that does not.
    """

    kind: Kind
    text: str
    answer: str
    box: Box | None = None
    options: tuple[str, str] | None = None


def ask(
    kind: Kind,
    scene: Scene,
    world: World,
    generator: np.random.Generator,
    split: Split = "train",
) -> Question | None:
    """Ask one thing of a scene.

    Args:
        kind: One of `KINDS`.
        scene: Of the world and the split.
        world: Says what else could have been there.
        generator: Decides what is asked, and how.
        split: Of the scene. "train" never names a pair that is held out.

    Returns:
        The question; None if nothing of the kind can be asked of the scene.
    """
    return _ASKED[kind](_Talk(scene, world, generator, split))


def ask_several(
    scene: Scene,
    world: World,
    generator: np.random.Generator,
    count: int,
    split: Split = "train",
) -> list[Question]:
    """Ask several things of a scene, of random kinds, no question twice.

    Args:
        scene: As for `ask`.
        world: As for `ask`.
        generator: Decides what is asked, and how.
        count: How many questions; fewer if the scene gives no more.
        split: As for `ask`.
    """
    shares = np.array([SHARES[kind] for kind in KINDS])
    found: dict[str, Question] = {}
    for number in generator.choice(len(KINDS), size=3 * count, p=shares / shares.sum()):
        question = ask(KINDS[number], scene, world, generator, split)
        if question is not None and len(found) < count:
            found.setdefault(question.text, question)
    return list(found.values())


def box_text(box: Sequence[float]) -> str:
    """Write a normalised box: `[x0, y0, x1, y1]`, two decimals (arXiv 2310.03744, section 3.3)."""
    return "[" + ", ".join(f"{value:.2f}" for value in box) + "]"


def plural(concept: str) -> str:
    """Return the plural of a concept: ``plural("fox") == "foxes"``."""
    if concept in SAME_PLURAL:
        return concept
    if concept.endswith(("s", "x", "ch", "sh")):
        return f"{concept}es"
    if concept.endswith("y") and concept[-2] not in "aeiou":
        return f"{concept[:-1]}ies"
    return "leaves" if concept == "leaf" else f"{concept}s"


@dataclass(frozen=True)
class _Talk:
    """What a question is made from."""

    scene: Scene
    world: World
    generator: np.random.Generator
    split: Split

    @property
    def stickers(self) -> tuple[Sticker, ...]:
        return self.scene.stickers

    def coin(self, share: float = 0.5) -> bool:
        return bool(self.generator.random() < share)

    def any_of(self, items: Sequence[T]) -> T:
        return items[int(self.generator.integers(len(items)))]

    def may_name(self, material: str | None, concept: str) -> bool:
        return self.split != "train" or (material, concept) not in HELD_OUT_PAIRS

    def name(self, sticker: Sticker) -> str | None:
        """A name that means this sticker alone: with its material, or without."""
        names = [
            name
            for name, of in (
                (sticker.concept, [s for s in self.stickers if s.concept == sticker.concept]),
                (sticker.phrase, [s for s in self.stickers if _fits(sticker.phrase, s)]),
            )
            if len(of) == 1
        ]
        return self.any_of(names) if names else None

    def named(self, count: int) -> list[tuple[Sticker, str]]:
        """Random stickers with such names; none if there are not so many."""
        order = [self.stickers[i] for i in self.generator.permutation(len(self.stickers))]
        pairs = [(sticker, name) for sticker in order if (name := self.name(sticker)) is not None]
        return pairs[:count] if len(pairs) >= count else []


def _fits(phrase: str, sticker: Sticker) -> bool:
    """Whether a phrase, with or without a material, can mean a sticker."""
    return phrase in (sticker.concept, sticker.phrase)


def _question(kind: Kind, text: str, answer: str, box: Box | None = None, options=None) -> Question:
    return Question(kind=kind, text=text, answer=answer, box=box, options=options)


def _caption(talk: _Talk) -> Question:
    words = caption(talk.stickers, talk.scene.background, talk.generator)
    return _question("caption", talk.any_of(CAPTION), words)


def _exists(talk: _Talk) -> Question | None:
    sticker = talk.any_of(talk.stickers)
    if talk.coin():
        phrase = sticker.phrase if talk.coin() else sticker.concept
        return _question("exists", f"Is there {article(phrase)} in the image?", "Yes")
    concept, material = talk.any_of(talk.world.concepts), None
    if talk.coin(0.4):  # one thing of it is there, the other is not
        material = talk.any_of(talk.world.materials)
        concept = sticker.concept if talk.coin(0.6) else concept
    phrase = f"{material} {concept}" if material else concept
    if not talk.may_name(material, concept) or any(_fits(phrase, s) for s in talk.stickers):
        return None
    return _question("exists", f"Is there {article(phrase)} in the image?", "No")


def _count(talk: _Talk) -> Question:
    concepts = [sticker.concept for sticker in talk.stickers]
    if talk.coin(0.4):
        return _question("count", "How many objects are in the image?", str(len(concepts)))
    twice = [concept for concept in concepts if concepts.count(concept) > 1]
    concept = talk.any_of(twice) if twice and talk.coin() else talk.any_of(concepts)
    if talk.coin(MISSING_COUNTED):
        concept = talk.any_of(talk.world.concepts)
    text = f"How many {plural(concept)} are in the image?"
    return _question("count", text, str(concepts.count(concept)))


def _material(talk: _Talk) -> Question | None:
    concepts = [sticker.concept for sticker in talk.stickers]
    alone = [s for s in talk.stickers if concepts.count(s.concept) == 1]
    if not alone:
        return None
    sticker = talk.any_of(alone)
    text = f"What is the {sticker.concept} made of?"
    return _question("material", text, sticker.material or PLAIN)


def _maker(talk: _Talk) -> Question | None:
    materials = [sticker.material for sticker in talk.stickers]
    alone = [s for s in talk.stickers if s.material and materials.count(s.material) == 1]
    if not alone:
        return None
    sticker = talk.any_of(alone)
    text = f"What is made of {sticker.material}?"
    return _question("maker", text, f"the {sticker.concept}")


def _side(talk: _Talk) -> Question | None:
    """Of one whose centre is well off the middle along an axis."""
    found = talk.named(1)
    if not found:
        return None
    [(sticker, name)] = found
    middle = (0.5, 0.5, 0.5, 0.5)
    true = [word for word in DIRECTIONS if _lies(sticker.box, word, middle)]
    if not true:
        return None
    said = talk.any_of(true)
    if talk.coin():
        one, other = (SIDES[word] for word in _along(said))
        return _question("side", f"Is the {name} {one} or {other}?", SIDES[said].split()[-1])
    holds = talk.coin()
    text = f"Is the {name} {SIDES[said if holds else OPPOSITE[said]]}?"
    return _question("side", text, "Yes" if holds else "No")


def _relation(talk: _Talk) -> Question | None:
    """Of two whose centres are well apart along an axis."""
    pair = talk.named(2)
    if not pair:
        return None
    (first, name), (second, other) = pair
    true = [word for word in DIRECTIONS if _lies(first.box, word, second.box)]
    if not true:
        return None
    said = talk.any_of(true)
    if talk.coin():
        one, another = _along(said)
        text = f"Is the {name} {one.removesuffix(' of')} or {another} the {other}?"
        return _question("relation", text, said.removesuffix(" of"))
    holds = talk.coin()
    text = f"Is the {name} {said if holds else OPPOSITE[said]} the {other}?"
    return _question("relation", text, "Yes" if holds else "No")


def _along(direction: str) -> tuple[str, str]:
    """Both directions of an axis, always in the same order."""
    axis, _ = DIRECTIONS[direction]
    return ("left of", "right of") if axis == 0 else ("above", "below")


def _lies(box: Box, direction: str, other: Box) -> bool:
    axis, sign = DIRECTIONS[direction]
    apart = (box[axis] + box[axis + 2] - other[axis] - other[axis + 2]) / 2
    return sign * apart >= APART


def _refer(talk: _Talk) -> Question | None:
    found = talk.named(1)
    if not found:
        return None
    [(sticker, name)] = found
    text = f"Where is the {name}?" if talk.coin(0.3) else REFER.format(name)
    return _question("refer", text, box_text(sticker.box), sticker.box)


def _region(talk: _Talk) -> Question:
    sticker, chance = talk.any_of(talk.stickers), talk.generator.random()
    place = box_text(sticker.box)
    if chance < 0.3:
        answer = sticker.material or PLAIN
        return _question("region", f"What is this made of? {place}", answer, sticker.box)
    text = f"What is this? {place}" if chance < 0.6 else REGION.format(place)
    return _question("region", text, article(sticker.phrase), sticker.box)


def _which_fits(talk: _Talk) -> Question | None:
    makers = (_swapped_places, _swapped_materials, _other_material)
    options = talk.any_of(makers)(talk)
    if options is None:
        return None
    first = talk.coin()
    shown = options if first else options[::-1]
    return _question("fits", FITS.format(*shown), "A" if first else "B", options=options)


def _swapped_places(talk: _Talk) -> tuple[str, str] | None:
    pair = talk.named(2)
    if not pair:
        return None
    (first, name), (second, other) = pair
    true = [word for word in DIRECTIONS if _lies(first.box, word, second.box)]
    if not true:
        return None
    said = talk.any_of(true)
    return (
        f"{article(name)} {said} {article(other)}",
        f"{article(other)} {said} {article(name)}",
    )


def _swapped_materials(talk: _Talk) -> tuple[str, str] | None:
    pair = talk.named(2)
    if not pair:
        return None
    (first, _), (second, _) = pair
    phrases = {s.phrase for s in talk.stickers}
    swapped = [
        (second.material, first.concept),
        (first.material, second.concept),
    ]
    names = [f"{material} {concept}" if material else concept for material, concept in swapped]
    if (
        first.material == second.material
        or first.concept == second.concept
        or not all(talk.may_name(*pair) for pair in swapped)
        or phrases.issuperset(names)
    ):
        return None
    return (
        f"{article(first.phrase)} and {article(second.phrase)}",
        f"{article(names[0])} and {article(names[1])}",
    )


def _other_material(talk: _Talk) -> tuple[str, str] | None:
    sticker = talk.any_of(talk.stickers)
    material = talk.any_of(talk.world.materials)
    name = f"{material} {sticker.concept}"
    if (
        sticker.material is None
        or not talk.may_name(material, sticker.concept)
        or any(name == other.phrase for other in talk.stickers)
    ):
        return None
    return article(sticker.phrase), article(name)


def _grounded(talk: _Talk) -> Question:
    parts = [f"{article(s.phrase)} {box_text(s.box)}" for s in _from_left(talk.stickers)]
    words = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    answer = f"{words} {BACKGROUNDS[talk.scene.background]}"
    return _question("grounded", "Describe the image with boxes.", answer)


def _list(talk: _Talk) -> Question:
    lines = [f"{s.phrase}: {box_text(s.box)}" for s in _from_left(talk.stickers)]
    return _question("list", "List the objects with their boxes.", "\n".join(lines))


def _from_left(stickers: Sequence[Sticker]) -> list[Sticker]:
    return sorted(stickers, key=lambda s: (s.box[0] + s.box[2], s.box[1]))


def _background(talk: _Talk) -> Question:
    return _question("background", "What is the background?", talk.scene.background)


_ASKED = {
    "caption": _caption,
    "exists": _exists,
    "count": _count,
    "material": _material,
    "maker": _maker,
    "side": _side,
    "relation": _relation,
    "refer": _refer,
    "region": _region,
    "fits": _which_fits,
    "grounded": _grounded,
    "list": _list,
    "background": _background,
}
