"""Archives of the registries (.tgz of npm, .whl of PyPI, .deb of Debian), fetched and read safely.

Nothing is unpacked to disk: members are read one by one, so that no path in an archive can reach
outside of a folder. One that tries to is refused all the same.
"""

import hashlib
import http.client
import io
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from grounding.errors import LavallamaError, OfflineError
from grounding.files import write_files

__all__ = ["fetch_archive", "read_archive"]

SECONDS = 60.0  # without an answer
DEB_MAGIC, DEB_HEADER = b"!<arch>\n", 60  # man 5 deb

Member = tuple[str, Callable[[], bytes]]
"""A file's path in its archive, and a function that reads it."""


def fetch_archive(folder: Path, urls: Sequence[str], sha256: str) -> Path:
    """Download an archive into a folder, unless it is there already.

    Proxies and certificates are those of the environment (`HTTPS_PROXY`, `SSL_CERT_FILE`).

    Args:
        folder: Made if there is none.
        urls: Addresses of the same bytes; the next is asked where one does not answer.
        sha256: What the bytes must hash to.

    Raises:
        OfflineError: no address answers.
        LavallamaError: other bytes came.
        OutputError: there is no room.
    """
    path = folder / urls[0].rpartition("/")[2]
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return path
    reasons = []
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                data = answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(str(getattr(error, "reason", None) or error))
            continue
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise LavallamaError(
                f"{url} has SHA-256 {found}, expected {sha256}; it is not the file that was meant"
            )
        write_files({path: data})
        return path
    raise OfflineError(
        f"cannot download {urls[0]}: {reasons[0].lower()}; check the network, or put the file "
        f"at {path}"
    )


def read_archive(path: Path) -> Iterator[Member]:
    """List the regular files of an archive, in its order.

    Raises:
        LavallamaError: it cannot be read, or a path in it leaves its folder.
    """
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        yield _checked(path, info.filename), lambda info=info: archive.read(info)
            return
        data = path.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(_debian_data(data) or data)) as archive:
            for info in archive:
                if info.isfile():
                    name = _checked(path, info.name)
                    yield name, lambda info=info: _read(archive, info)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise LavallamaError(
            f"cannot read {path}: {reason}; delete it, it is fetched anew"
        ) from error


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None  # it is a regular file
    return file.read()


def _checked(path: Path, name: str) -> str:
    """A member's path without a leading "./"."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise LavallamaError(f"{path} has a file {name!r} that leaves its folder; do not use it")
    return str(PurePosixPath(name))


def _debian_data(data: bytes) -> bytes | None:
    """The data.tar.* of a Debian package; None: it is no Debian package."""
    if not data.startswith(DEB_MAGIC):
        return None
    at = len(DEB_MAGIC)
    while at + DEB_HEADER <= len(data):
        name, size = data[at : at + 16].decode().strip(), int(data[at + 48 : at + 58])
        at += DEB_HEADER
        if name.startswith("data.tar"):
            return data[at : at + size]
        at += size + size % 2
    raise tarfile.ReadError("a Debian package without data")
