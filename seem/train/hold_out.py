"""Which pictures are kept apart to be measured on."""

from collections import Counter
from collections.abc import Collection, Sequence

__all__ = ["hold_out"]


def hold_out(
    digests: Sequence[str], names: Sequence[Collection[str]], count: int
) -> tuple[list[int], list[int]]:
    """Split pictures into those that are learned from and those that are held out.

    The same pictures are split alike, whatever they are called and in whatever order they come. No
    file is on both sides, under two names either; and each name stays on a picture to learn from.

    Args:
        digests: Of the pictures' files.
        names: What each shows.
        count: Pictures to hold out, at most.

    Returns:
        The numbers of the two sides, each in order.
    """
    alike: dict[str, list[int]] = {}
    for number, digest in enumerate(digests):
        alike.setdefault(digest, []).append(number)
    left = Counter(name for some in names for name in set(some))
    apart: list[int] = []
    for _, numbers in sorted(alike.items()):
        shown = Counter(name for number in numbers for name in set(names[number]))
        if len(apart) + len(numbers) <= count and all(left[n] > k for n, k in shown.items()):
            apart += numbers
            left -= shown
    rest = set(range(len(digests))).difference(apart)
    return sorted(rest), sorted(apart)
