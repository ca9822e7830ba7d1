"""A detector that knows what is on a picture, and a painter that may make mistakes."""

import dataclasses

import numpy as np
from PIL import Image

from gligen.evaluation.detection import Detection
from gligen.evaluation.layout import Instance
from grounding.geometry import box_iou

SCORE = 0.9


@dataclasses.dataclass
class Sight:
    """A view on known things."""

    things: tuple[Instance, ...]
    scores: dict[str, float] = dataclasses.field(default_factory=dict)

    def find(self, texts):
        assert len(set(texts)) == len(texts)
        return [
            Detection(text=text, box=thing.box, score=self.scores.get(text, SCORE))
            for text in texts
            for thing in self.things
            if text in (thing.noun, f"{thing.attribute} {thing.noun}")
        ]

    def attribute(self, box, noun, choices):
        [best] = sorted(self.things, key=lambda t: -box_iou(t.box, box) * (t.noun == noun))[:1]
        return best.attribute if best.attribute in choices else None


class Oracle:
    """Knows every picture in its book; any other is empty."""

    name, threshold, tells_attributes = "oracle", 0.5, True

    def __init__(self, words=None):
        self.words, self.book = words, {}

    def knows(self, text):
        return self.words is None or text in self.words

    def view(self, image):
        return Sight(self.book.get(image.tobytes(), ()))


class Painter:
    """Draws a picture of its own for every request, and tells the oracle what is on it."""

    def __init__(self, oracle, spoil=lambda things: things):
        self.oracle, self.spoil, self.count = oracle, spoil, 0
        self.batches, self.isolated = [], None

    def stream(self, documents, *, batch, progress, steps, isolate):
        assert not progress
        self.isolated = isolate
        self.batches.append((len(documents), batch, steps))
        for document in documents:
            things = []
            for region in document.regions:
                *attribute, noun = region.phrase.split()
                things.append(
                    Instance(noun=noun, box=region.box, attribute=" ".join(attribute) or None)
                )
            self.count += 1
            image = np.full((24, 32, 3), 255, np.uint8)
            image[0, 0] = self.count % 250, self.count // 250, 7
            self.oracle.book[image.tobytes()] = tuple(self.spoil(things))
            yield dataclasses.make_dataclass("Drawn", ["image"])(Image.fromarray(image))


def mirrored(things):
    """Everything on the other side."""
    return [
        dataclasses.replace(t, box=(1 - t.box[2], t.box[1], 1 - t.box[0], t.box[3])) for t in things
    ]


def of_stone(things):
    """Everything in its place, of stone."""
    return [dataclasses.replace(t, attribute="stone") for t in things]


def nothing(things):
    """A blank picture."""
    del things
    return []
