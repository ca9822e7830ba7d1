"""Where caches lie."""

from pathlib import Path

from grounding.cache_folder import cache_folder


def test_the_variable_the_standard_and_nowhere(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LAVALLAMA_CACHE", str(tmp_path))
    assert cache_folder("classes") == tmp_path / "classes"
    monkeypatch.setenv("LAVALLAMA_CACHE", "off")
    assert cache_folder("classes") is None
    monkeypatch.delenv("LAVALLAMA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("classes") == tmp_path / "xdg" / "lavallama" / "classes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("classes") == Path.home() / ".cache" / "lavallama" / "classes"
