"""The embedded LLaVA learns to talk about scenes of stickers.

Every step asks new questions (`grounding.stickers.questions`) of a few scenes, many of each
(`shared`), and for some layouts (`grounding.stickers.plans`). What the scenes' patches say comes
from a function: the true labels, spelled out; or the features of the vision tower, through the
projector. Axes: N patches, D channels of a word.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from grounding.llava.conversation import Conversation, Turn
from grounding.llava.template import Template
from grounding.llava.tokens import Tokens, tokenize
from grounding.llava.train.shared import Shared, share, shared_loss
from grounding.stickers.plans import plan
from grounding.stickers.questions import Question, ask, ask_several
from grounding.stickers.scene import Scene
from grounding.stickers.world import World

__all__ = ["StickerTalk", "conversation_about"]

PLANS_SHARE = 0.12  # of the rows
PLANS = 7  # in such a row
CHAINED = 0.12  # share of the questions that follow upon another's answer


@dataclass
class StickerTalk:
    """Trains a language model, with what is before it.

    Attributes:
        language_model: A causal model of transformers.
        before: What is trained beside it; empty: nothing.
        look: Scenes' numbers -> the words of their patches, [N, D] each.
        tokenizer: Of the language model.
        template: How it is spoken to.
        world: Whose training scenes are asked about.
        scenes: Their number: of seeds 0 to scenes - 1.
        objects: From which step on scenes have how many objects at most: copying a word is learned
            first, telling things apart after it. Without an entry: as many as the world has.
        batch: Rows in a step.
        questions: Of a row.
        captions_only: Whether captions alone are taught, as in stage 1.
    """

    language_model: nn.Module
    before: nn.Module
    look: Callable[[Sequence[Scene]], Iterable[Float[Tensor, "N D"]]]
    tokenizer: Any
    template: Template
    world: World
    scenes: int
    objects: Mapping[int, int] = field(default_factory=dict)
    batch: int = 4
    questions: int = 14
    captions_only: bool = False

    def __post_init__(self) -> None:
        """Name what is trained."""
        self._whole = nn.ModuleDict({"language": self.language_model, "before": self.before})

    def trained(self) -> nn.Module:
        """The language model, and what is before it."""
        return self._whole

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a random batch."""
        chance = np.random.default_rng([generator.initial_seed(), 7])
        most = next((n for start, n in sorted(self.objects.items())[::-1] if start <= step), None)
        scenes: list[Scene | None] = []
        for _ in range(self.batch):
            seed = int(chance.integers(self.scenes))
            planned = not self.captions_only and chance.random() < PLANS_SHARE
            count = None if most is None else int(chance.integers(1, most + 1))
            scenes.append(None if planned else self.world.scene(seed, count=count))
        seen = [scene for scene in scenes if scene is not None]
        words = iter(self.look(seen) if seen else ())
        pictures = [None if scene is None else next(words) for scene in scenes]
        rows = [
            self._plans(chance)
            if scene is None or picture is None
            else self._talk(scene, len(picture), chance)
            for scene, picture in zip(scenes, pictures, strict=True)
        ]
        loss = shared_loss(self.language_model, rows, pictures, evenly=True)
        return loss, {"words": float(sum(len(row.ids) for row in rows))}

    def sample(self, path: Path) -> None:
        """Nothing is drawn."""

    def _plans(self, chance: np.random.Generator) -> Shared:
        asked = [[plan(self.world, chance)] for _ in range(PLANS)]
        return share([self._tokens(conversation_about(talk, False)) for talk in asked], 0)

    def _talk(self, scene: Scene, patches: int, chance: np.random.Generator) -> Shared:
        if self.captions_only:
            told = ask("caption", scene, self.world, chance)
            asked = [] if told is None else [told]
        else:
            asked = ask_several(scene, self.world, chance, self.questions)
        talks: list[list[Question]] = []
        for question in asked:
            if talks and chance.random() < CHAINED:
                talks[-1].append(question)
            else:
                talks.append([question])
        return share([self._tokens(conversation_about(talk, True)) for talk in talks], patches)

    def _tokens(self, conversation: Conversation) -> Tokens:
        return tokenize(self.template.pieces(conversation), self.tokenizer)


class _Seen:
    """Stands for a picture in a conversation whose picture is looked at elsewhere."""


def conversation_about(questions: Sequence[Question], picture: bool) -> Conversation:
    """Return questions and answers as a conversation.

    Args:
        questions: One after the other.
        picture: Whether they are about a picture: its place is before the first.
    """
    turns: list[Turn] = []
    for question in questions:
        content: tuple[Any, ...] = (question.text,)
        if picture and not turns:
            content = (_Seen(), *content)
        turns.append(Turn(role="user", content=content))
        turns.append(Turn(role="assistant", content=(question.answer,)))
    return Conversation(turns=tuple(turns))
