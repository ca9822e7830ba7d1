"""Tokens as text that can be shown as it comes."""

from typing import Any

__all__ = ["TextStream"]

UNFINISHED = "\ufffd"  # what a decoder shows for the first bytes of a character


class TextStream:
    """Turns tokens into text: whole characters only, and nothing from the stop text on.

    Attributes:
        ended: Whether the stop text has come.
    """

    def __init__(self, tokenizer: Any, stop: str):
        self.tokenizer = tokenizer
        self.stop = stop
        self.ids: list[int] = []
        self.shown = 0
        self.ended = False

    def push(self, token: int) -> str:
        """Take a token; return what can be shown by now and was not yet."""
        self.ids.append(token)
        text = self._text()
        while text.endswith(UNFINISHED):
            text = text[:-1]
        return self._more(text[: len(text) - self._held(text)])

    def finish(self) -> str:
        """Return the rest."""
        return self._more(self._text())

    def _text(self) -> str:
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        place = text.find(self.stop) if self.stop else -1
        if place < 0:
            return text
        self.ended = True
        return text[:place]

    def _held(self, text: str) -> int:
        """How many characters at the end may be the beginning of the stop text."""
        if self.ended:
            return 0
        lengths = range(min(len(self.stop) - 1, len(text)), 0, -1)
        return next((n for n in lengths if text.endswith(self.stop[:n])), 0)

    def _more(self, text: str) -> str:
        more, self.shown = text[self.shown :], max(self.shown, len(text))
        return more
