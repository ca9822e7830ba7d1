"""The record of a run: what work in a folder was begun with, so that it goes on with the same.

Every trainer and every folder of results that goes on keeps one: its settings, a digest of its
data, the names of its classes, versions. It is written when work begins and compared when it goes
on; what may differ then is listed here, once. A folder is held by one process at a time.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from grounding.errors import OutputError, PromptError
from grounding.files import remove_parts, write_files
from grounding.jsonfile import describe, parse_json, read_text
from grounding.lock import LOCK, locked
from pipelines.version import software

__all__ = ["RECORD", "RunRecord", "file_digest", "open_run", "read_record", "take_recorded"]

RECORD = "run.json"
CHECKPOINTS, EARLIER = ("checkpoint.pt",), "checkpoints"  # as `grounding.checkpoint` has them
VERSIONS = "versions"
LIBRARIES = ("torch", "numpy", "diffusers", "transformers")
DIGEST = re.compile("[0-9a-f]{64}")
DATA_DIGEST = "data_digest"
SHOWN = 12  # digits of a digest in a message
MAY_CHANGE = frozenset(
    {
        # how far it goes, and what is told and kept on the way
        *("steps", "epochs", "log_every", "save_every", "sample_every", "sample_steps", "keep"),
        *("detector", "wandb", "export", "checkpoint", "push_to_hub", "prepare_only", "best"),
        "strict",
        # by whom it is done, and where
        *("device", "workers", "requests", "offline", "shard", "checkpointing", "key_variable"),
        *("runs", "cache"),
        # what `global_batch` says in all, for any number of processes
        *("batch", "accumulate"),
        # where the data is: `data_digest` says what it is
        *("data", "images", "captions", "scenes", "collages"),
        VERSIONS,
    }
)

log = logging.getLogger(__name__)


class RunRecord:
    """The record in a folder.

    Args:
        path: Of the JSON file.
        elsewhere: The option that names another folder.
        is_begun: Whether there is work that was done; without any, a record binds nobody.
        held: Whether nobody else works there; else a record binds from when it is written.
        writes: Whether this process writes it.
    """

    def __init__(
        self, path: Path, *, elsewhere: str, is_begun: bool, held: bool, writes: bool
    ) -> None:
        self.path, self.elsewhere, self.writes = path, elsewhere, writes
        self.is_begun, self.held = is_begun, held
        self.begun_here = False  # by this process, just now
        self._late: dict[str, Any] | None = None

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check that work goes on as it was begun.

        Args:
            settings: What results depend on, or some of it, as JSON has it.

        Raises:
            OutputError: one of them is another; it says which, and both values.
        """
        before = self._read()
        if before is not None:
            _compare(before, _plain(settings), self.path.parent, self.elsewhere)

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Check, and write down.

        Args:
            settings: All that results depend on.

        Raises:
            OutputError: one of them is another, or they cannot be written.
        """
        self.check(settings)
        before = self._read()
        if self.is_begun and before is None:
            log.warning(
                "%s was begun without a record: whether its data and settings are the same "
                "cannot be told",
                self.path.parent,
            )
        now = {VERSIONS: _versions(), **_plain(settings)}
        if before is not None:
            _tell_versions(self.path.parent, before.get(VERSIONS), now[VERSIONS])
        if not self.writes:
            return
        if self.is_begun and before is None:
            self._late = now  # when it is known to go on
        elif before is None or before | now != before:
            self.begun_here = before is None
            self._write((before or {}) | now)

    def finish(self) -> None:
        """Write what could be written only when the work had gone on."""
        if self._late is not None:
            self._write(self._late)

    def _read(self) -> dict[str, Any] | None:
        """The record, if there is one that binds."""
        if not self.path.exists() or (self.held and not self.is_begun):
            return None
        return _read(self.path, f"name another folder with {self.elsewhere}")

    def _write(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_files({self.path: text.encode()})


@contextlib.contextmanager
def open_run(
    path: Path,
    *,
    elsewhere: str = "--runs",
    work: Sequence[str] = CHECKPOINTS,
    held: bool = True,
    writes: bool = True,
) -> Iterator[RunRecord]:
    """Hold the folder of a record while work is done in it.

    What was written down is taken back if an error stops the work before any of it is done: who
    named a model wrongly may name another.

    Args:
        path: Of the record.
        elsewhere: The option that names another folder, for messages.
        work: Patterns of files, seen from the folder, that hold work that was done.
        held: Whether one process alone may work there; else each holds a part of its own, and a
            record binds from the moment that it is written.
        writes: Whether this process does; others of the same run look on.

    Raises:
        OutputError: another process works there.
    """
    folder = path.parent

    def is_begun() -> bool:
        return any(file.stat().st_size for pattern in work for file in folder.glob(pattern))

    with _held(folder) if held and writes else contextlib.nullcontext():
        if held and writes:
            for place in (folder, folder / EARLIER):
                remove_parts(place)
        record = RunRecord(path, elsewhere=elsewhere, is_begun=is_begun(), held=held, writes=writes)
        try:
            yield record
        except BaseException:
            if record.begun_here and not is_begun():
                path.unlink(missing_ok=True)
            raise
        record.finish()


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder; if an error leaves nothing in it, it goes away again."""
    try:
        with locked(folder):
            yield
    except BaseException:
        if folder.is_dir() and [file.name for file in folder.iterdir()] == [LOCK]:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def read_record(path: Path) -> dict[str, Any] | None:
    """Read a record; None: there is none.

    Raises:
        OutputError: it is damaged.
    """
    return _read(path, "restore it") if path.exists() else None


def take_recorded(
    options: argparse.Namespace, record: Mapping[str, Any], names: Sequence[str], folder: Path
) -> None:
    """Give options that were not given the values that a run was begun with.

    Args:
        options: Of a command that trains nothing; those that were not given are None.
        record: Of the run.
        names: The options.
        folder: Of the run.

    Raises:
        OutputError: one was given, and is another.
    """
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    _compare(record, _plain(given), folder, "--runs")
    for name in names:
        if name not in given:
            setattr(options, name, record.get(name))


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file.

    Raises:
        PromptError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise PromptError(f"{path}: {str(error.strerror).lower()}; check the path") from None
    return digest.hexdigest()


def _read(path: Path, cure: str) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path))
    except PromptError as error:
        raise OutputError(f"{path}: {error}; {cure}") from None
    if not isinstance(content, dict):
        raise OutputError(f"{path}: expected an object, got {describe(content)}; {cure}")
    return content


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are read again; paths are text."""
    return json.loads(json.dumps(settings, default=str))


def _compare(theirs: Any, ours: Any, folder: Path, elsewhere: str, inside: str = "") -> None:
    """Check that settings are those of a record; what one of the two does not know is passed."""
    for name, value in ours.items():
        if name in MAY_CHANGE or name not in theirs or theirs[name] == value:
            continue
        label = f"{inside}{name}".replace("_", " ")
        if isinstance(value, dict) and isinstance(theirs[name], dict):
            _compare(theirs[name], value, folder, elsewhere, f"{label} ")
            if theirs[name].keys() == value.keys():
                continue
        before, now = (_shown(name, one) for one in (theirs[name], value))
        if name == DATA_DIGEST:
            label = "data"
            before, now = (
                f"{of['data']} ({shown})" if "data" in of else shown
                for of, shown in ((theirs, before), (ours, now))
            )
        raise OutputError(
            f"{folder} was begun with {label} {before}, now it is {now}; go on with what it was "
            f"begun with, or name another folder with {elsewhere}"
        )


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return value[:SHOWN]
    if isinstance(value, list) and len(value) <= 8 and all(isinstance(one, str) for one in value):
        return ",".join(value) or "none"
    return "none" if value is None else describe(value)


def _versions() -> dict[str, str]:
    versions = {"lavallama": software()}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _tell_versions(folder: Path, before: Any, now: Mapping[str, str]) -> None:
    changed = [
        f"{name} {before[name]} (now {one})"
        for name, one in now.items()
        if isinstance(before, dict) and before.get(name, one) != one
    ]
    if changed:
        log.warning("%s was begun with %s: last bits may differ", folder, ", ".join(changed))
