"""Which caption fits: pairs of pictures and captions, each asked about with both captions.

As Winoground's text score (Thrush et al., arXiv 2204.03162, section 3.3), by question and answer.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grounding.llava.evaluation.question import Question
from grounding.stickers.questions import FITS

__all__ = ["Pair", "pair_questions"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two pictures, and the caption of each.

    Attributes:
        name: Unique in its data.
        images: Names of the pictures.
        captions: In the same order.
        group: Under which it is reported; "" if there are no groups.
    """

    name: str
    images: tuple[str, str]
    captions: tuple[str, str]
    group: str = ""


def pair_questions(pairs: Sequence[Pair], *, seed: int) -> list[Question]:
    """Ask two questions of each pair, with the captions in the same order.

    Args:
        pairs: In any order.
        seed: Decides which caption comes first; that of a pair does not depend on the others.
    """
    questions = []
    for pair in pairs:
        generator = np.random.default_rng([seed, zlib.crc32(f"fits {pair.name}".encode())])
        first = bool(generator.random() < 0.5)
        shown = tuple(caption.rstrip(" .") for caption in pair.captions[:: 1 if first else -1])
        for image, label in zip(pair.images, "AB" if first else "BA", strict=True):
            questions.append(
                Question(
                    text=FITS.format(*shown),
                    image=image,
                    task="fits",
                    kind="letter",
                    label=label,
                    choices=shown,
                    group=pair.group,
                    pair=pair.name,
                )
            )
    return questions
