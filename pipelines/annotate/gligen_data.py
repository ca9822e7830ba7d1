"""What `lavallama train gligen` reads: JSON lines, or webdataset shards with the pictures inside.

Documents hold captions, phrases and boxes of things; masks, and stuff without an extent of its
own, are left out. https://github.com/webdataset/webdataset has the form of shards.
"""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grounding.prompt import GroundedPrompt, Region
from pipelines.annotate.record import Record, things_in

__all__ = ["SHARD", "grounding_document", "line_of", "shard_files", "write_lines"]

SHARD = "annotated-{:06d}.tar"


def grounding_document(document: GroundedPrompt) -> GroundedPrompt:
    """Words and boxes alone."""
    regions = [
        Region(id=r.id, phrase=r.phrase, box=r.box, score=r.score) for r in things_in(document)
    ]
    return GroundedPrompt(canvas=document.canvas, prompt=document.prompt, regions=tuple(regions))


def line_of(document: GroundedPrompt, record: Record, folder: Path) -> dict[str, Any]:
    """A document as a line of a file in a folder."""
    return document.replace(image=record.path_from(folder)).to_dict()


def write_lines(
    records: Sequence[Record],
    *,
    whole: bool,
    note: Callable[[str, dict[str, Any]], None] | None = None,
) -> Callable[[Path], None]:
    """A writer of one document a line, `image` relative to the file.

    Args:
        records: In order.
        whole: Everything, masks and stuff too; else words and boxes alone.
        note: Told the name and the line of each record as it was made, without corrections.
    """

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            for record in records:
                document = record.document()
                document = document if whole else grounding_document(document)
                line = line_of(document, record, path.parent)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                if note is not None:
                    note(line["image"], line_of(record.own(), record, path.parent))

    return write


def shard_files(
    records: Sequence[Record], folder: Path, size: int
) -> dict[Path, Callable[[Path], None]]:
    """Writers of shards; the same records give the same bytes.

    Args:
        records: In order.
        folder: Where they go.
        size: Pictures of a shard.
    """

    def writer(some: Sequence[Record]) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for record in some:
                    text = json.dumps(grounding_document(record.document()).to_dict())
                    ending = record.path.suffix.lower()
                    _add(tar, f"{record.picture}{ending}", record.path.read_bytes())
                    _add(tar, f"{record.picture}.json", text.encode())

        return write

    return {
        folder / SHARD.format(number): writer(records[start : start + size])
        for number, start in enumerate(range(0, len(records), size))
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # of time 0 and nobody
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
