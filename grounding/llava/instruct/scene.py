"""Scene: a picture in words, for a teacher who cannot see it."""

from dataclasses import dataclass

from grounding.geometry import Box
from grounding.llava.box_text.mention import plain_phrase

__all__ = ["Scene"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known of a picture.

    Attributes:
        name: Of its file, below the folder of pictures.
        captions: What is said of it.
        objects: (phrase, normalised xyxy box) of the things on it.
        nouns: What the objects are, without attributes.
    """

    name: str
    captions: tuple[str, ...] = ()
    objects: tuple[tuple[str, Box], ...] = ()
    nouns: tuple[str, ...] = ()

    def context(self, *, boxes: bool) -> str:
        """What the teacher is told (arXiv 2304.08485, section 3): captions, then objects.

        Args:
            boxes: Whether objects are told, `name: [x1, y1, x2, y2]` with three decimals; they
                are in any case where there are no captions.
        """
        lines = list(self.captions)
        if boxes or not lines:
            lines += ["", *(_line(phrase, box) for phrase, box in self.objects)]
        return "\n".join(lines).strip()

    def words(self) -> str:
        """All that is known to be there, as text."""
        return "\n".join((*self.captions, *(phrase for phrase, _ in self.objects), *self.nouns))


def _line(phrase: str, box: Box) -> str:
    return f"{plain_phrase(phrase)}: [" + ", ".join(f"{value:.3f}" for value in box) + "]"
