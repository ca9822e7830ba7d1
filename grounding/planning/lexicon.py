"""Words that the reader of captions knows by themselves: everything else is a noun, or unread.

Small closed classes of English (determiners, prepositions, number words) are complete as far as
captions need them; attributes are the usual ones and those of the sticker world.
"""

import itertools
from typing import Final

from grounding.stickers.vocabulary import MATERIALS

__all__ = [
    "ATTRIBUTES",
    "CONTAINERS",
    "GROUNDS",
    "ING_NOUNS",
    "MARKS",
    "NAMES_OF_PICTURES",
    "REQUESTS",
    "singular",
]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "material": (
        *MATERIALS,
        *("marble", "metal", "steel", "iron", "bronze", "silver", "copper", "glass", "plastic"),
        *("paper", "leather", "brick", "clay", "crystal", "concrete", "diamond", "chocolate"),
        *("wooden", "golden", "woolen", "knitted", "origami", "porcelain", "ceramic", "neon"),
    ),
    "colour": (
        *("red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown", "black"),
        *("white", "gray", "grey", "beige", "turquoise", "cyan", "magenta", "lilac", "crimson"),
    ),
    "size": ("big", "small", "large", "little", "tiny", "huge", "giant", "tall", "short", "long"),
    "look": (
        *("dark", "light", "bright", "pale", "shiny", "old", "new", "young", "cute", "happy"),
        *("sad", "fluffy", "striped", "spotted", "round", "square", "beautiful", "cartoon"),
    ),
}

# Where a scene is set, rather than a thing in it: "on a beach", "in the snow".
GROUNDS: Final[frozenset[str]] = _set(
    "air backdrop background beach bedroom city coast courtyard day daylight desert dusk dawn "
    "evening farm field fog forest garden ground grass grassland hill hills jungle kitchen lake "
    "land landscape lawn light meadow moonlight morning mountains night ocean park pasture path "
    "pond prairie rain rainforest river road room savanna savannah sea seaside shore sky snow "
    "space street studio summer sun sunlight sunrise sunset swamp town tundra underwater valley "
    "village water wilderness winter woods world yard zoo"
)
CONTAINERS: Final[frozenset[str]] = _set(
    "backpack bag barrel basket bathtub boat bottle bowl box bucket bus cage car cart castle cup "
    "drawer fridge glass house jar mug nest net pan pocket pool pot sack sailboat sink suitcase "
    "tank taxi teapot tent train truck tub van vase"
)
ING_NOUNS: Final[frozenset[str]] = _set(
    "building ceiling clothing dumpling duckling earring icing king lightning painting pudding "
    "ring sapling sibling spring string swing thing wedding wing"
)
NAMES_OF_PICTURES: Final[frozenset[str]] = _set(
    "photo photograph picture image painting drawing sketch illustration rendering render scene "
    "view sticker stickers cartoon"
)
REQUESTS: Final[frozenset[str]] = _set(
    "please draw paint show generate create make imagine plan me us"
)

_NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    "twenty",
)
_UNCOUNTED = _set(
    "glasses sunglasses eyeglasses goggles scissors pants trousers jeans shorts pliers tongs "
    "binoculars headphones gas lens grass glass dress cross bus cactus octopus walrus virus "
    "hibiscus crocus platypus hippopotamus iris tennis chess compass christmas series species "
    "asparagus canvas atlas mattress princess waitress moss albatross hourglass news"
)
_IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "oxen": "ox",
    "cacti": "cactus",
    "octopi": "octopus",
    "wolves": "wolf",
    "leaves": "leaf",
    "knives": "knife",
    "loaves": "loaf",
    "shelves": "shelf",
    "calves": "calf",
    "halves": "half",
    "scarves": "scarf",
    "elves": "elf",
    "shoes": "shoe",
    "horseshoes": "horseshoe",
    "canoes": "canoe",
    "toes": "toe",
    "cookies": "cookie",
    "movies": "movie",
    "pies": "pie",
    "ties": "tie",
    "zombies": "zombie",
    "axes": "axe",
}


def singular(word: str) -> str | None:
    """The singular of a plural: "buses" -> "bus"; None if the word is no plural."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _UNCOUNTED or len(word) < 3 or not word.endswith("s"):
        return None
    if word.endswith(("ss", "us", "is")):
        return None
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "xes", "sses", "oes")):
        return word[:-2]
    if word.endswith("uses") and not word.endswith("ouses"):
        return word[:-2]
    return word[:-1]


def _relations() -> dict[str, tuple[str, str]]:
    said = {
        "on": "on top of|atop|upon|on",
        "above": "above|over|high above|up above",
        "below": "below|under|underneath|beneath",
        "in front of": "in front of",
        "behind": "behind|in back of",
        "inside": "inside of|inside|within",
        "beside": "next to|beside|near|by|close to|alongside|adjacent to|near to|at the side of",
        "between": "in between|between",
        "in": "in|into",
        "at": "at",
    }
    table = {words: predicate for predicate, ways in said.items() for words in ways.split("|")}
    for side in ("left", "right"):
        for lead in ("to the {} of", "on the {} of", "at the {} of", "{} of", "to the {} side of"):
            table[lead.format(side)] = f"{side} of"
        table[f"on the {side} side of"] = f"{side} of"
    return {words: ("relation", predicate) for words, predicate in table.items()}


def _places() -> dict[str, tuple[str, str]]:
    sides = {"left": "at left", "right": "at right"}
    sides |= {"top": "at top", "bottom": "at bottom"}
    sides |= {"middle": "at centre", "centre": "at centre", "center": "at centre"}
    ends = ("", " side", " half", " part", " edge", " corner")
    pictures = ("", *(f" of the {name}" for name in ("picture", "image", "photo", "canvas")))
    table = {}
    for lead, side, end, tail in itertools.product(("on", "to", "at", "in"), sides, ends, pictures):
        table[f"{lead} the {side}{end}{tail}"] = ("place", sides[side])
    corners = itertools.product(("top", "upper"), ("bottom", "lower"), ("left", "right"))
    for top, bottom, side in corners:
        for lead, end, tail in itertools.product(("on", "to", "at", "in"), ends, pictures):
            table[f"{lead} the {top} {side}{end}{tail}"] = ("place", f"at top,{sides[side]}")
            table[f"{lead} the {bottom} {side}{end}{tail}"] = ("place", f"at bottom,{sides[side]}")
    return table


def _counts() -> dict[str, tuple[str, str]]:
    """Determiners: "N" is just N, "N+" at least N, "the" something that may be known."""
    numbers = {word: count for count, word in enumerate(_NUMBERS, start=1)}
    numbers |= {str(count): count for count in range(1, 21)}  # for "at least 3"
    numbers |= {"a dozen": 12, "half a dozen": 6, "a pair of": 2, "a couple of": 2, "couple of": 2}
    numbers |= {"a": 1, "an": 1, "another": 1, "a single": 1, "both": 2, "pair of": 2}
    table = {words: ("count", str(count)) for words, count in numbers.items()}
    for words, count in numbers.items():
        table[f"at least {words}"] = ("count", f"{count}+")
        for exactly in ("exactly", "just", "only"):
            table[f"{exactly} {words}"] = ("count", str(count))
    some = "some|several|many|few|a few|multiple|various|lots of|a lot of|a group of|a bunch of"
    flocks = "a herd of|a flock of|a row of|a pile of|numerous|plenty of|different"
    table |= dict.fromkeys(f"{some}|{flocks}".split("|"), ("count", "2+"))
    table |= dict.fromkeys(("the", "this", "that", "these", "those"), ("the", ""))
    owners = "its|his|her|their|my|your|our|it|itself|them|him|they|he|she|each other|one another"
    return table | dict.fromkeys(owners.split("|"), ("whose", ""))


def _joints() -> dict[str, tuple[str, str]]:
    joined = "and|&|plus|as well as|together with|along with|with|and also|having|has|have|and then"
    missing = "without|without any|with no|but no|no|zero|and no|or no|not any|but without"
    absent = (
        f"{missing}|and without|but not|not|not a|not an|there is no|there are no|with no other"
    )
    idle = (
        "is|are|was|were|there is|there are|there's|be|being|it is|that is|which is|that are|"
        "which are|who is|sits|sit|sitting|stands|stand|standing|lies|lie|lying|rests|resting|"
        "placed|located|positioned|situated|seen|also|directly|immediately|slightly|just|only|"
        "located|appears|appear|side by side"
    )
    table = dict.fromkeys(joined.split("|"), ("and", ""))
    table |= dict.fromkeys(absent.split("|"), ("absent", ""))
    table |= dict.fromkeys(idle.split("|"), ("is", ""))
    table |= {"made of": ("made of", ""), "made out of": ("made of", ""), "of": ("of", "")}
    table |= {"made entirely of": ("made of", ""), "or": ("or", "")}
    table |= dict.fromkeys((",", ":"), ("comma", ""))
    return table | dict.fromkeys((".", "!", "?", ";"), ("stop", ""))


MARKS: Final[dict[tuple[str, ...], tuple[str, str]]] = {
    tuple(words.split()): mark
    for words, mark in (_relations() | _places() | _counts() | _joints()).items()
}
"""Word sequences that mean something by themselves -> (kind, value); the longest one counts."""
