"""Files by the names that others gave them: other systems, other folders, other ways to write.

A name is looked for as it is written, then with these differences: backslashes for slashes, a
drive, %20 for a space, a URL; letters composed in another way (Unicode NFC, NFD), or of another
case. A path of another machine, one that begins with a drive, a root or "..", is looked for by its
end: of "C:\\\\scans\\\\4\\\\a.png", "scans/4/a.png", then "4/a.png", then "a.png".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from grounding.errors import PromptError

__all__ = ["COCO_FILES", "FileFinder", "coco_finder", "find_beside"]

COCO_FILES = ("instances*.json", "_annotations.coco.json")  # as COCO names instances, and Roboflow
UP = ".."
_URL = re.compile(r"(?:https?|file)://[^/]*", re.IGNORECASE)
_QUERY = re.compile(r".*[?&]d=")  # of Label Studio's local files: /data/local-files/?d=pics/a.png
_DRIVE = re.compile(r"[A-Za-z]:(?=/)")


class FileFinder:
    """Finds the files of one data set."""

    def __init__(self, folders: Sequence[Path], names: Iterable[str] = ()) -> None:
        """Take note of where files may lie.

        Args:
            folders: Where names begin, the likeliest first.
            names: All that will be asked for, if that is known: an end that two of them share
                finds nothing.
        """
        self.folders = tuple(dict.fromkeys(folders))
        self._listings: dict[Path, dict[str, list[Path]]] = {}
        self._ends = Counter(end for name in set(names) for end in {*_ends(name)})

    def __call__(self, name: str) -> Path:
        """Find a file.

        Raises:
            PromptError: It is in none of the folders, or the name may mean several files.
        """
        found = self.search(name)
        if found is None:
            places = ", ".join(str(folder) for folder in self.folders)
            raise PromptError(f"{name!r:.80} is in none of {places}; put it there")
        return found

    def search(self, name: str) -> Path | None:
        """Find a file, or None.

        Raises:
            PromptError: The name may mean several files.
        """
        for folder in self.folders:
            if _is_file(folder / name):
                return folder / name
        paths = [tuple(text.split("/")) for text in _written(name)]
        paths += [end for end in _ends(name) if self._ends[end] < 2]
        return next(filter(None, (self._alone(name, path) for path in paths)), None)

    def _alone(self, name: str, parts: Sequence[str]) -> Path | None:
        """The one file that a path means, in whichever folder."""
        found = dict[Path, Path]()
        for folder in self.folders:
            for file in self._below(folder, parts):
                found.setdefault(file.resolve(), file)
        if len(found) > 1:
            several = " and ".join(str(file) for file in found.values())
            raise PromptError(f"{name!r:.80} may mean {several}; rename or remove one")
        return next(iter(found.values()), None)

    def _below(self, folder: Path, parts: Sequence[str]) -> list[Path]:
        """The files that a path means in a folder, however its letters are composed."""
        places = [folder]
        for part in parts:
            places = [child for place in places for child in self._children(place, part)]
        return [place for place in places if _is_file(place)]

    def _children(self, place: Path, part: str) -> list[Path]:
        if part in ("", ".", UP) or _exists(place / part):
            return [place / part]
        if place not in self._listings:
            listing: dict[str, list[Path]] = {}
            for child in _list(place):
                listing.setdefault(_folded(child.name), []).append(child)
            self._listings[place] = listing
        return self._listings[place].get(_folded(part), [])


def find_beside(folder: Path, name: str) -> Path:
    """Where a document says that a file lies: where it is found, or else where it should be.

    Args:
        folder: Of the document.
        name: Of the file, as the document writes it.

    Raises:
        PromptError: The name may mean several files.
    """
    return FileFinder([folder]).search(name) or folder / name


def coco_finder(path: Path, images: Iterable[object]) -> FileFinder:
    """Finds the images of a COCO file: in "images", or in "val2017" of its name's end.

    Both, and the one in the other, are looked for beside the file and one folder up; then the
    images themselves.

    Args:
        path: Of the file.
        images: Its entries; those without a file name are passed over.
    """
    around = (path.parent, path.parent.parent)
    split = path.stem.rpartition("_")[2]
    places = [folder / name for folder in around for name in (f"images/{split}", "images", split)]
    entries = [image for image in images if isinstance(image, Mapping)]
    names = [image.get("file_name") for image in entries]
    return FileFinder([*places, *around], [name for name in names if isinstance(name, str)])


def _written(name: str) -> Iterator[str]:
    """The paths that a name may mean; what is decoded leads neither up nor to a root."""
    slashed = name.replace("\\", "/")
    yield slashed
    for text in _decoded(slashed):
        if not text.startswith("/") and UP not in text.split("/"):
            yield text


def _ends(name: str) -> Iterator[tuple[str, ...]]:
    """The ends of a path of another machine, the longest first; of any other, none."""
    slashed = name.replace("\\", "/")
    for text in (slashed, *_decoded(slashed)):
        path = _DRIVE.sub("", _URL.sub("", text, 1), 1)
        if not path.startswith(("/", f"{UP}/")):
            continue
        parts = [part for part in path.split("/") if part not in ("", ".")]
        begin = len(parts) - parts[::-1].index(UP) if UP in parts else 0
        for place in range(begin, len(parts)):
            yield tuple(parts[place:])


def _decoded(text: str) -> Iterator[str]:
    """A path without the address that it is the query of, and with %20 as a space."""
    path = _QUERY.sub("", text)
    yield from dict.fromkeys((path, unquote(path).replace("\\", "/")))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, a null byte
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
