import hashlib
import io
import tarfile
import zipfile

import pytest

from grounding.composites.archive import fetch_archive, read_archive
from grounding.errors import LavallamaError, OfflineError


def tarball(names, form="w:gz"):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    return data.getvalue()


def debian(data):
    def member(name, content):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        return head + content + b"\n" * (len(content) % 2)

    return b"!<arch>\n" + member("debian-binary", b"2.0") + member("data.tar.xz", data)


def listed(path):
    return {name: read() for name, read in read_archive(path)}


def test_three_kinds_of_archives(tmp_path):
    (tmp_path / "a.tgz").write_bytes(tarball(["package/a.txt"]))
    (tmp_path / "a.deb").write_bytes(debian(tarball(["./package/a.txt"], "w:xz")))
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("package/a.txt", b"abc")
    for name in ("a.tgz", "a.deb", "a.whl"):
        assert listed(tmp_path / name) == {"package/a.txt": b"abc"}


@pytest.mark.parametrize("name", ["../a.txt", "package/../../a.txt", "/a.txt", "a\\..\\b.txt"])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path, name):
    path = tmp_path / "a.tgz"
    path.write_bytes(tarball(["package/a.txt", name]))
    with pytest.raises(LavallamaError, match="leaves its folder"):
        listed(path)


def test_what_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"<html>")
    with pytest.raises(LavallamaError, match=r"cannot read .*a\.tgz.*delete it"):
        listed(tmp_path / "a.tgz")


def test_an_archive_is_fetched_once(tmp_path):
    data = tarball(["a.txt"])
    (tmp_path / "there.tgz").write_bytes(data)
    url, sha256 = (tmp_path / "there.tgz").as_uri(), hashlib.sha256(data).hexdigest()
    nowhere = (tmp_path / "nowhere" / "there.tgz").as_uri()
    path = fetch_archive(tmp_path / "downloads", [nowhere, url], sha256)
    assert path.read_bytes() == data
    (tmp_path / "there.tgz").unlink()
    assert fetch_archive(tmp_path / "downloads", [nowhere], sha256) == path


def test_an_archive_that_cannot_be_had_is_one_line(tmp_path):
    url = "http://127.0.0.1:9/art.tgz"  # nothing listens on the discard port
    with pytest.raises(OfflineError, match=r"cannot download .*art\.tgz: .*refused") as error:
        fetch_archive(tmp_path, [url], "0" * 64)
    assert "\n" not in str(error.value)


def test_other_bytes_are_refused(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"other")
    with pytest.raises(LavallamaError, match="expected 0000"):
        fetch_archive(tmp_path / "downloads", [(tmp_path / "a.tgz").as_uri()], "0" * 64)
    assert not (tmp_path / "downloads" / "a.tgz").exists()
