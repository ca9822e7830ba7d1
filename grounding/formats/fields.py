"""Typed access to the entries of a foreign file; every failure names the entry in one line."""

import math
from collections.abc import Mapping, Sequence

from grounding.errors import PromptError
from grounding.jsonfile import describe

__all__ = ["as_list", "as_number", "as_numbers", "as_object", "as_text", "as_whole", "needed"]


def needed(entry: Mapping[str, object], key: str, where: str) -> object:
    """Return `entry[key]`.

    Raises:
        PromptError: it is missing.
    """
    if key not in entry:
        place = f"{where}.{key}" if where else key
        raise PromptError(f"{place}: is missing; add it")
    return entry[key]


def as_object(value: object, where: str) -> Mapping[str, object]:
    """Return a JSON object, or raise `PromptError`."""
    if not isinstance(value, Mapping):
        raise PromptError(f"{where}: expected an object {{...}}, got {describe(value)}")
    return value


def as_list(value: object, where: str) -> Sequence[object]:
    """Return a JSON list, or raise `PromptError`."""
    if not isinstance(value, (list, tuple)):
        raise PromptError(f"{where}: expected a list, got {describe(value)}")
    return value


def as_text(value: object, where: str) -> str:
    """Return text, or raise `PromptError`."""
    if not isinstance(value, str):
        raise PromptError(f"{where}: expected text in quotes, got {describe(value)}")
    return value


def as_number(value: object, where: str) -> float:
    """Return a finite float, or raise `PromptError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PromptError(f"{where}: expected a number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PromptError(f"{where}: expected a finite number, got {describe(value)}")
    return number


def as_whole(value: object, where: str, least: int = 1) -> int:
    """Return a whole number of at least `least`, or raise `PromptError`."""
    number = as_number(value, where)
    if not number.is_integer() or number < least:
        raise PromptError(
            f"{where}: expected a whole number of at least {least}, got {describe(value)}"
        )
    return int(number)


def as_numbers(value: object, count: int, where: str) -> tuple[float, ...]:
    """Return exactly `count` finite floats, or raise `PromptError`."""
    items = as_list(value, where)
    if len(items) != count:
        raise PromptError(f"{where}: expected {count} numbers, got {describe(list(items))}")
    return tuple(as_number(item, f"{where}[{index}]") for index, item in enumerate(items))
