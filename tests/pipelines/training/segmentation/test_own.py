"""A user's own pictures: every form trains, and ends with a verdict and a model that finds them."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image

from grounding.stickers.tokenizer import build_tokenizer
from pipelines.cli import main as lavallama
from pipelines.train import main
from pipelines.training.segmentation import run
from seem.config import CONFIGS
from seem.encoded_image import Resizing
from seem.model import build_seem
from seem.predictor import Predictor
from seem.train.new_words import learn_new_words
from seem.vocabulary import Vocabulary
from tests.pipelines.training.segmentation.own_data import FORMS, coco, picture, png
from weights.predictor import load_predictor, save_predictor


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model that reads the sticker world's words, looks for three, and knows nothing."""
    tokenizer = build_tokenizer()
    length = tokenizer.model_max_length
    config = replace(CONFIGS["tiny"], vocabulary=len(tokenizer), text_context=length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_seem(config)
    classes = Vocabulary(things=("llama", "dog"), stuff=("sky",), templates=("{}",))
    resizing = Resizing(short_side=64, long_side=128)
    predictor = Predictor(model, tokenizer, vocabulary=classes, resizing=resizing)
    return str(save_predictor(predictor, tmp_path_factory.mktemp("base") / "model"))


@pytest.fixture
def quick_words(monkeypatch):
    """Words are learned for a moment: what they are like is another test's matter."""
    monkeypatch.setattr(run, "learn_new_words", partial(learn_new_words, steps=3))


def train(data, base, folder, *more):
    arguments = ["--data", str(data), "--init", base, "--runs", str(folder), "--device", "cpu"]
    return main(["seem", *arguments, "--steps", "2", "--batch", "2", *more])


def checkpoint(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("quick_words")
def test_every_form_trains_and_ends_with_a_verdict(form, base, tmp_path, capsys):
    data = FORMS[form](tmp_path / "data")
    assert train(data, base, tmp_path / "run") == 0
    told = capsys.readouterr().out
    things = ("dog", "grass") if form == "coco panoptic" else ("robot", "alien")
    pictures = 1 if form == "labelme file" else 4
    assert f"{pictures} pictures with {2 * pictures} regions" in told
    assert f"names: {', '.join(things)}" in told
    assert "2 steps of 2 pictures, each of" in told
    assert "before   after" in told
    if pictures == 4:
        assert "on 1 held-out pictures; 3 others were learned from" in told
    else:
        assert "that it learned from: none was held out" in told
    for line in ("1 click, mean IoU", "a box, mean IoU", "recall", "precision"):
        assert line in told
    with Image.open(tmp_path / "run" / "verdict.png") as sheet:
        assert sheet.width > 1000
    measured = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert measured.keys() == {"before", "after"}
    model = tmp_path / "run" / "export"
    assert f"lavallama segment photo.jpg --model {model} --text {things[0]}" in told
    vocabulary = load_predictor(model).vocabulary
    assert vocabulary is not None
    assert vocabulary.names == things


def test_a_new_word_goes_through_the_export_and_is_found_again(base, tmp_path, capsys):
    data = coco(tmp_path / "data", names=("Blue_Robots", "alien"))
    assert train(data, base, tmp_path / "run") == 0
    assert "names: blue robots (written Blue_Robots), alien" in capsys.readouterr().out
    old, new = load_predictor(base), load_predictor(tmp_path / "run" / "export")
    assert new.model.config.vocabulary > old.model.config.vocabulary
    old.model.half().float()  # as the other was written
    known = ["llama", "the dog"]
    assert all(torch.equal(new.words.classes([w]), old.words.classes([w])) for w in known)
    names = ["blue robots", "alien", "llama", "dog"]
    likeness = new.words.classes(names)[:4]
    assert (likeness @ likeness.T - torch.eye(4)).max() < 0.9
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(0))
    model = str(tmp_path / "run" / "export")
    asked = ["segment", str(photo), "--model", model, "--text", "Blue robots"]
    assert lavallama([*asked, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0


@pytest.mark.usefixtures("quick_words")
def test_a_run_goes_on_with_nothing_else_and_ends_with_the_same_bits(base, tmp_path, capsys):
    data = coco(tmp_path / "data")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    more = ("--learning-rate", "1e-3", "--warmup", "1", "--ema", "0.5", "--schedule", "constant")
    assert train(data, base, whole, *more, "--steps", "4") == 0
    assert train(data, base, cut, *more) == 0
    assert main(["seem", "--runs", str(cut), "--steps", "4", "--device", "cpu"]) == 0
    one, two = checkpoint(whole), checkpoint(cut)
    assert one["step"] == two["step"] == 4
    for part in ("parameters", "average"):
        assert all(torch.equal(one[part][k], two[part][k]) for k in one[part])
    capsys.readouterr()
    other = coco(tmp_path / "other", count=3)
    for arguments, words in (
        (["--data", str(other)], "was begun with data"),
        (["--data", str(data), "--learning-rate", "0.5"], "learning rate"),
        (["--size", "96"], "size"),
        (["--data", str(other), "--export", str(tmp_path / "x")], "was begun with data"),
    ):
        assert main(["seem", "--runs", str(cut), "--init", base, *more, *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert words in error
    assert not (tmp_path / "x").exists()
    assert main(["seem", "--runs", str(cut), "--export", str(tmp_path / "x")]) == 0
    exported = (tmp_path / "x" / "model.safetensors").read_bytes()
    assert exported == (cut / "export" / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("quick_words")
def test_what_is_frozen_stays_and_the_rest_learns(base, tmp_path):
    data = coco(tmp_path / "data")
    assert train(data, base, tmp_path / "run", "--freeze", "backbone,text_encoder") == 0
    before, after = load_predictor(base).model, load_predictor(tmp_path / "run" / "export").model
    old, new = before.backbone.state_dict(), after.backbone.state_dict()
    assert all(torch.allclose(old[key].half(), new[key].half()) for key in old)
    old, new = before.decoder.state_dict(), after.decoder.state_dict()
    assert not all(torch.equal(old[key].half(), new[key].half()) for key in old)


@pytest.mark.usefixtures("quick_words")
def test_what_cannot_be_used_costs_itself_and_strict_refuses_it(base, tmp_path, capsys):
    path = coco(tmp_path / "data")
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"segmentation": [], "bbox": [1, 2, 30, 40]}
    content["annotations"][2]["segmentation"] = [[1, 2, 3]]
    content["annotations"][4]["category_id"] = 9
    content["annotations"].append({**content["annotations"][1], "iscrowd": 1, "id": 99})
    content["images"].append({"id": 9, "file_name": "gone.png", "width": 90, "height": 70})
    content["annotations"].append({**content["annotations"][1], "image_id": 9, "id": 100})
    path.write_text(json.dumps(content))
    (tmp_path / "data" / "images" / "3.png").write_bytes(b"no picture")
    assert train(path, base, tmp_path / "run") == 0
    told = capsys.readouterr().out
    assert "3 pictures with 4 regions" in told  # the crowd has no name, and pixels of its own
    for reason in ("without an outline", "makes no sense", "does not name", "no such file"):
        assert reason in told
    assert len((tmp_path / "run" / "dropped.jsonl").read_text().splitlines()) == 5
    assert train(path, base, tmp_path / "strict", "--strict") == 2
    assert "--strict, and 5 entries are not usable" in capsys.readouterr().err
    assert not (tmp_path / "strict").exists()


@pytest.mark.usefixtures("quick_words")
def test_a_turned_photograph_is_learned_from_as_people_see_it(base, tmp_path, capsys):
    path = coco(tmp_path / "data")
    turned = picture(0).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "data" / "images" / "0.png", exif=exif)
    assert train(path, base, tmp_path / "run", "--strict") == 0
    assert "4 pictures with 8 regions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--held-out", "-1"], "--held-out must be at least 0"),
        (["--replay", "1"], "--replay must be at most 0.9"),
        (["--ema", "2"], "--ema must be at most 1"),
        (["--learning-rate", "nan"], "--learning-rate must be"),
        (["--freeze", "head"], "--freeze takes"),
        (["--init", "nobody/nothing-here", "--offline"], "unrecognized"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, words, base, tmp_path, capsys):
    try:
        code = train(tmp_path / "gone.json", base, tmp_path / "run", *arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_data_without_anything_to_learn_is_refused(base, tmp_path, capsys):
    path = coco(tmp_path / "boxes")
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        del one["segmentation"]
        one["bbox"] = [1, 2, 30, 40]
    path.write_text(json.dumps(content))
    assert train(path, base, tmp_path / "run") == 2
    assert "regions have outlines or masks; got none" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "empty", base, tmp_path / "run") == 2
    assert "expected pictures" in capsys.readouterr().err
    assert train(tmp_path / "gone.json", base, tmp_path / "run") == 2
    assert "gone.json" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
