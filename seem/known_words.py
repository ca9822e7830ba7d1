"""Which class of a detector a text means: synonyms, plurals, articles and adjectives.

Axes: none; this file holds no tensors.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from grounding.errors import PromptError
from seem.words import plain_words

__all__ = ["SYNONYMS", "KnownWords"]

SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "people": "person",
        **dict.fromkeys(("man", "woman", "boy", "girl", "child", "kid", "baby"), "person"),
        **dict.fromkeys(("men", "women", "children", "human", "pedestrian", "lady"), "person"),
        **dict.fromkeys(("guy", "player", "rider"), "person"),
        **dict.fromkeys(("bike", "cycle"), "bicycle"),
        **dict.fromkeys(("automobile", "sedan", "taxi", "cab"), "car"),
        **dict.fromkeys(("motorbike", "scooter", "moped"), "motorcycle"),
        **dict.fromkeys(("plane", "aeroplane", "aircraft", "jet", "airliner"), "airplane"),
        **dict.fromkeys(("coach", "minibus"), "bus"),
        **dict.fromkeys(("lorry", "pickup", "van"), "truck"),
        **dict.fromkeys(("ship", "canoe", "sailboat", "yacht", "ferry"), "boat"),
        **dict.fromkeys(("locomotive", "tram"), "train"),
        **dict.fromkeys(("stoplight", "traffic signal"), "traffic light"),
        "hydrant": "fire hydrant",
        **dict.fromkeys(("kitten", "kitty"), "cat"),
        **dict.fromkeys(("puppy", "hound"), "dog"),
        **dict.fromkeys(("pony", "foal"), "horse"),
        **dict.fromkeys(("lamb", "ram"), "sheep"),
        **dict.fromkeys(("bull", "calf", "cattle", "ox"), "cow"),
        **dict.fromkeys(("rucksack", "knapsack"), "backpack"),
        "parasol": "umbrella",
        **dict.fromkeys(("purse", "bag"), "handbag"),
        "necktie": "tie",
        **dict.fromkeys(("luggage", "trunk"), "suitcase"),
        "ski": "skis",
        "ball": "sports ball",
        **dict.fromkeys(("football", "soccer ball", "basketball", "tennis ball"), "sports ball"),
        "racket": "tennis racket",
        "wineglass": "wine glass",
        **dict.fromkeys(("mug", "teacup"), "cup"),
        "doughnut": "donut",
        **dict.fromkeys(("sofa", "settee", "loveseat"), "couch"),
        **dict.fromkeys(("plant", "houseplant"), "potted plant"),
        **dict.fromkeys(("table", "desk"), "dining table"),
        **dict.fromkeys(("television", "tv set", "monitor", "screen"), "tv"),
        **dict.fromkeys(("notebook computer", "computer"), "laptop"),
        "computer mouse": "mouse",
        "remote control": "remote",
        **dict.fromkeys(
            ("phone", "mobile", "mobile phone", "cellphone", "smartphone"), "cell phone"
        ),
        "fridge": "refrigerator",
        "teddy": "teddy bear",
        **dict.fromkeys(("hair dryer", "hairdryer"), "hair drier"),
    }
)
"""Names that people give to COCO's things."""

PLACES = frozenset(  # after a name: where it is, and with what
    ("on", "in", "at", "with", "by", "near", "behind", "under", "above", "below", "beside", "next")
    + ("to", "from", "into", "over", "that", "which", "who")
)
DOINGS = frozenset(  # after a name the same, before it what it does, or how much of it
    ("of", "wearing", "holding", "riding", "sitting", "standing", "walking", "running", "lying")
    + ("eating", "playing", "looking")
)
ENDINGS = (("ies", "y"), ("ves", "fe"), ("ves", "f"), ("men", "man"), ("es", ""), ("s", ""))


class KnownWords:
    """The classes of a detector, and what else people call them."""

    def __init__(self, names: Sequence[str], synonyms: Mapping[str, str] = SYNONYMS) -> None:
        """Join them.

        Args:
            names: Of the classes, in the detector's order.
            synonyms: What else some of them are called.
        """
        self.names = tuple(names)
        self._labels = {name: index for index, name in enumerate(names)}
        for synonym, name in synonyms.items():
            if name in self._labels:
                self._labels.setdefault(synonym, self._labels[name])

    def find(self, text: str) -> int | None:
        """The class that a text means; None: none of them.

        What stands before a name is passed over: "the black dogs" are dogs. "hot dog" is a name of
        its own, and a "dog house" is no dog. So is what says more about it: "a dog on a sofa" is a
        dog. A "bottle of wine" is a bottle, and a "slice of pizza" pizza, since slices are unknown.
        """
        words = plain_words(text).split()
        for place, word in enumerate(words):
            if place and word in PLACES | DOINGS:
                label = self._end(words[:place])
                if label is not None or word in PLACES:
                    return label
        return self._end(words)

    def _end(self, words: Sequence[str]) -> int | None:
        """The class of the longest name at the end of some words."""
        for start in range(len(words)):
            phrase = " ".join(words[start:])
            for form in (phrase, *_singulars(phrase)):
                if form in self._labels:
                    return self._labels[form]
        return None

    def label(self, text: str) -> int:
        """The class that a text means.

        Raises:
            PromptError: none of them; the line names those that are known.
        """
        label = self.find(text)
        if label is None:
            raise PromptError(
                f"the model does not know {plain_words(text)!r:.60}; it knows: "
                f"{', '.join(self.names)}"
            )
        return label


def _singulars(phrase: str) -> list[str]:
    return [phrase[: -len(end)] + new for end, new in ENDINGS if phrase.endswith(end)]
