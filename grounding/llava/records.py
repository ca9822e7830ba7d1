"""LLaVA's instruction data: conversations about pictures, as both papers' data have them.

    [{"id": "000000033471", "image": "coco/000000033471.jpg",
      "conversations": [{"from": "human", "value": "<image>\\nWhat is this made of?"},
                        {"from": "gpt", "value": "lava"}]}]

A record without `image` is words alone. The place of the picture is before the words of its turn,
wherever the mark stands (haotian-liu/LLaVA, llava/train/train.py, preprocess_multimodal).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.files import write_files
from grounding.formats.remarks import Remarks
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


def read_records(path: str | Path, drops: Drops | None = None) -> list[Record]:
    """Read a file of records: a JSON array, or one record a line.

    As in the papers' code, a first turn of gpt's and a last turn of the human are left out.

    Args:
        path: `.json`, or `.jsonl` with a record a line.
        drops: Counts turns that are left out, and records that make no sense, which are left out
            too; None: those are refused.

    Raises:
        PromptError: One line that names the file, the record and what is wrong with it; or no
            record is left.
    """
    path = Path(path)
    records = []
    for where, item in _items(path):
        remarks = Remarks()
        try:
            if isinstance(item, PromptError):
                raise item
            records.append(_record(item, where, remarks))
        except PromptError as error:
            if drops is None:
                raise PromptError(f"{path}: {error}") from None
            drops.picture(where, Dropped("a record that makes no sense", str(error)))
        if drops is not None:
            drops.add(where, remarks)
    if not records:
        raise PromptError(f"{path}: holds no records{drops.why() if drops is not None else ''}")
    return records


def _items(path: Path) -> Iterator[tuple[str, object]]:
    """Where each record stands, and what stands there."""
    if path.suffix == ".jsonl":
        for number, value in read_json_lines(path):
            where = f"line {number}"
            wrong = isinstance(value, PromptError)
            yield where, PromptError(f"{where} {value}") if wrong else value
        return
    try:
        items = parse_json(read_text(path, MAX_BYTES))
        if not isinstance(items, list):
            raise PromptError(f"expected an array of records, got {describe(items)}")
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    yield from ((f"[{number}]", item) for number, item in enumerate(items))


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


def _record(item: Any, where: str, remarks: Remarks) -> Record:
    if not isinstance(item, dict):
        raise PromptError(f"{where}: expected a record {{id, conversations}}, got {describe(item)}")
    name, image = item.get("id"), item.get("image")
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise PromptError(f"{where}.id: expected text or a number, got {describe(name)}")
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if image is not None:
        image = _inside(image, f"{where}.image")
    said = item.get("conversations")
    if not isinstance(said, list) or not said:
        raise PromptError(f"{where}.conversations: expected turns, got {describe(said)}")
    texts = _texts(said, f"{where}.conversations", remarks)
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


def _texts(said: list[Any], where: str, remarks: Remarks) -> list[str]:
    """What is said by turns, from the human's first word to gpt's last."""
    turns = said
    if len(turns) > 1 and isinstance(turns[0], dict) and turns[0].get("from") == SPEAKERS[1]:
        remarks.change("a first turn of gpt's left out", f"{where}[0]")
        turns = turns[1:]
    first = len(said) - len(turns)
    texts = [_text(turn, number, first, where) for number, turn in enumerate(turns)]
    if len(texts) == 1:
        raise PromptError(f"{where}: the last word must be gpt's")
    if len(texts) % 2:
        remarks.change("a last turn of the human's left out", f"{where}[{len(said) - 1}]")
        texts.pop()
    return texts


def _text(turn: Any, number: int, first: int, where: str) -> str:
    """What is said in a turn of the one whose turn it is."""
    speaker = SPEAKERS[number % 2]
    where = f"{where}[{number + first}]"
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
    path = PurePosixPath(image.replace("\\", "/"))
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
