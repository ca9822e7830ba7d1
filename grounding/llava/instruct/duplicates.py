"""Texts that were there before: the same, or nearly the same.

MinHash (Broder, "On the resemblance and containment of documents", 1997) over runs of three words,
with banding to find candidates: of texts whose runs have a Jaccard similarity of 0.8, 99.9 % are
candidates, and the share of equal hashes decides. Axes: H hashes.
"""

import functools
import hashlib
import re

import numpy as np
from jaxtyping import UInt64

__all__ = ["Seen"]

RUN = 3  # words
LEAST_RUNS = 8  # shorter texts are compared as they are
BANDS, ROWS = 16, 4
NEAR = 0.8  # Jaccard similarity from which texts are nearly the same
WORD = re.compile(r"\w+")


class Seen:
    """Remembers texts by their signatures, 512 bytes each."""

    def __init__(self) -> None:
        self._exact: set[bytes] = set()
        self._bands: dict[tuple[int, bytes], list[int]] = {}
        self._signatures: list[np.ndarray] = []

    def add(self, text: str) -> str | None:
        """Take a text; returns "same" or "nearly the same" if one before was so.

        Words alone count, not their case or marks.
        """
        words = WORD.findall(text.lower())
        digest = hashlib.sha256(" ".join(words).encode()).digest()
        if digest in self._exact:
            return "same"
        self._exact.add(digest)
        if len(words) < LEAST_RUNS + RUN - 1:
            return None
        signature = _signature(words)
        keys = [
            (band, signature[band * ROWS : (band + 1) * ROWS].tobytes()) for band in range(BANDS)
        ]
        candidates = {place for key in keys for place in self._bands.get(key, ())}
        if any((self._signatures[place] == signature).mean() >= NEAR for place in candidates):
            return "nearly the same"
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._signatures))
        self._signatures.append(signature)
        return None


def _signature(words: list[str]) -> UInt64[np.ndarray, " H"]:
    """The least of each hash over all runs."""
    runs = {" ".join(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}
    digests = b"".join(hashlib.blake2b(run.encode(), digest_size=8).digest() for run in runs)
    factors, summands = _hashes()
    mixed = np.frombuffer(digests, "<u8")[:, None] * factors + summands  # modulo 2^64
    return (mixed ^ (mixed >> np.uint64(31))).min(0)


@functools.cache
def _hashes() -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and summands of the hashes; the same on every machine."""
    factors, summands = np.random.default_rng(0).integers(1, 2**63, (2, BANDS * ROWS), np.uint64)
    return factors | np.uint64(1), summands
