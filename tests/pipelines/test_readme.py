"""What the README shows runs as it stands there. Its two shell commands are run by .ci/run."""

import re
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipelines.composition.options import compose_options
from pipelines.conversation.options import chat_options
from pipelines.edit.options import edit_options
from pipelines.evaluate.chat_options import chat_options as evaluate_chat_options
from pipelines.generation.generator import Generator
from pipelines.generation.options import generate_parser
from pipelines.planning.options import plan_options
from pipelines.segmentation.options import segment_options
from pipelines.training.llava.options import train_llava_options
from tests.seem.predicting import tiny_predictor

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_two_commands_do_all_the_set_up():
    first, second = blocks("bash")
    assert first.count("\n") == second.count("\n") == 1
    assert "-m pipelines.generate" in first
    assert "-m pytest" in second


def test_its_commands_have_options_that_exist():
    calls = [line for block in (*blocks("bash"), *blocks("console")) for line in block.splitlines()]
    calls = [call for call in calls if "generate " in call]
    assert len(calls) == 12
    for call in calls:
        arguments = shlex.split(re.split(r"\bgenerate ", call, maxsplit=1)[1], comments=True)
        assert generate_parser().parse_args(arguments).prompt


@pytest.mark.parametrize(
    ("command", "options", "count"),
    [
        ("chat", chat_options, 4),
        ("compose", compose_options, 2),
        ("edit", edit_options, 3),
        ("evaluate chat", evaluate_chat_options, 4),
        ("plan", plan_options, 2),
        ("segment", segment_options, 8),
        ("train llava", train_llava_options, 3),
    ],
)
def test_the_other_commands_have_options_that_exist(
    command: str, options: Callable[[list[str]], Namespace], count: int
):
    start = f"$ lavallama {command} "
    lines = [line for block in blocks("console") for line in block.splitlines()]
    calls = [line.removeprefix(start) for line in lines if line.startswith(start)]
    assert len(calls) == count
    for call in calls:
        assert options(shlex.split(call, comments=True))


def test_its_boxes_are_the_example():
    [shown] = blocks("json")
    assert shown == (ROOT / "examples" / "boxes.json").read_text(encoding="utf-8")


def test_its_python_draws_a_picture(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    snippet, _ = blocks("python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Generator, "from_pretrained", lambda: generator)
    exec(compile(snippet, "README.md", "exec"), {})
    assert (tmp_path / "llama.png").is_file()


def test_its_python_segments_a_picture(monkeypatch: pytest.MonkeyPatch):
    _, snippet = blocks("python")
    monkeypatch.setattr("pipelines.segmentation.segmenter.open_predictor", tiny_predictor)
    names = {"image": Image.new("RGB", (200, 120), "red")}
    exec(compile(snippet, "README.md", "exec"), names)
    assert names["masks"].shape == (1, 120, 200)
