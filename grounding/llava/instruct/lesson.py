"""Lessons: what a teacher is asked to write about a scene, with examples of how.

The kinds of LLaVA-Instruct-158K (arXiv 2304.08485, section 3): conversations, detailed
descriptions, complex reasoning. Messages and examples are our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grounding.llava.conversation import Conversation, Turn
from grounding.llava.instruct.scene import Scene

__all__ = ["LESSONS", "Lesson"]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One kind of data.

    Attributes:
        system: What the teacher is told of the task.
        examples: Contexts, and what a good teacher writes about them.
        boxes: Whether it is told where objects are.
        questions: Of these one is put before the answer; none: the teacher writes questions too.
    """

    system: str
    examples: tuple[tuple[str, str], ...]
    boxes: bool
    questions: tuple[str, ...] = ()

    def ask(self, scene: Scene) -> Conversation:
        """Ask the teacher about a scene."""
        turns = []
        for context, answer in self.examples:
            turns.append(Turn(role="user", content=(context,)))
            turns.append(Turn(role="assistant", content=(answer,)))
        turns.append(Turn(role="user", content=(scene.context(boxes=self.boxes),)))
        return Conversation(turns=tuple(turns), system=self.system)


_NOTES = (
    "You help to teach an assistant that can see. The picture itself is not shown to you; you get "
    "notes on it instead: sentences that different people wrote about it"
)
_PLACES = (
    ", and then a list of some objects in it, each with the left, top, right and bottom edge of "
    "its place as fractions of the picture's width and height, from the top left corner"
)
_MANNERS = (
    "Write as someone who looks at the picture. Never speak of notes, captions, lists, boxes or "
    "coordinates, and never write numbers that stand for places; say instead that something is on "
    "the left, in front, near something else. Say nothing of objects that the notes do not speak "
    "of. What the notes do not settle, do not mention at all."
)

_CONVERSATION = f"""{_NOTES}.

Write a conversation between a person who asks about the picture and the assistant who answers.
Ask about what can be seen: which things there are and how many, what they are like, what they do,
where they are and how they stand to each other. Let one later question ask for something that
follows from the picture but needs some knowledge of the world. Ask only what can be answered with
certainty, never the same thing twice, and write from three to six questions. {_MANNERS}

Put a line of three equals signs between each question and its answer, and between an answer and the
next question. Write nothing else."""

_DETAIL = f"""{_NOTES}{_PLACES}.

Describe the picture as one who sees it: begin with what it shows as a whole, go on to the single
things, how many there are, what they look like, and where they are in relation to each other and to
the edges of the picture. Two or three paragraphs of plain prose. {_MANNERS}"""

_REASONING = f"""{_NOTES}{_PLACES}.

Write one question about the picture that cannot be answered by naming what is in it, and its
answer. The question may ask why things are as they are, what is likely to have happened or to come,
what would be wise to do, or what something is for; it must not give away the answer. The answer
says, step by step and in a paragraph or two, what in the picture speaks for it and what follows.
{_MANNERS}

Put a line of three equals signs between the question and the answer. Write nothing else."""

_MARKET = """\
A woman in a yellow raincoat buys oranges at a market stall.
Rainy day at an outdoor market, a customer paying for fruit.
A vendor hands a paper bag to a lady under a striped awning.
Two people at a fruit stand while a small dog waits on the wet street.
A woman with a raincoat and a dog is shopping for fruit."""

_MARKET_BOXES = """
woman: [0.412, 0.203, 0.598, 0.911]
vendor: [0.655, 0.188, 0.802, 0.640]
dog: [0.301, 0.742, 0.398, 0.925]
paper bag: [0.588, 0.402, 0.649, 0.498]"""

_KITCHEN = """\
A cat sleeps on a wooden kitchen chair next to an open window.
Sunlight falls on a cat curled up on a chair.
A gray cat naps in a kitchen, two mugs stand on the table."""

_KITCHEN_BOXES = """
gray cat: [0.355, 0.510, 0.601, 0.702]
chair: [0.330, 0.420, 0.640, 0.985]
mug: [0.705, 0.455, 0.751, 0.530]
mug: [0.790, 0.461, 0.838, 0.537]
table: [0.662, 0.528, 0.998, 0.990]"""

LESSONS: Final[Mapping[str, Lesson]] = {
    "conversation": Lesson(
        system=_CONVERSATION,
        boxes=False,
        examples=(
            (
                _MARKET,
                "What is the woman buying?\n===\nShe is buying oranges at a fruit stall.\n===\n"
                "What is she wearing?\n===\nShe wears a yellow raincoat.\n===\n"
                "How is the weather?\n===\nIt is raining: the street is wet, and she is dressed "
                "for rain.\n===\n"
                "Which animal is there, and what is it doing?\n===\nA small dog is waiting on the "
                "street while the people trade.\n===\n"
                "What does the awning do for the stall on a day like this?\n===\nIt keeps the rain "
                "off the fruit, the vendor and the customers, so that business can go on.",
            ),
            (
                _KITCHEN,
                "Where is the cat?\n===\nIt is curled up on a wooden chair next to the open "
                "window.\n===\n"
                "How many mugs are on the table?\n===\nThere are two mugs on the table.\n===\n"
                "Why may the cat have chosen this place?\n===\nSunlight falls on the chair. Cats "
                "look for warm, quiet spots to sleep, and this one is both.",
            ),
        ),
    ),
    "detail": Lesson(
        system=_DETAIL,
        boxes=True,
        questions=(
            "Describe the picture in detail.",
            "What can be seen here? Please be thorough.",
            "Give a full account of this image.",
            "Tell me everything that you notice in the picture.",
            "Walk me through this image, from the whole to the single things.",
            "Please write a detailed description of what is shown.",
        ),
        examples=(
            (
                _KITCHEN + "\n" + _KITCHEN_BOXES,
                "The picture shows a quiet, sunny corner of a kitchen. In the middle stands a "
                "wooden chair next to an open window, and on it a gray cat lies curled up, asleep "
                "in the light.\n\nA table reaches into the picture from the right. Two mugs stand "
                "close together on it, level with the back of the chair.",
            ),
            (
                _MARKET + "\n" + _MARKET_BOXES,
                "A rainy day at an outdoor market: a woman in a yellow raincoat stands in the "
                "middle of the picture, in front of a fruit stall with a striped awning, and buys "
                "oranges. To her right the vendor leans over and hands her a paper bag.\n\nOn the "
                "wet street to the left of the woman, near the lower edge, a small dog is waiting.",
            ),
        ),
    ),
    "reasoning": Lesson(
        system=_REASONING,
        boxes=True,
        examples=(
            (
                _MARKET + "\n" + _MARKET_BOXES,
                "What should the woman keep in mind on her way home?\n===\nIt is raining and the "
                "street is wet, so the ground may be slippery. She carries her fruit in a paper "
                "bag, which loses its strength when it gets soaked, so she does well to keep it "
                "under the raincoat or to hold it from below. She also has a small dog with her, "
                "which leaves her only one free hand and will want to be dried at home.",
            ),
            (
                _KITCHEN + "\n" + _KITCHEN_BOXES,
                "Is somebody likely to be at home?\n===\nProbably yes. The window stands open, "
                "which is seldom left so when a flat is empty, and two mugs are on the table, as "
                "if they had been in use not long ago. That the cat sleeps calmly on the chair "
                "fits as well: nothing in the room disturbs it.",
            ),
        ),
    ),
}
