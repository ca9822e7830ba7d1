"""Asking many questions, several at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from PIL import Image
from tqdm import tqdm

from grounding.llava.chat import Chat, Speaker
from grounding.llava.conversation import Conversation
from grounding.llava.decoding import Decoding
from grounding.llava.evaluation.question import Question
from grounding.llava.evaluation.subject import Subject

__all__ = ["ask_all"]


def ask_all(
    speaker: Speaker,
    questions: Sequence[Question],
    subjects: Mapping[str, Subject],
    *,
    decoding: Decoding,
    batch: int = 1,
    after: str = "",
) -> list[str]:
    """Ask questions, each in a conversation of its own; what is asked twice is answered once.

    Args:
        speaker: A model on this machine answers a batch in one pass, an endpoint as many requests.
        questions: In any order.
        subjects: By the names that the questions use.
        decoding: How answers are made.
        batch: Questions at once.
        after: Is said after each.

    Returns:
        The answers, in order.

    Raises:
        LavallamaError: An answer cannot be had.
    """
    kinds = {(question.image, question.text): question.kind for question in questions}
    # Stable; answers of one length together, since a batch takes as long as its longest.
    order = sorted(kinds, key=lambda key: (kinds[key], key[0]))
    conversations = _conversations(order, subjects, after)
    answers: dict[tuple[str, str], str] = {}
    with tqdm(total=len(order), desc="questions", disable=None) as bar:
        for start in range(0, len(order), batch):
            some = list(islice(conversations, batch))
            answers |= zip(
                order[start : start + batch], _answers(speaker, some, decoding), strict=True
            )
            bar.update(len(some))
    return [answers[question.image, question.text] for question in questions]


def _conversations(
    order: Sequence[tuple[str, str]], subjects: Mapping[str, Subject], after: str
) -> Iterator[Conversation]:
    """One a question; a picture is made once for all that follow each other."""
    name, pictures = "", list[Image.Image]()
    for image, text in order:
        if image and image != name:
            name, pictures = image, [subjects[image].picture()]
        yield Conversation.of(text + after, pictures if image else ())


def _answers(
    speaker: Speaker, conversations: Sequence[Conversation], decoding: Decoding
) -> Sequence[str]:
    if isinstance(speaker, Chat):
        return speaker.answers(conversations, decoding, batch=len(conversations))
    ask: Callable[[Conversation], str] = lambda one: speaker.answer(one, decoding)  # noqa: E731
    with ThreadPoolExecutor(len(conversations)) as workers:
        return list(workers.map(ask, conversations))
