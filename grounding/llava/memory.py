"""Memory: the words of pictures that were seen before."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from PIL import Image
from torch import Tensor

__all__ = ["PictureMemory"]

LIMIT = 64 * 2**20  # bytes of words: a few pictures of LLaVA-NeXT, thousands of the embedded one


class PictureMemory:
    """Remembers what came of pictures, the last ones used for longest.

    Args:
        limit: Bytes that may be kept.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def recall(self, picture: Image.Image, see: Callable[[], Tensor]) -> Tensor:
        """Return what `see` makes of a picture, or made of its like before."""
        key = hashlib.sha256(repr((picture.mode, picture.size)).encode() + picture.tobytes())
        name = key.digest()
        words = self._kept.pop(name, None)
        if words is None:
            words = see()
        self._kept[name] = words
        while len(self._kept) > 1 and sum(w.nbytes for w in self._kept.values()) > self.limit:
            self._kept.popitem(last=False)
        return words
