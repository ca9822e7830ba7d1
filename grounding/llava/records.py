"""LLaVA's instruction data: conversations about pictures, as both papers' data have them.

    [{"id": "000000033471", "image": "coco/000000033471.jpg",
      "conversations": [{"from": "human", "value": "<image>\\nWhat is this made of?"},
                        {"from": "gpt", "value": "lava"}]}]

A record without `image` is words alone. The place of the picture is before the words of its turn,
wherever the mark stands (haotian-liu/LLaVA, llava/train/train.py, preprocess_multimodal).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from grounding.errors import PromptError
from grounding.files import write_files
from grounding.jsonfile import describe, parse_json, read_json_lines, read_text
from grounding.llava.conversation import Conversation, Turn

__all__ = ["MARK", "Record", "read_records", "write_records", "written"]

MARK = "<image>"
SPEAKERS = ("human", "gpt")
MAX_BYTES = 4 * 2**30  # LLaVA-1.5's mix of 665,000 has 1 GB


@dataclass(frozen=True, kw_only=True)
class Record:
    """One conversation to learn from.

    Attributes:
        id: What it is called.
        turns: Questions and answers by turns, without marks.
        image: Name of its picture, below the folder of pictures; None: it is about words alone.
        shown: The turn, a question, before which the picture is shown.
    """

    id: str
    turns: tuple[str, ...]
    image: str | None = None
    shown: int = 0

    def conversation(self, picture: Image.Image | None = None) -> Conversation:
        """Return the conversation, with its picture.

        Raises:
            PromptError: There is a picture too much, or none where there should be one.
        """
        if (picture is None) != (self.image is None):
            raise PromptError(
                f"record {describe(self.id)} is about {'a' if self.image else 'no'} picture, got "
                f"{'none' if picture is None else 'one'}"
            )
        turns = []
        for number, text in enumerate(self.turns):
            shown = (picture,) if picture is not None and number == self.shown else ()
            role = "assistant" if number % 2 else "user"
            turns.append(Turn(role=role, content=(*shown, text)))
        return Conversation(turns=tuple(turns))


def read_records(path: str | Path) -> list[Record]:
    """Read a file of records: a JSON array, or one record a line.

    Args:
        path: `.json`, or `.jsonl` with a record a line.

    Raises:
        PromptError: One line that names the file, the record and what is wrong with it.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        return [_line(value, number, path) for number, value in read_json_lines(path)]
    try:
        items = parse_json(read_text(path, MAX_BYTES))
        if not isinstance(items, list):
            raise PromptError(f"expected an array of records, got {describe(items)}")
        if not items:
            raise PromptError("holds no records")
        return [_record(item, f"[{number}]") for number, item in enumerate(items)]
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def write_records(records: Iterable[Record], path: str | Path) -> None:
    """Write records as a JSON array, or one a line if the file is called `.jsonl`.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    items = [written(record) for record in records]
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    else:
        text = json.dumps(items, ensure_ascii=False, indent=1) + "\n"
    write_files({path: text.encode()})


def _line(value: object, number: int, path: Path) -> Record:
    if isinstance(value, PromptError):
        raise PromptError(f"{path}: line {number} {value}")
    try:
        return _record(value, "the record")
    except PromptError as error:
        raise PromptError(f"{path}: line {number}: {error}") from None


def _record(item: Any, where: str) -> Record:
    if not isinstance(item, dict):
        raise PromptError(f"{where}: expected a record {{id, conversations}}, got {describe(item)}")
    name, image = item.get("id"), item.get("image")
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise PromptError(f"{where}.id: expected text or a number, got {describe(name)}")
    if image is not None:
        image = _inside(image, f"{where}.image")
    said = item.get("conversations")
    if not isinstance(said, list) or not said:
        raise PromptError(f"{where}.conversations: expected turns, got {describe(said)}")
    texts = [_text(turn, number, f"{where}.conversations") for number, turn in enumerate(said)]
    if len(texts) % 2:
        raise PromptError(f"{where}.conversations: the last word must be gpt's")
    marked = [number for number, text in enumerate(texts) for _ in range(text.count(MARK))]
    if len(marked) != (image is not None):
        raise PromptError(
            f"{where}: expected {MARK} {'once' if image else 'nowhere'}, since the record has "
            f"{'an' if image else 'no'} image; found it {len(marked)} times"
        )
    if any(number % 2 for number in marked):
        raise PromptError(f"{where}: only the human can show an image, {MARK} is in an answer")
    return Record(
        id=str(name),
        turns=tuple(text.replace(MARK, "").strip() for text in texts),
        image=image,
        shown=marked[0] if marked else 0,
    )


def _text(turn: Any, number: int, where: str) -> str:
    """What is said in a turn of the one whose turn it is."""
    speaker = SPEAKERS[number % 2]
    where = f"{where}[{number}]"
    if not isinstance(turn, dict) or turn.get("from") != speaker:
        got = turn.get("from") if isinstance(turn, dict) else turn
        raise PromptError(f"{where}.from: expected {speaker!r}, got {describe(got)}")
    text = turn.get("value")
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"{where}.value: expected text, got {describe(text)}")
    return text


def _inside(image: Any, where: str) -> str:
    """A name that stays below the folder of pictures."""
    if not isinstance(image, str) or not image.strip():
        raise PromptError(f"{where}: expected the name of a file, got {describe(image)}")
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts:
        raise PromptError(
            f"{where}: expected a name below the folder of pictures, got {describe(image)}"
        )
    return image


def written(record: Record) -> dict[str, Any]:
    """A record as JSON has it."""
    turns = []
    for number, text in enumerate(record.turns):
        mark = f"{MARK}\n" if record.image is not None and number == record.shown else ""
        turns.append({"from": SPEAKERS[number % 2], "value": mark + text})
    image = {"image": record.image} if record.image is not None else {}
    return {"id": record.id, **image, "conversations": turns}
