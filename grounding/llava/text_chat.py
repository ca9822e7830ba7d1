"""TextChat: a language model on this machine that is spoken with in words alone."""

from collections.abc import Iterator
from typing import Any

import torch

from grounding.errors import PromptError
from grounding.llava.conversation import Conversation
from grounding.llava.decoding import GREEDY, Decoding, decode
from grounding.llava.stream import TextStream

__all__ = ["TextChat"]

NAMES = {"user": "User", "assistant": "Assistant"}  # for models that know no chat
NEXT = "\nUser:"  # where such a model goes on by itself


class TextChat:
    """Speaks as the tokenizer's chat template says, or, without one, in plain turns.

    Attributes:
        model: A causal model of transformers, in evaluation mode.
        tokenizer: Its own.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def answer(self, conversation: Conversation, decoding: Decoding = GREEDY) -> str:
        """Return an answer.

        Raises:
            PromptError: There are pictures, or more words than the model reads.
        """
        return "".join(self.stream(conversation, decoding)).strip()

    @torch.inference_mode()
    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Iterator[str]:
        """Yield an answer in parts, as it is made.

        Raises:
            PromptError: As for `answer`.
        """
        if conversation.pictures:
            raise PromptError("this model reads words alone; take one that sees pictures")
        if not conversation.asks:
            raise PromptError("the last turn must be the user's: there is nothing to answer")
        ids = self._ids(conversation)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) + decoding.max_tokens > limit:
            raise PromptError(
                f"{len(ids)} tokens and an answer of up to {decoding.max_tokens} are more than "
                f"the {limit} that the model reads: say less, or ask for a shorter answer"
            )
        words = self.model.get_input_embeddings()(ids)
        shown = TextStream(self.tokenizer, "" if self._chats else NEXT)
        for [token] in decode(self.model, [words], decoding, self._stop()):
            if token is not None and (part := shown.push(token)):
                yield part
            if shown.ended:
                break
        yield shown.finish()

    @property
    def _chats(self) -> bool:
        return getattr(self.tokenizer, "chat_template", None) is not None

    def _ids(self, conversation: Conversation) -> torch.Tensor:
        """Tokens of a conversation, up to where the answer begins."""
        turns = [{"role": turn.role, "content": turn.text} for turn in conversation.turns]
        system = conversation.system
        if self._chats:
            text = self._templated(turns, system)
            ids = self.tokenizer.encode(text, add_special_tokens=False)
        else:
            lines = [f"{NAMES[turn['role']]}: {turn['content']}" for turn in turns]
            ids = self.tokenizer.encode(
                "\n".join(([system] if system else []) + [*lines, "Assistant:"])
            )
        return torch.tensor(ids, device=self.model.get_input_embeddings().weight.device)

    def _templated(self, turns: list[dict[str, str]], system: str | None) -> str:
        from jinja2 import TemplateError

        messages = ([{"role": "system", "content": system}] if system else []) + turns
        given: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
        try:
            return self.tokenizer.apply_chat_template(messages, **given)
        except TemplateError:  # of models that take no system message
            first = {"role": "user", "content": f"{system}\n\n{turns[0]['content']}"}
            return self.tokenizer.apply_chat_template([first, *turns[1:]], **given)

    def _stop(self) -> frozenset[int]:
        """Ids that end an answer."""
        generation = getattr(self.model, "generation_config", None)
        ends = [self.tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)]
        flat = [i for end in ends for i in (end if isinstance(end, list) else [end])]
        return frozenset(i for i in flat if i is not None)
