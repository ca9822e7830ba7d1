import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grounding.prompt import GroundedPrompt
from pipelines import generate
from pipelines.generate import main
from pipelines.generation.generator import Generator

LLAMA = '[{"phrase": "lava llama", "box": [0.15, 0.15, 0.85, 0.9]}]'


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; what the command says to libraries is taken back."""
    monkeypatch.chdir(tmp_path)
    for variable in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        monkeypatch.setenv(variable, "error")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.delenv("LAVALLAMA_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def tiny(model_folder: Path, adapter_folder: Path) -> list[str]:
    """Options that choose the tiny model."""
    model = ["--model", str(model_folder), "--adapter", str(adapter_folder)]
    return [*model, "--device", "cpu", "--steps", "2"]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def bytes_of_picture(path: str) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def test_picture_overlay_and_document(tiny, workplace, capsys):
    assert main(["--prompt", "A lava llama!", "--boxes", LLAMA, *tiny]) == 0
    said = capsys.readouterr()
    files = ["out/a-lava-llama.png", "out/a-lava-llama.boxes.png", "out/a-lava-llama.json"]
    assert said.out.split() == files
    assert said.err == ""
    assert names(workplace) == sorted(["out", *files])
    document = GroundedPrompt.load("out/a-lava-llama.json")
    assert document.prompt == "A lava llama!"
    assert document.sampling.seed == 0
    assert document.sampling.steps == 2
    assert document.image == "a-lava-llama.png"


def test_a_picture_draws_itself_again(tiny, capsys):
    arguments = ["--prompt", "лама 🦙", "--negative", "ice", "--boxes", LLAMA, "--seed", "3"]
    arguments += ["--images", "2", "--schedule", "0.5,0.5,0", "--scheduler", "ddim"]
    assert main([*arguments, "--width", "40", "--height", "24", *tiny, "--out", "a.png"]) == 0
    assert main(["--from-image", "a-2.png", "--device", "cpu", "--trust", "--out", "b.png"]) == 0
    assert Path("a-2.png").read_bytes() != Path("a-1.png").read_bytes()
    assert bytes_of_picture("a-2.png") == bytes_of_picture("b.png")
    assert capsys.readouterr().err == ""
    first, again = GroundedPrompt.load("a-2.json"), GroundedPrompt.load("b.json")
    assert again.sampling == first.sampling
    assert again.regions == first.regions


def test_a_stranger_picture_loads_nothing(tiny, monkeypatch, capsys):
    assert main(["--prompt", "x", *tiny, "--out", "a.png"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(Generator, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    assert main(["--from-image", "a.png", "--device", "cpu", "--out", "b.png"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"the model {tiny[1]!r}" in line
    assert "--trust loads them, --model another one" in line


def test_options_override_the_picture_that_is_drawn_again(tiny):
    assert main(["--prompt", "x", "--boxes", LLAMA, *tiny, "--out", "a.png"]) == 0
    boxes = '{"rock": [0.1, 0.1, 0.4, 0.4]}'
    changes = ["--boxes", boxes, "--seed", "9", "--prompt", "y", "--out", "b.png"]
    assert main(["--from-image", "a.png", "--device", "cpu", "--trust", *changes]) == 0
    document = GroundedPrompt.load("b.json")
    assert document.prompt == "y"
    assert [region.phrase for region in document.regions] == ["rock"]
    assert document.sampling.seed == 9
    assert document.sampling.steps == 2


def test_no_boxes_is_a_plain_picture_without_overlay(tiny, workplace):
    assert main(["--prompt", "x", *tiny, "--out", "folder/"]) == 0
    assert names(workplace) == ["folder", "folder/x.json", "folder/x.png"]


def test_overlay_where_it_is_wanted(tiny, workplace):
    boxes = ["--prompt", "x", "--boxes", LLAMA, *tiny]
    assert main([*boxes, "--out", "a.png", "--no-overlay"]) == 0
    assert names(workplace) == ["a.json", "a.png"]
    assert main([*boxes, "--out", "a.png", "--overlay", "over/b.png"]) == 0
    assert names(workplace) == ["a.json", "a.png", "over", "over/b.png"]
    assert json.loads(Path("a.json").read_text())["files"]["overlay"] == "over/b.png"
    assert main(["--prompt", "x", *tiny, "--out", "c.png", "--overlay"]) == 0
    assert Path("c.boxes.png").is_file()


def test_boxes_from_a_file_in_pixels(tiny):
    Path("boxes.json").write_text('[{"phrase": "a", "box": [8, 8, 24, 32]}]')
    arguments = ["--prompt", "x", "--boxes", "boxes.json", "--width", "32", "--height", "32"]
    assert main([*arguments, *tiny, "--out", "a.png"]) == 0
    assert GroundedPrompt.load("a.json").regions[0].box == (0.25, 0.25, 0.75, 1.0)


def test_too_many_boxes_are_said_once(tiny, capsys):
    boxes = json.dumps([{"phrase": "a", "box": [0.01 * i, 0, 0.5, 0.5]} for i in range(31)])
    assert main(["--prompt", "x", "--boxes", boxes, *tiny, "--images", "2"]) == 0
    said = capsys.readouterr().err
    assert said == (
        "lavallama generate: warning: 31 boxes, and the adapter takes 5: "
        "only the largest are kept\n"
    )
    assert main(["--prompt", "x", "--boxes", boxes, *tiny, "--strict"]) == 2


WRONG_BOXES = {
    "missing field": '[{"phrase": "x"}]',
    "outside": '[{"phrase": "x", "box": [0.1, 0.1, 1.3, 0.9]}]',
    "reversed": '[{"phrase": "x", "box": [0.8, 0.1, 0.3, 0.9]}]',
    "NaN": '[{"phrase": "x", "box": [0.8, 0.1, NaN, 0.9]}]',
    "nothing": "",
    "deep": "[" * 5000 + "]" * 5000,
    "deep and open": "[" * 5000,
    "not JSON": "hello",
    "a number": "3",
    "pixels": '[{"phrase": "a", "box": [10, 10, 100, 100]}]',
}


@pytest.mark.parametrize("content", WRONG_BOXES.values(), ids=WRONG_BOXES)
def test_wrong_boxes(content, workplace, capsys):
    Path("boxes.json").write_text(content)
    assert main(["--prompt", "x", "--boxes", "boxes.json"]) == 2
    assert_one_error(capsys)
    assert names(workplace) == ["boxes.json"]


WRONG_CALLS = {
    "nothing to draw": [],
    "no such file": ["--prompt", "x", "--boxes", "nofile.json"],
    "a folder as boxes": ["--prompt", "x", "--boxes", "."],
    "bytes in the prompt": ["--prompt", "\udcff"],
    "not a PNG": ["--prompt", "x", "--out", "a.jpg"],
    "overlay not a PNG": ["--prompt", "x", "--boxes", LLAMA, "--overlay", "a.jpg"],
    "overlay on the picture": ["--prompt", "x", "--out", "a.png", "--overlay", "a.png"],
    "a file as folder": ["--prompt", "x", "--out", "file/a.png"],
    "no place for files": ["--prompt", "x", "--out", "/proc/none/a.png"],
    "no such picture": ["--from-image", "a.png"],
    "no picture": ["--from-image", "file"],
    "foreign picture": ["--from-image", "foreign.png"],
    "half a picture": ["--from-image", "half.png"],
    "no such model": ["--prompt", "x", "--model", "nosuch"],
    "no model": ["--prompt", "x", "--model", "file"],
    "offline": ["--prompt", "x", "--model", "nobody/nothing", "--offline"],
    "no such device": ["--prompt", "x", "--device", "tpu"],
}


@pytest.mark.parametrize("arguments", WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_calls(arguments, workplace, capsys):
    Path("file").write_text("text")
    Image.new("RGB", (64, 64), (1, 2, 3)).save("foreign.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save("whole.png")
    Path("half.png").write_bytes(Path("whole.png").read_bytes()[:4000])
    before = names(workplace)
    assert main(arguments) == 2
    assert_one_error(capsys)
    assert names(workplace) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width", "33"], "multiple of 8"),
        (["--attention", "xformers"], "CUDA"),
        (["--adapter", "nosuch"], "nosuch"),
        (["--boxes", '{"a": [0, 0, 1, 1]}', "--adapter", "none", "--strict"], "no effect"),
    ],
)
def test_wishes_that_the_model_cannot_meet(tiny, workplace, capsys, arguments, message):
    assert main(["--prompt", "x", *tiny, *arguments]) == 2
    assert message in assert_one_error(capsys)
    assert names(workplace) == []


@pytest.mark.parametrize("call", ["write_bytes", "replace"])
def test_a_full_disk_leaves_nothing_half_written(tiny, workplace, capsys, monkeypatch, call):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path if call == "write_bytes" else os, call, full)
    assert main(["--prompt", "x", "--boxes", LLAMA, *tiny, "--out", "a.png"]) == 2
    assert "no space left" in assert_one_error(capsys)
    assert names(workplace) == []


def test_an_interrupt_leaves_whole_pictures_only(tiny, workplace, capsys, monkeypatch):
    from pipelines.generation.generator import Generator

    drawn = Generator.stream

    def interrupted(self, *arguments, **options):
        pictures = drawn(self, *arguments, **options)
        yield next(pictures)
        raise KeyboardInterrupt

    monkeypatch.setattr(Generator, "stream", interrupted)
    assert main(["--prompt", "x", *tiny, "--out", "a.png", "--images", "3"]) == 2
    assert capsys.readouterr().err == "lavallama generate: error: interrupted\n"
    assert names(workplace) == ["a-1.json", "a-1.png"]


def test_the_python_api_is_found_here():
    from pipelines.generation.generator import Generator
    from pipelines.generation.picture import Generation

    assert generate.Generator is Generator
    assert generate.Generation is Generation
    with pytest.raises(AttributeError, match="Nothing"):
        _ = generate.Nothing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_as_a_program_it_says_only_what_it_wrote(tiny):
    command = [sys.executable, "-m", "pipelines.generate", "--prompt", "x", "--boxes", LLAMA]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [*command, *tiny, "--out", "a.png"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["a.png", "a.boxes.png", "a.json"]
    assert done.stderr == ""


def assert_one_error(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lavallama generate: error: ")
    assert said.err.count("\n") == 1
    return said.err
