"""Whether an exchange keeps to what is there: no talk of notes, nothing uncertain, no invention.

The rule for invention is that of CHAIR (Rohrbach et al., "Object Hallucination in Image
Captioning", arXiv 1809.02156, section 2): of a fixed list of object names with synonyms, none may
occur that the picture's captions and objects do not name. Two things it lets pass: a name in a
clause that denies it ("there is no dog"), and a question about something absent whose answer
begins with "No". Names that are mostly other words ("orange", "light") are not on the list.
"""

import re
from collections.abc import Iterable

from grounding.llava.instruct.exchange import Exchange
from grounding.llava.instruct.scene import Scene
from grounding.planning.lexicon import singular
from grounding.stickers.questions import plural

__all__ = ["Objects", "flaw"]

TOLD = re.compile(
    r"\bcaptions?\b|\bbounding[ -]box(?:es)?\b|\bcoordinates?\b|\bannotat(?:ions?|ed)\b"
    r"|\b(?:given|provided|listed|supplied) (?:notes?|text|information|descriptions?|sentences?|"
    r"details|data|lists?|objects?)\b"
    r"|\b(?:notes?|text|information|descriptions?|sentences?|context|lists?)(?: that)?"
    r"(?: (?:is|are|was|were))? (?:given|provided|says?|states?|mentions?|tells?|describes?)\b"
    r"|\b(?:according to|based on|from) the (?:notes?|text|descriptions?|sentences?|context|"
    r"information|lists?)\b",
    re.IGNORECASE,
)
NUMBERS = re.compile(r"\[\s*-?\d|\b[01]\.\d{2,}\b")  # places
UNSURE = re.compile(
    r"\b(?:not|n't|never) (?:explicitly |clearly |directly )?(?:mentioned|specified|stated|given|"
    r"provided|described)\b"
    r"|\b(?:impossible|difficult|hard) to (?:tell|say|determine)\b"
    r"|\b(?:cannot|can't|can not|could not|couldn't) (?:be )?(?:determined?|tell|say|know)\b"
    r"|\bas an ai\b|\bi (?:do not|don't) know\b|\bunable to (?:see|tell|determine)\b"
    r"|\bi'm sorry\b",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"[.,;:!?\n]|\bbut\b|\balthough\b", re.IGNORECASE)
DENIAL = re.compile(
    r"\b(?:no|not|without|neither|nor|never|none|nothing|absence|lacks?|instead of)\b|n't\b",
    re.IGNORECASE,
)
NO = re.compile(r"\W*no\b", re.IGNORECASE)

SYNONYMS = (
    "person people man men woman women boy boys girl girls child children kid kids lady ladies guy "
    "gentleman player rider skier surfer vendor customer",
    "bicycle bike",
    "motorcycle motorbike scooter",
    "car automobile taxi sedan",
    "airplane plane aeroplane jet aircraft",
    "boat ship sailboat canoe",
    "couch sofa",
    "tv television",
    "donut doughnut",
    "hamburger burger",
    "refrigerator fridge",
    "dog puppy",
    "cat kitten",
    "rabbit bunny",
    "cup mug",
    "glasses sunglasses spectacles eyeglasses",
    "laptop computer",
    "house cottage",
    "phone cellphone smartphone",
)
OTHER_WORDS = frozenset(
    (
        *("orange", "light", "counter", "tie", "remote", "bear", "star", "mouse", "net", "paper"),
        *("rock", "water", "sand", "floor", "wall", "food", "fruit", "sea", "grass", "platform"),
        *("roof", "book", "glass", "iron", "plant", "can", "train", "watch", "fly", "park"),
    )
)
"""Names that are also verbs, colours, substances or parts of many scenes."""


class Objects:
    """Object names that may be invented, with their synonyms and plurals."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take names.

        Args:
            names: In the singular; those of the whole data set, and others that are common.
        """
        groups = {word: words.split()[0] for words in SYNONYMS for word in words.split()}
        self._kinds: dict[str, str] = {}
        for name in sorted({" ".join(name.lower().split()) for name in names}):
            if not name or name in OTHER_WORDS:
                continue
            kind = groups.get(name, name)
            alike = [word for word, group in groups.items() if group == kind]
            for word in {name, *alike}:
                self._kinds |= {word: kind, _plural(word): kind}
        longest_first = sorted(map(re.escape, self._kinds), key=lambda word: (-len(word), word))
        self._pattern = re.compile(rf"\b(?:{'|'.join(longest_first)})\b") if self._kinds else None

    def named(self, text: str) -> set[str]:
        """The kinds of objects that a text names."""
        return {kind for kind, _ in self._found(text)}

    def invented(self, text: str, known: set[str]) -> str | None:
        """The first object that a text claims and that is not known to be there; None: none is.

        Args:
            text: Of an answer or a question.
            known: Kinds, of `named`.
        """
        for kind, place in self._found(text):
            clause = CLAUSE.split(text[:place])[-1]
            if kind not in known and not DENIAL.search(clause):
                return kind
        return None

    def _found(self, text: str) -> list[tuple[str, int]]:
        if self._pattern is None:
            return []
        return [(self._kinds[m[0]], m.start()) for m in self._pattern.finditer(text.lower())]


def flaw(exchange: Exchange, scene: Scene, objects: Objects) -> tuple[str, str] | None:
    """Why an exchange is not to be learnt from: a reason and a detail; None: it is good.

    Args:
        exchange: Of the teacher.
        scene: What the teacher was told.
        objects: What may be invented.
    """
    whole = f"{exchange.question}\n{exchange.answer}"
    told = TOLD.search(whole) or NUMBERS.search(whole)
    if told and told[0].lower() not in scene.words().lower():
        return "speaks of what the teacher was told", told[0]
    unsure = UNSURE.search(exchange.answer)
    if unsure:
        return "is not certain", unsure[0]
    known = objects.named(scene.words())
    invented = objects.invented(exchange.answer, known)
    if invented is None and not NO.match(exchange.answer):
        invented = objects.invented(exchange.question, known)
    return None if invented is None else ("names an object that is not there", invented)


def _plural(name: str) -> str:
    first, space, last = name.rpartition(" ")
    return name if singular(last) else f"{first}{space}{plural(last)}"
