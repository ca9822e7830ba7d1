"""Conversation templates: how turns become the one text that the language model continues.

The wording is part of what a checkpoint was trained with, so it is kept to the character
(haotian-liu/LLaVA, llava/conversation.py; arXiv 2304.08485, section 4). Pictures come first in
their turn, each followed by a line break.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from grounding.errors import PromptError
from grounding.llava.conversation import Conversation, Turn

__all__ = ["IMAGE", "TEMPLATES", "Piece", "Template", "fence", "find_template"]


class _Mark(Enum):
    """What stands in a text for something that is no text."""

    IMAGE = "<image>"


IMAGE = _Mark.IMAGE
"""The place of a picture."""


@dataclass(frozen=True)
class Piece:
    """A part of a prompt.

    Attributes:
        text: Words, or the place of a picture.
        target: Whether the model is trained to say it.
    """

    text: str | _Mark
    target: bool = False


@dataclass(frozen=True, kw_only=True)
class Template:
    """How a family of checkpoints was spoken to.

    Attributes:
        name: As in the original code.
        style: `two`: "NAME: words" with two separators in turn; `chatml`: header, words, separator;
            `llama_2`: instructions in [INST]; `plain`: pictures and captions alone.
        roles: What opens the user's and the assistant's turns.
        separators: What ends them.
        system: The system message.
        header: What opens the system message.
    """

    name: str
    style: Literal["two", "chatml", "llama_2", "plain"]
    roles: tuple[str, str] = ("USER", "ASSISTANT")
    separators: tuple[str, str]
    system: str = ""
    header: str = ""

    def pieces(self, conversation: Conversation) -> list[Piece]:
        """Return the prompt in parts; after a question, it ends where the answer begins.

        Raises:
            PromptError: `plain` knows no system message.
        """
        system = self.system if conversation.system is None else conversation.system
        if self.style == "plain" and system:
            raise PromptError("the template 'plain' has no system message: remove it")
        make = {"two": self._two, "chatml": self._chatml, "llama_2": self._llama_2}
        return _joined(make.get(self.style, self._plain)(conversation, system))

    def render(self, conversation: Conversation) -> str:
        """Return the prompt as text, with `<image>` for each picture."""
        pieces = self.pieces(conversation)
        return "".join(p.text if isinstance(p.text, str) else p.text.value for p in pieces)

    @property
    def stop(self) -> str:
        """What ends an answer."""
        return self.separators[1]

    def _two(self, conversation: Conversation, system: str) -> list[Piece]:
        pieces = [Piece(system + self.separators[0])]
        for index, turn in enumerate(conversation.turns):
            role, end = self.roles[index % 2], self.separators[index % 2]
            pieces += [Piece(f"{role}: "), *_said(turn, end)]
        return [*pieces, Piece(f"{self.roles[1]}:")] if conversation.asks else pieces

    def _chatml(self, conversation: Conversation, system: str) -> list[Piece]:
        pieces = [Piece(self.header + system + self.separators[0])]
        for index, turn in enumerate(conversation.turns):
            pieces += [Piece(self.roles[index % 2]), *_said(turn, self.separators[index % 2])]
        return [*pieces, Piece(self.roles[1])] if conversation.asks else pieces

    def _llama_2(self, conversation: Conversation, system: str) -> list[Piece]:
        start, end = self.separators
        pieces = []
        for index, turn in enumerate(conversation.turns):
            if turn.role == "assistant":
                pieces += [Piece(" "), *_said(turn, f" {end}")]
                continue
            opening = f"{start if index else ''}[INST] "
            if index == 0 and system:
                opening += f"<<SYS>>\n{system}\n<</SYS>>\n\n"
            pieces += [Piece(opening), *_said(turn, " [/INST]")]
        return pieces

    def _plain(self, conversation: Conversation, _: str) -> list[Piece]:
        """Stage 1: the question's words are dropped (arXiv 2304.08485, section 4.2)."""
        pieces = []
        for turn in conversation.turns:
            pieces += [Piece(IMAGE) for _ in turn.pictures]
            if turn.role == "assistant":
                pieces.append(Piece(turn.text + self.separators[1], target=True))
        return pieces


def _said(turn: Turn, end: str) -> list[Piece]:
    """Pictures, then words, then what ends the turn."""
    pieces = []
    for _ in turn.pictures:
        pieces += [Piece(IMAGE), Piece("\n")]
    words = turn.text
    if turn.pictures:  # the original takes its marks out of the words and trims them
        words = words.replace(IMAGE.value, "").strip()
        if not words:
            pieces.pop()  # a line break before nothing is trimmed too
    return [*pieces, Piece(words + end, target=turn.role == "assistant")]


def fence(pieces: Iterable[Piece]) -> list[Piece]:
    """Put each picture between the tokens that the first LLaVA had for it (mm_use_im_start_end)."""
    fenced = []
    for piece in pieces:
        is_picture = piece.text is IMAGE
        fenced += [Piece("<im_start>"), piece, Piece("<im_end>")] if is_picture else [piece]
    return _joined(fenced)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Join neighbours of the same kind."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.target == piece.target
            and isinstance(last.text, str)
            and isinstance(piece.text, str)
        ):
            joined[-1] = Piece(last.text + piece.text, piece.target)
        else:
            joined.append(piece)
    return [piece for piece in joined if piece.text != ""]


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template(
            name="vicuna_v1",
            style="two",
            separators=(" ", "</s>"),
            system="A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        ),
        Template(
            name="llava_v1",
            style="two",
            separators=(" ", "</s>"),
            system="A chat between a curious human and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the human's questions.",
        ),
        Template(name="plain", style="plain", roles=("", ""), separators=("", "\n")),
        Template(
            name="llava_llama_2",
            style="llama_2",
            separators=("<s>", "</s>"),
            system="You are a helpful language and vision assistant. "
            "You are able to understand the visual content that the user provides, "
            "and assist the user with a variety of tasks using natural language.",
        ),
        Template(  # LLaVA-VL/LLaVA-NeXT, llava/conversation.py: Llama 3's own chat template
            name="llava_llama_3",
            style="chatml",
            roles=(
                "<|start_header_id|>user<|end_header_id|>\n\n",
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            separators=("<|eot_id|>", "<|eot_id|>"),
            system="You are a helpful language and vision assistant. "
            "You are able to understand the visual content that the user provides, "
            "and assist the user with a variety of tasks using natural language.",
            header="<|start_header_id|>system<|end_header_id|>\n\n",
        ),
        Template(name="mistral_instruct", style="llama_2", separators=("", "</s>")),
        Template(
            name="chatml_direct",
            style="chatml",
            roles=("<|im_start|>user\n", "<|im_start|>assistant\n"),
            separators=("<|im_end|>", "<|im_end|>"),
            system="Answer the questions.",
            header="<|im_start|>system\n",
        ),
        Template(
            name="mpt",
            style="chatml",
            roles=("<|im_start|>user\n", "<|im_start|>assistant\n"),
            separators=("<|im_end|>", "<|im_end|>"),
            system="A conversation between a user and an LLM-based AI assistant. "
            "The assistant gives helpful and honest answers.",
            header="<|im_start|>system\n",
        ),
    )
}


def find_template(name: str) -> Template:
    """Return the template of that name.

    Raises:
        PromptError: There is none.
    """
    if name not in TEMPLATES:
        raise PromptError(f"no template {name!r}: choose from {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
