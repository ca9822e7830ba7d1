"""A language model that says what a test wants it to say."""

from collections.abc import Iterator

from grounding.llava.conversation import Conversation
from grounding.llava.decoding import GREEDY, Decoding

__all__ = ["ScriptedSpeaker"]


class ScriptedSpeaker:
    """Gives answers in order, the last one again and again; keeps what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked: list[tuple[Conversation, Decoding]] = []

    def answer(self, conversation: Conversation, decoding: Decoding = GREEDY) -> str:
        self.asked.append((conversation, decoding))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Iterator[str]:
        yield self.answer(conversation, decoding)
