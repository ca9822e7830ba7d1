"""How many, and where: questions about any picture whose objects are known."""

from collections import Counter

from grounding.llava.evaluation.question import Question
from grounding.llava.evaluation.subject import Subject
from grounding.stickers.questions import REFER

__all__ = ["counting_questions", "referring_questions"]


def counting_questions(subject: Subject) -> list[Question]:
    """Ask how often each noun is there."""
    counts = Counter(thing.noun for thing in subject.things)
    return [
        Question(
            text=f"How many instances of {noun} are in the image?",
            image=subject.name,
            task="counting",
            kind="count",
            label=str(count),
            group=subject.group,
        )
        for noun, count in counts.items()
        if noun not in subject.unsure
    ]


def referring_questions(subject: Subject) -> list[Question]:
    """Ask for the box of each thing whose noun nothing else on the picture has.

    The question is LLaVA-1.5's (arXiv 2310.03744, section 3.3).
    """
    counts = Counter(thing.noun for thing in subject.things)
    return [
        Question(
            text=REFER.format(thing.noun),
            image=subject.name,
            task="referring",
            kind="box",
            label=thing.box,
            group=subject.group,
        )
        for thing in subject.things
        if thing.box is not None and counts[thing.noun] == 1 and thing.noun not in subject.unsure
    ]
