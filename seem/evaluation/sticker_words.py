"""What a person might say of a sticker scene, and which stickers that means.

A text means all stickers that it fits: "llama" all llamas, whatever they are made of. One that fits
a single sticker is a phrase, to be answered with one mask; all names are searched for.
"""

from collections.abc import Sequence

from grounding.stickers.captions import APART, relation
from grounding.stickers.scene import Sticker
from grounding.stickers.world import HELD_OUT_PAIRS
from seem.evaluation.sample import Phrase, Search

__all__ = ["names", "places", "relations", "searches"]

SIDES = (
    ("on the left", 0, 1),
    ("on the right", 0, -1),
    ("at the top", 1, 1),
    ("at the bottom", 1, -1),
)
ABSENT = "nothing there"


def names(stickers: Sequence[Sticker]) -> list[Phrase]:
    """What stickers are called, where that is one sticker's own name: "lava llama", "llama"."""
    said = []
    for index, sticker in enumerate(stickers):
        pair = (sticker.material or "", sticker.concept)
        both = "new material and object" if pair in HELD_OUT_PAIRS else "material and object"
        kinds = {sticker.concept: "object"}
        if sticker.material:
            kinds[sticker.phrase] = both
        for text, kind in kinds.items():
            if fitting(stickers, text) == (index,):
                said.append(Phrase(text=text, targets=(index,), kind=kind))
    return said


def relations(stickers: Sequence[Sticker]) -> list[Phrase]:
    """Who lies where to whom, where that is true of one sticker: "the llama left of the dog"."""
    meant: dict[str, set[int]] = {}
    for index, subject in enumerate(stickers):
        for other in stickers:
            side = relation(subject, other) if other.concept != subject.concept else None
            if side:
                text = f"the {subject.concept} {side} the {other.concept}"
                meant.setdefault(text, set()).add(index)
    said = []
    for text, targets in meant.items():
        if len(targets) == 1:
            alone = len(fitting(stickers, stickers[min(targets)].concept)) == 1
            kind = "relation" if alone else "relation, twins"
            said.append(Phrase(text=text, targets=tuple(targets), kind=kind))
    return said


def places(stickers: Sequence[Sticker]) -> list[Phrase]:
    """Which of those of one concept lies at a side: "the llama on the left"."""
    said = []
    for concept in dict.fromkeys(sticker.concept for sticker in stickers):
        alike = fitting(stickers, concept)
        for words, axis, sign in SIDES if len(alike) > 1 else ():
            middles = {i: sum(stickers[i].box[axis::2]) / 2 for i in alike}
            first, second = sorted(alike, key=lambda i: sign * middles[i])[:2]
            if abs(middles[first] - middles[second]) >= APART:
                text = f"the {concept} {words}"
                said.append(Phrase(text=text, targets=(first,), kind="place, twins"))
    return said


def searches(stickers: Sequence[Sticker], absent: str) -> list[Search]:
    """All names of a scene with all stickers that they fit, and one that fits none."""
    texts = [text for sticker in stickers for text in (sticker.phrase, sticker.concept)]
    found = []
    for text in dict.fromkeys(texts):
        targets = fitting(stickers, text)
        kind = "one instance" if len(targets) == 1 else "several instances"
        found.append(Search(text=text, targets=targets, kind=kind))
    return [*found, Search(text=absent, targets=(), kind=ABSENT)]


def fitting(stickers: Sequence[Sticker], name: str) -> tuple[int, ...]:
    """The stickers that a name fits, by index."""
    return tuple(i for i, s in enumerate(stickers) if name in (s.concept, s.phrase))
