"""A folder of annotated pictures: the journals of what is done, and the training data made of it.

    settings.json             how it is annotated; all runs and shards on a folder share it
    journal/0-of-1.jsonl      what is done, a picture a line; a file for each shard
    documents.jsonl           the truth: a prompt document a picture, with masks
    gligen.jsonl, gligen/     for `lavallama train gligen`
    annotations/              for `lavallama train seem`: COCO panoptic, instances and captions
    llava.json                for `lavallama train llava`; pictures are named as in their folder
    report.json               how much was dropped, and why; dropped.jsonl names all of it
    written.json              digests of all this: what has another was changed by hand

Training data is made of the journals alone, in the order of the pictures' names, so it is the same
however the work was shared out. Lines of documents.jsonl that somebody changed or took out by hand
stay so, and the rest is made of them.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from grounding.drops import DROPPED, Dropped, Drops
from grounding.errors import OutputError, PromptError
from grounding.files import write_files
from grounding.llava.records import write_records
from grounding.lock import locked
from grounding.prompt import GroundedPrompt
from pipelines.annotate.gligen_data import line_of, shard_files, write_lines
from pipelines.annotate.llava_data import conversations
from pipelines.annotate.raw import SAME, Raw
from pipelines.annotate.record import Record, things_in
from pipelines.annotate.seem_data import Content, seem_files
from pipelines.annotate.settings import Settings
from pipelines.annotate.workers import annotations, ray_annotations
from pipelines.hand_edits import HandEdits
from pipelines.journal import Entry, Journal, read_entries
from pipelines.run_record import open_run

__all__ = ["KINDS", "Dataset"]

KINDS = ("gligen", "seem", "llava")
WHOLE = (0, 1)  # of one shard
JOURNALS = ("journal/*.jsonl",)
DOCUMENTS, WRITTEN = "documents.jsonl", "written.json"
CORRECT = "move it away or delete it to have it made anew; what is corrected in {} stays"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A folder of annotations.

    Attributes:
        folder: Where everything goes.
        settings: How pictures are annotated.
    """

    folder: Path
    settings: Settings

    def annotate(
        self,
        raws: Sequence[Raw],
        *,
        shard: tuple[int, int] = WHOLE,
        workers: int = 1,
        ray: bool = False,
    ) -> int:
        """Annotate the pictures of a shard that no journal has yet.

        Args:
            raws: All pictures.
            shard: `(index, count)`.
            workers: Processes.
            ray: On a Ray cluster.

        Returns:
            How many were annotated.

        Raises:
            LavallamaError: a model cannot be had or asked; nothing that is done is lost. Or the
                folder was begun with other settings.
        """
        mine = [raw for raw in raws if raw.is_in(shard) and raw.refused is None]
        path = self.folder / "journal" / f"{shard[0]}-of-{shard[1]}.jsonl"
        place = self.folder / "settings.json"
        with (
            open_run(place, elsewhere="--out", work=JOURNALS, held=False) as record,
            Journal(path) as journal,
        ):
            record.settle(self.settings.identity())
            done, digests = read_entries(self._journals()), {}
            for raw in mine:
                digest = _digest(raw)
                if _entry(done, raw, digest) is None:
                    digests[raw.name] = digest
            missing = [raw for raw in mine if raw.name in digests]
            how = ray_annotations if ray else annotations
            found = how(missing, self.settings, workers)
            for raw, annotation in tqdm(found, total=len(missing), unit="picture", disable=None):
                journal.append(raw.name, digests[raw.name], annotation)
        return len(missing)

    def write(
        self, raws: Sequence[Raw], kinds: Sequence[str] = KINDS, shard_size: int = 0
    ) -> Drops:
        """Make training data of all that is done; all files, or none.

        Args:
            raws: All pictures.
            kinds: Of `KINDS`.
            shard_size: Pictures of a webdataset shard; 0: no shards.

        Raises:
            OutputError: a picture is not annotated yet, a file cannot be written or is written by
                another process, or one but the documents was changed by hand.
        """
        with locked(self.folder):
            return self._write(raws, kinds, shard_size)

    def _write(self, raws: Sequence[Raw], kinds: Sequence[str], shard_size: int) -> Drops:
        drops, edits, documents = Drops(), HandEdits(self.folder / WRITTEN), self.folder / DOCUMENTS
        records = self._corrected(self._records(raws, drops), edits, drops)
        files: dict[Path, Content] = {}
        if "gligen" in kinds:
            files[self.folder / "gligen.jsonl"] = write_lines(records, whole=False)
            if shard_size:
                files |= shard_files(records, self.folder / "gligen", shard_size)
        if "seem" in kinds:
            files |= seem_files(records, self.folder / "annotations")
        if "llava" in kinds:
            files[self.folder / "llava.json"] = partial(write_records, conversations(records))
        edits.check(files, CORRECT.format(documents))
        files = {path: edits.noted(path, content) for path, content in files.items()}
        note = partial(edits.note_line, documents)
        files[documents] = write_lines(records, whole=True, note=note)
        report = json.dumps(drops.report(), indent=2, ensure_ascii=False) + "\n"
        files[self.folder / "report.json"] = report.encode()
        if drops.count:
            files[self.folder / DROPPED] = drops.copy_to
        files[edits.store] = edits.write
        write_files(files)
        self._tidy(set(files))
        return drops

    def _records(self, raws: Sequence[Raw], drops: Drops) -> list[Record]:
        """What was annotated, each picture once; all else is counted."""
        done, records, seen = read_entries(self._journals()), [], {}
        for raw in raws:
            if raw.refused is not None:
                drops.picture(raw.name, Dropped(raw.refused))
                continue
            entry = _entry(done, raw, _digest(raw))
            if entry is None:
                raise OutputError(f"{raw.name} is not annotated yet, or was changed; run again")
            content = entry.read()
            if "dropped" in content:
                drops.picture(raw.name, Dropped(*content["dropped"]))
                continue
            picture = content["picture"]
            if picture in seen:
                drops.picture(raw.name, Dropped(SAME, seen[picture]))
                continue
            seen[picture] = raw.name
            drops.of_picture(raw.name, (tuple(lost) for lost in content["lost"]))
            record = Record(name=raw.name, path=raw.path, picture=picture, entry=entry)
            records.append(record)
        return records

    def _corrected(self, records: list[Record], edits: HandEdits, drops: Drops) -> list[Record]:
        """The records with what somebody made of their documents by hand; they are counted.

        Raises:
            OutputError: somebody wrote a document that would be lost.
        """
        documents = self.folder / DOCUMENTS
        named = {record.path_from(self.folder): record for record in records}

        def ours(name: str) -> dict[str, Any] | None:
            record = named.get(name)
            return None if record is None else line_of(record.own(), record, self.folder)

        found, kept = edits.lines(documents, "image", ours), []
        for name, value in found.changed.items():
            if name not in named:
                raise OutputError(
                    f"{documents}: the document of {name!r} was written by hand, and there is no "
                    "such picture; put it there, or remove the line"
                )
            try:
                named[name] = named[name].correct(GroundedPrompt.model_validate(value))
            except PromptError as error:
                raise OutputError(f"{documents}: the document of {name!r}: {error}") from None
        for name, record in named.items():
            if name in found.removed:
                edits.note_line(documents, name, line_of(record.own(), record, self.folder))
                drops.picture(record.name, Dropped(f"taken out of {DOCUMENTS} by hand"))
                continue
            kept.append(record)
            drops.pictures += 1
            drops.regions += len(things_in(record.document()))
        if found.changed:
            log.warning(
                "%s: %d documents that were changed by hand stay so (such as that of %s)",
                documents,
                len(found.changed),
                next(iter(found.changed)),
            )
        return kept

    def _journals(self) -> list[Path]:
        return sorted((self.folder / "journal").glob("*.jsonl"))

    def _tidy(self, written: set[Path]) -> None:
        """Remove what earlier runs wrote and this one did not: of more pictures, or half of it."""
        places: tuple[tuple[str, Callable[[Path], bool]], ...] = (
            ("gligen/annotated-*.tar", lambda path: path not in written),
            ("annotations/panoptic_annotated/*.png", lambda path: path not in written),
            ("annotations/upright/*.png", lambda path: path not in written),
            (DROPPED, lambda path: path not in written),
            ("**/.*.part", lambda path: True),
        )
        for pattern, is_stale in places:
            for path in list(self.folder.glob(pattern)):
                if is_stale(path):
                    path.unlink()


def _entry(done: dict[str, list[Entry]], raw: Raw, digest: str) -> Entry | None:
    """The entry of a picture as it is now."""
    return next((entry for entry in done.get(raw.name, []) if entry.digest == digest), None)


def _digest(raw: Raw) -> str:
    """Of a picture and its captions; of one that cannot be read, of nothing."""
    try:
        return raw.digest()
    except OSError:
        return ""
