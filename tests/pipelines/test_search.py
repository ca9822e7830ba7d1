import json

import pytest
from PIL import Image

from grounding.errors import PromptError
from pipelines import search
from pipelines.conversation import speech
from pipelines.retrieval.file_index import build_index
from tests.pipelines.colours import Colours, write_pictures
from tests.pipelines.recogniser import tone, write_wav

PLUGIN = ("--model", "tests.pipelines.colours:Colours")


def names(hits):
    return [hit.path.name for hit in hits]


def test_the_nearest_come_first(tmp_path):
    index = build_index(write_pictures(tmp_path), Colours())
    assert names(index.search(["blue"])) == ["blue.png", "green.png", "red.png"]
    assert names(index.search([Image.new("RGB", (3, 3), "red")], count=1)) == ["red.png"]
    both = index.search(["red", "blue"], count=2)
    assert set(names(both)) == {"red.png", "blue.png"}
    assert both[0].score == pytest.approx(0.5**0.5, abs=1e-6)


def test_what_was_read_is_remembered_by_its_content(tmp_path):
    folder, kept = write_pictures(tmp_path / "a"), tmp_path / "kept"
    first, second = Colours(), Colours()
    before = build_index(folder, first, remembered=kept).vectors
    assert first.read == 3
    (folder / "red.png").rename(folder / "rouge.png")
    (folder / "copy.png").write_bytes((folder / "rouge.png").read_bytes())
    after = build_index(folder, second, remembered=kept)
    assert second.read == 0
    assert len(after.paths) == 4
    assert after.vectors.sum() == pytest.approx(float(before.sum()) + 1)
    [file] = kept.iterdir()
    file.write_bytes(b"damaged")
    third = Colours()
    build_index(folder, third, remembered=kept)
    assert third.read == 3


def test_recordings_are_found_too(tmp_path):
    write_wav(tmp_path / "high.wav", tone(pitch=3000.0))
    write_wav(tmp_path / "low.wav", tone(pitch=100.0))
    (tmp_path / "notes.txt").write_text("no")
    index = build_index(tmp_path, Colours())
    assert names(index.search(["blue"])) == ["high.wav", "low.wav"]


def test_what_cannot_be_read_is_left_out(tmp_path, caplog, capsys):
    write_pictures(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"x")
    assert len(build_index(tmp_path, Colours()).paths) == 3
    assert "broken.png" in caplog.text
    cache = ("--cache", str(tmp_path / "kept"))
    assert search.main([str(tmp_path), "--text", "red", "--top", "1", *PLUGIN, *cache]) == 2
    printed = capsys.readouterr()
    assert printed.out == f"1.000  {tmp_path}/red.png\n"
    assert "error: left out: " in printed.err
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptError, match="holds nothing that colours reads"):
        build_index(tmp_path / "empty", Colours())


def test_the_command(tmp_path, capsys, monkeypatch):
    folder, cache = str(write_pictures(tmp_path / "a")), ("--cache", str(tmp_path / "kept"))
    assert search.main([folder, "--text", "red", "--top", "1", *PLUGIN, *cache]) == 0
    assert capsys.readouterr().out == f"1.000  {folder}/red.png\n"
    sound = str(write_wav(tmp_path / "question.wav", tone(pitch=3000.0)))
    assert search.main([folder, "--audio", sound, "--json", *PLUGIN, *cache]) == 0
    assert json.loads(capsys.readouterr().out)["found"][0]["path"].endswith("blue.png")
    monkeypatch.setattr(speech, "load_recogniser", lambda *_, **__: lambda heard: "green")
    spoken = ("--audio", sound, "--asr", "any", "--top", "1")
    assert search.main([folder, *spoken, *PLUGIN, *cache]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"1.000  {folder}/green.png\n"
    assert "heard: green" in printed.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["x"], "say what to look for"),
        (["x", "--text", "a", "--asr", "b"], "--asr is for --audio"),
        (["/no/such", "--text", "red", *PLUGIN], "no such folder"),
        (["x", "--image", "/no/such.png", *PLUGIN], "no such file"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, problem, capsys):
    try:
        code = search.main(arguments)
    except SystemExit as left:
        code = left.code
    assert code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lavallama search: error: ")
    assert problem in line
