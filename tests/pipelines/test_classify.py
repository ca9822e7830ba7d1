import json

import pytest
import torch
from PIL import Image

from grounding.errors import PromptError
from pipelines import classify
from pipelines.retrieval.classifier import TEMPLATES, Classifier, clip_score
from tests.pipelines.colours import Colours, write_pictures

RED = Image.new("RGB", (8, 6), "red")
PLUGIN = ("--model", "tests.pipelines.colours:Colours")


def test_probabilities_are_the_softmax_of_scaled_cosines():
    classifier = Classifier(embedder=Colours())
    found = classifier.probabilities([RED], ["red", "green", "red green"])
    wanted = torch.tensor([[10.0, 0.0, 10 / 2**0.5]]).softmax(-1)
    assert torch.allclose(found, wanted)
    assert classifier.similarities([RED], ["green", "red"]).tolist() == [[0.0, 1.0]]


def test_a_label_is_the_mean_direction_of_its_sentences():
    classifier = Classifier(embedder=Colours(), templates=("{}", "{} green"))
    [label] = classifier.labels(["red"])
    mean = torch.tensor([1.0, 0.0, 0.0]) + torch.tensor([0.5**0.5, 0.5**0.5, 0.0])
    assert torch.allclose(label, mean / mean.norm())
    read = classifier.embedder.read
    classifier.labels(["red", "red"])
    assert classifier.embedder.read == read  # remembered


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{} {x}"])
def test_templates_have_one_place(template):
    with pytest.raises(PromptError, match="a template has one"):
        Classifier(embedder=Colours(), templates=(template,))
    assert all(Classifier(embedder=Colours(), templates=some) for some in TEMPLATES.values())


def test_clip_score():
    assert (clip_score(0.4), clip_score(-0.2)) == (1.0, 0.0)


def test_the_command(tmp_path, capsys):
    red = str(write_pictures(tmp_path) / "red.png")
    assert classify.main([red, "--labels", "green, red,blue", "--top", "2", *PLUGIN]) == 0
    assert capsys.readouterr().out == f"{red}: red 1.00, green 0.00\n"
    assert classify.main([red, "--labels", "red,blue", "--json", *PLUGIN]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["image"] == red
    assert sum(said["labels"].values()) == pytest.approx(1)
    assert classify.main([red, "--caption", "red green", "--caption", "red", *PLUGIN]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{red}: red: cosine 1.000, CLIPScore 2.500",
        f"{red}: red green: cosine 0.707, CLIPScore 1.768",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["x.png"], "--labels or --caption"),
        (["x.png", "--labels", "a,,b"], "different names"),
        (["x.png", "--caption", "a", "--templates", "photo"], "are for --labels"),
        (["x.png", "--labels", "a", "--templates", "photo", "--template", "{}"], "give one"),
        (["/no/such.png", "--labels", "a"], "no such file"),
        (["RED", "--labels", "a", "--model", "no.such:Thing"], "no such plug-in"),
        (
            ["RED", "--labels", "a", "--model", "tests.pipelines.colours:NoEmbedder"],
            "is no embedder: it lacks name",
        ),
        (["RED", "--labels", "a", "--model", "nothing"], "no such folder"),
        (["RED", "--labels", "red", "--template", "none", *PLUGIN], "a template has one"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, problem, tmp_path, capsys):
    red = str(write_pictures(tmp_path) / "red.png")
    try:
        code = classify.main([red if word == "RED" else word for word in arguments])
    except SystemExit as left:
        code = left.code
    assert code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lavallama classify: error: ")
    assert problem in line


def test_one_broken_picture_does_not_hide_the_others(tmp_path, capsys):
    red = str(write_pictures(tmp_path) / "red.png")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    assert classify.main([str(broken), red, "--labels", "red,blue", *PLUGIN]) == 2
    said = capsys.readouterr()
    assert said.out == f"{red}: red 1.00, blue 0.00\n"
    assert said.err == (
        f"lavallama classify: error: {broken}: is not a whole picture; give a PNG, JPEG or WebP\n"
    )
