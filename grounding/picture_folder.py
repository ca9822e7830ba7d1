"""The pictures of a folder, and what lies beside them and is not read."""

import mimetypes
import os
from dataclasses import dataclass
from pathlib import Path

from grounding.picture_file import PICTURE_SUFFIXES

__all__ = ["PictureFolder", "list_picture_files"]

APPLE_DOUBLE = "._"  # begins the names of what macOS stores beside files on other systems
# Pictures that have no media type of their own: of cameras, and of programs.
OTHER_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("arw", "cr2", "cr3", "dng", "nef", "orf", "raf", "rw2"),
        *("eps", "exr", "hdr", "jxl", "kra", "pdf", "xcf"),
    )
)
NOWHERE = "a link that leads nowhere"
LINKED = "a link to a folder, which is not followed"
CLOSED = "a folder that cannot be read"
OTHER = "a kind of picture that is not read"


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """What was found in a folder.

    Attributes:
        files: Pictures, sorted by path.
        passed_over: What may be pictures and is not read, each with the reason.
    """

    files: tuple[Path, ...]
    passed_over: tuple[tuple[Path, str], ...]


def list_picture_files(folder: Path, *, deep: bool = True) -> PictureFolder:
    """List the pictures of a folder by their endings; none is opened.

    Args:
        folder: Where they lie.
        deep: Also those of the folders in it.
    """
    files, passed_over = list[Path](), list[tuple[Path, str]]()

    def closed(error: OSError) -> None:
        passed_over.append((Path(error.filename), CLOSED))

    for place, folders, names in os.walk(folder, onerror=closed):
        links = [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        passed_over += [(link, LINKED) for link in links if deep]
        for path in (Path(place, name) for name in names if not name.startswith(APPLE_DOUBLE)):
            if path.suffix.lower() not in PICTURE_SUFFIXES:
                if _is_other_picture(path):
                    passed_over.append((path, OTHER))
            elif path.is_file():
                files.append(path)
            else:
                passed_over.append((path, NOWHERE))
        if not deep:
            break
    return PictureFolder(files=tuple(sorted(files)), passed_over=tuple(sorted(passed_over)))


def _is_other_picture(path: Path) -> bool:
    media = mimetypes.guess_type(path.name)[0] or ""
    return media.startswith("image/") or path.suffix.lower() in OTHER_SUFFIXES
