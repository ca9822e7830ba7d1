"""Turns of a conversation: words and pictures in the order in which they are said and shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from grounding.errors import PromptError

__all__ = ["Conversation", "Turn"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """What one side says.

    Attributes:
        role: Who speaks.
        content: Words and pictures, in order.
    """

    role: Literal["user", "assistant"]
    content: tuple[str | Image.Image, ...]

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """The pictures of this turn, in order."""
        return tuple(part for part in self.content if not isinstance(part, str))

    @property
    def text(self) -> str:
        """The words of this turn, joined by spaces."""
        return " ".join(part.strip() for part in self.content if isinstance(part, str)).strip()


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversation:
    """Turns of user and assistant, by turns, the user first.

    Attributes:
        turns: At least one.
        system: What replaces the system message of the template; None: nothing does.

    Raises:
        PromptError: The turns do not alternate, or the assistant is shown or says nothing.
    """

    turns: tuple[Turn, ...]
    system: str | None = None

    def __post_init__(self) -> None:
        if not self.turns:
            raise PromptError("a conversation needs a turn of the user; got none")
        for index, turn in enumerate(self.turns):
            expected = ("user", "assistant")[index % 2]
            if turn.role != expected:
                raise PromptError(
                    f"turn {index} must be the {expected}'s, got the {turn.role}'s: user and "
                    "assistant take turns, the user first; join what one says in a row"
                )
            if turn.role == "assistant" and turn.pictures:
                raise PromptError(f"turn {index}: only the user can show pictures")

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """All pictures, in order."""
        return tuple(picture for turn in self.turns for picture in turn.pictures)

    @property
    def asks(self) -> bool:
        """Whether the last word is the user's."""
        return self.turns[-1].role == "user"

    @classmethod
    def of(cls, question: str, pictures: Sequence[Image.Image] = ()) -> "Conversation":
        """Return a single question about pictures."""
        return cls(turns=(Turn(role="user", content=(*pictures, question)),))

    def then(self, answer: str, question: str) -> "Conversation":
        """Return the conversation with an answer and the next question."""
        new = (
            Turn(role="assistant", content=(answer,)),
            Turn(role="user", content=(question,)),
        )
        return Conversation(turns=(*self.turns, *new), system=self.system)
