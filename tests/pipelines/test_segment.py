"""The command, on a tiny random model: what it writes, says and refuses, not what it finds."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grounding.find_file import coco_finder
from grounding.prompt import GroundedPrompt
from pipelines.cli import main as lavallama
from pipelines.edit.source import read_source
from pipelines.segment import main
from pipelines.segmentation import segmenter
from seem.coco import read_panoptic_png
from seem.frames import open_frames
from tests.pipelines.recogniser import tiny_whisper, tone, write_wav
from tests.pipelines.tiny_segmenter import write_segmenter
from tests.seem.predicting import HEIGHT, WIDTH, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_segmenter(tmp_path_factory.mktemp("seem") / "tiny")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A folder with pictures to ask about; what the command says to libraries is taken back."""
    monkeypatch.chdir(tmp_path)
    for variable in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        monkeypatch.setenv(variable, "error")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.delenv("LAVALLAMA_DEBUG", raising=False)
    Image.fromarray(picture()).save("llama.png")
    Image.fromarray(picture(1, 40, 60)).save("other.png")
    return tmp_path


@pytest.fixture
def tiny(folder):
    return ["--model", str(folder), "--device", "cpu"]


@pytest.fixture
def no_model(monkeypatch):
    """Opening a model is a failure: what is wrong must be said before."""

    def refuse(*_, **__):
        raise AssertionError("the model was opened")

    monkeypatch.setattr(segmenter, "open_predictor", refuse)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def document(name: str = "llama") -> GroundedPrompt:
    return GroundedPrompt.load(f"out/{name}.json")


def ids(path: str = "out/llama.mask.png") -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_clicks_give_an_overlay_a_document_and_a_mask(tiny, workplace, capsys):
    assert main(["llama.png", "--point", "30,20", "--point", "-5,40", *tiny]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    line, *files = said.out.splitlines()
    assert line.startswith("r1  object  0.")
    assert files == ["out/llama.overlay.png", "out/llama.json", "out/llama.mask.png"]
    assert names(workplace / "out") == sorted(Path(file).name for file in files)
    (region,) = document().regions
    assert [point.label for point in region.points] == [1, 0]
    assert region.points[1].xy == pytest.approx((5.5 / WIDTH, 40.5 / HEIGHT))
    assert region.score is not None
    assert document().image == "../llama.png"
    with Image.open("out/llama.overlay.png") as overlay:
        assert min(overlay.size) >= 512
        pixels = np.asarray(overlay)
    green, red = (
        np.abs(pixels.astype(int) - c).sum(-1) < 60 for c in ((46, 204, 64), (230, 40, 40))
    )
    assert green.sum() > 50
    assert red.sum() > 20
    masked = sum(region.mask.runs()[1::2]) if region.mask else 0
    assert (ids() == 1).sum() == masked
    assert ids().shape == (HEIGHT, WIDTH)


def test_the_same_question_gives_the_same_bytes(tiny, workplace):
    arguments = ["llama.png", "--box", "10,10,50,40", "--text", "a dog", *tiny]
    assert main([*arguments, "--out", "a"]) == 0
    assert main([*arguments, "--out", "b"]) == 0
    for name in names(workplace / "a"):
        assert (workplace / "a" / name).read_bytes() == (workplace / "b" / name).read_bytes()


def test_boxes_are_objects_of_their_own(tiny):
    boxes = ["--box", "5,5,30,30", "--box", "-3,20,60,45"]
    assert main(["llama.png", *boxes, "--text", "llama", *tiny]) == 0
    assert [region.phrase for region in document().regions] == ["llama", "llama"]


def test_a_box_and_clicks_are_one_object(tiny):
    drawn = ["--box", "5,5,40,40", "--point", "20,20", "--point", "-0,0"]
    assert main(["llama.png", *drawn, *tiny]) == 0
    assert len(document().regions) == 1


def test_three_masks_of_one_click(tiny, capsys):
    assert main(["llama.png", "--point", "30,20", "--multimask", *tiny]) == 0
    assert len(document().regions) == 3
    assert capsys.readouterr().out.count("object") == 3


def test_scribbles_and_masks(tiny):
    Path("lines.json").write_text("[[[5, 5], [30, 20]], [[6, 30], [9, 40], [20, 44]]]")
    strokes = [{"xy": [[0.9, 0.1], [1, 1]], "label": 0, "width": 0.05}]
    Path("strokes.json").write_text(json.dumps(strokes))
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8)
    bitmap[10:20, 10:30] = 255
    Image.fromarray(bitmap).save("mask.png")
    drawn = ["--scribble", "lines.json", "--scribble", "strokes.json"]
    assert main(["llama.png", *drawn, "--mask", "mask.png", *tiny]) == 0
    (region,) = document().regions
    assert [stroke.label for stroke in region.strokes] == [1, 1, 0]
    assert region.strokes[2].width == 0.05
    assert region.strokes[0].xy[0] == pytest.approx((5.5 / WIDTH, 5.5 / HEIGHT))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_numbers_of_a_mask_may_be_small(tiny, kind):
    bitmap = np.zeros((HEIGHT, WIDTH), kind)
    bitmap[10:20, 10:30], bitmap[30:40, 40:60] = 1, 200
    Image.fromarray(bitmap).save("mask.png")
    assert main(["llama.png", "--mask", "mask.png", *tiny]) == 0
    numbered = document()
    Image.fromarray(bitmap > 0).save("mask.png")
    assert main(["llama.png", "--mask", "mask.png", *tiny]) == 0
    assert document() == numbered


def test_one_line_without_a_list_around_it(tiny):
    Path("line.json").write_text("[[5, 5], [30, 20]]")
    assert main(["llama.png", "--scribble", "line.json", *tiny]) == 0
    assert len(document().regions[0].strokes) == 1


def test_texts_find_all_their_instances(tiny, capsys):
    words = ["--text", "the llama on the left", "--text", "dog", "--threshold", "0"]
    assert main(["llama.png", *words, *tiny]) == 0
    found = [region.phrase for region in document().regions]
    assert set(found) == {"the llama on the left", "dog"}
    assert len(capsys.readouterr().out.splitlines()) == len(found) + 3
    assert main(["llama.png", *words[:4], "--threshold", "1", *tiny]) == 0
    assert document().regions == ()
    assert "nothing was found; a lower --threshold" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["", "#20,10", "#5,5,40,30"])
def test_references_are_places_on_other_pictures(tiny, place):
    assert main(["llama.png", "--reference", f"other.png{place}", *tiny]) == 0
    (region,) = document().regions
    assert region.reference is not None
    assert region.reference.image == "../other.png"


def test_a_document_is_answered_region_by_region(tiny):
    Path("asked").mkdir()
    Image.fromarray(picture(2)).save("asked/like.png")
    regions = [
        {"id": "a", "points": [{"xy": [0.5, 0.5]}]},
        {"id": "b", "reference": {"image": "like.png"}},
        {"id": "c", "phrase": "dog"},
    ]
    Path("asked/doc.json").write_text(json.dumps({"regions": regions}))
    assert main(["llama.png", "--prompts", "asked/doc.json", *tiny]) == 0
    assert [region.id for region in document().regions] == ["a", "b", "c"]
    assert all(region.mask is not None for region in document().regions)


def test_everything_is_found_if_nothing_is_asked(tiny, workplace):
    assert main(["llama.png", "--threshold", "0.1", *tiny]) == 0
    told = json.loads(Path("out/llama.panoptic.json").read_text())
    segments = told["annotations"][0]["segments_info"]
    map_ = read_panoptic_png(Path("out/llama.panoptic.png").read_bytes())
    assert sorted(set(np.unique(map_)) - {0}) == [segment["id"] for segment in segments]
    assert len(segments) == len(document().regions)
    assert {entry["name"] for entry in told["categories"]} <= {"llama", "dog", "sky"}
    assert np.array_equal(ids(), map_)


@pytest.mark.parametrize("mode", ["--panoptic", "--instances", "--semantic"])
def test_classes_can_be_named(tiny, mode):
    assert main(["llama.png", mode, "--classes", "tree, lava  llama,tree", *tiny]) == 0
    asked = document().segment
    assert asked is not None
    assert asked.classes == ("tree", "lava llama")
    assert {region.phrase for region in document().regions} <= set(asked.classes)


def test_coco_s_format(tiny):
    assert main(["llama.png", "--box", "5,5,40,40", "--save", "coco", *tiny]) == 0
    told = json.loads(Path("out/llama.coco.json").read_text())
    assert told["images"] == [
        {"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "../llama.png"}
    ]
    assert {"bbox", "segmentation", "area", "score"} <= told["annotations"][0].keys()


def test_spoken_words_ask_as_typed_ones(tiny, workplace, capsys):
    hear = ["--audio", str(write_wav(workplace / "a.wav", tone())), "--asr"]
    whisper = str(tiny_whisper(workplace / "whisper"))
    assert main(["llama.png", *hear, whisper, "--threshold", "0", *tiny]) == 0
    heard = capsys.readouterr().out.splitlines()[0].removeprefix("heard: ")
    spoken = document()
    assert {region.phrase for region in spoken.regions} == {heard}
    assert main(["llama.png", "--text", heard, "--threshold", "0", *tiny]) == 0
    assert document() == spoken
    prompts = {"regions": [{"id": "r1", "audio": "a.wav"}]}
    Path("said.json").write_text(json.dumps(prompts))
    assert main(["llama.png", "--prompts", "said.json", "--asr", whisper, *tiny]) == 0
    assert document().region("r1").phrase == heard


def test_pictures_are_seen_as_people_see_them(tiny):
    turned = Image.fromarray(picture())
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save("turned.jpg", exif=exif)
    assert main(["turned.jpg", "--point", "10,60", *tiny]) == 0
    assert ids("out/turned.mask.png").shape == (WIDTH, HEIGHT)


WRONG = [
    (["llama.png", "--point", "70,20"], "must lie on the image of 70 x 50 pixels"),
    (["llama.png", "--point", "1,2,3"], "must be X,Y in pixels"),
    (["llama.png", "--point", "nan,2"], "must be X,Y in pixels"),
    (["llama.png", "--point", "-5,40"], "only clicks and lines beside the object"),
    (["llama.png", "--box", "30,5,10,20"], "needs X0 < X1"),
    (["llama.png", "--box", "80,60,90,70"], "must overlap the image"),
    (["llama.png", "--point", "5,5", "--box", "1,1,9,9", "--box", "2,2,9,9"], "show one object"),
    (["llama.png", "--point", "5,5", "--text", "a", "--text", "b"], "one --text at most"),
    (["llama.png", "--text", "  "], "at least one word"),
    (["llama.png", "--panoptic", "--point", "5,5"], "leave prompts out"),
    (["llama.png", "--panoptic", "--semantic"], "not allowed with"),
    (["llama.png", "--classes", " , "], "must be names"),
    (["llama.png", "--text", "a", "--classes", "b"], "ask with --text"),
    (["llama.png", "--text", "a", "--multimask"], "finds all its instances"),
    (["llama.png", "--point", "5,5", "--threshold", "0.3"], "--threshold is for"),
    (["llama.png", "--audio", "a.wav"], "needs --asr"),
    (["llama.png", "--frame", "3"], "are for --video"),
    (["llama.png", "--video"], "needs an object to follow"),
    (["nothing.png"], "no such file"),
    (["broken.png"], "is not a whole picture"),
    (["."], "is a folder"),
    (["llama.png", "--mask", "other.png"], "picture's size of 70 x 50 pixels; got 60 x 40"),
    (["llama.png", "--mask", "black.png"], "all of it is black"),
    (["llama.png", "--scribble", "broken.png"], "broken.png:"),
    (["llama.png", "--scribble", "number.json"], "expected a list of lines"),
    (["llama.png", "--scribble", "strange.json"], "line 1: expected"),
    (["llama.png", "--reference", "nothing.png#1,2"], "nothing.png: no such file"),
    (["llama.png", "--reference", "other.png#65,2"], "image of 60 x 40 pixels"),
    (["llama.png", "--reference", "other.png#1,2,3"], "a place is X,Y or"),
    (["llama.png", "--prompts", "number.json"], "number.json:"),
    (["llama.png", "--prompts", "empty.json"], "asks for nothing"),
    (["llama.png", "--prompts", "empty.json", "--text", "a"], "leave others out"),
    (["llama.png", "--out", "llama.png"], "llama.png"),
    (["llama.mask.png", "--mask", "llama.mask.mask.png", "--out", "."], "while it is read"),
    (["other.png", "--video", "--point", "5,5"], "is a picture and no video"),
    (["broken.mp4", "--video", "--point", "5,5"], "is no video that can be read"),
    (["nothing.mp4", "--video", "--point", "5,5"], "no such file"),
    (["empty", "--video", "--point", "5,5"], "has no pictures"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_input_is_one_line_before_any_model(arguments, message, no_model, workplace, capsys):
    Path("broken.png").write_bytes(Path("llama.png").read_bytes()[:300])
    Path("broken.mp4").write_bytes(b"ftyp" * 100)
    Path("number.json").write_text("3")
    Path("strange.json").write_text('[[[1, 2]], [["a", 2]]]')
    Path("empty.json").write_text('{"schema": "lavallama/prompt/v1"}')
    Path("empty").mkdir()
    Image.new("L", (WIDTH, HEIGHT)).save("black.png")
    for name in ("llama.mask.png", "llama.mask.mask.png"):
        Image.fromarray(picture()).save(name)
    before = names(workplace)
    try:
        code = main(arguments)
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("lavallama segment: error: ")
    assert message in said.err
    assert names(workplace) == before


def test_a_model_that_is_not_there_leaves_nothing_behind(workplace, capsys):
    assert main(["llama.png", "--model", "/nowhere.pt"]) == 2
    assert "/nowhere.pt: no such file" in capsys.readouterr().err
    assert names(workplace) == ["llama.png", "other.png"]


def test_objects_are_followed_through_a_video(tiny, workplace, capsys):
    Path("frames").mkdir()
    for index in range(4):
        Image.fromarray(np.roll(picture(), 3 * index, axis=1)).save(f"frames/{index}.png")
    shown = ["--frame", "2", "--box", "5,5,40,40", "--box", "30,20,65,45"]
    arguments = ["frames", "--video", *shown, "--memory", "2", *tiny]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("1  object  on ")
    assert lines[2:] == ["out/frames.overlay.mp4", "out/frames.masks", "out/frames.json"]
    assert names(Path("out/frames.masks")) == [f"0000{index}.png" for index in range(4)]
    told = json.loads(Path("out/frames.json").read_text())
    assert [entry["frame"] for entry in told["frames"]] == [0, 1, 2, 3]
    for entry in told["frames"]:
        regions = GroundedPrompt.model_validate(entry["document"]).regions
        seen = set(np.unique(ids(f"out/frames.masks/{entry['frame']:05d}.png"))) - {0}
        assert {int(region.id) for region in regions} == seen
    assert len(open_frames("out/frames.overlay.mp4")) == 4
    assert main(arguments) == 0  # replaces what it wrote
    Path("out/frames.masks/notes.txt").write_text("mine")
    assert main(arguments) == 2
    assert "holds notes.txt" in capsys.readouterr().err


def test_it_is_a_subcommand(capsys):
    with pytest.raises(SystemExit) as left:
        lavallama(["segment", "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert "how prompts combine" in said
    assert max(map(len, said.splitlines())) <= 100


def test_what_is_written_is_read_back_from_anywhere(tiny, workplace, monkeypatch):
    (workplace / "photos").mkdir()
    Path("llama.png").rename("photos/llama.png")
    options = ["--panoptic", "--save", "coco", "--out", "out/deep"]
    assert main(["photos/llama.png", *options, *tiny]) == 0
    monkeypatch.chdir(workplace / "photos")
    shown, told = read_source(workplace / "out/deep/llama.json")
    assert np.array_equal(np.asarray(shown), picture())
    assert told.image is not None
    for ending in ("coco", "panoptic"):
        path = workplace / f"out/deep/llama.{ending}.json"
        [image] = json.loads(path.read_text())["images"]
        assert coco_finder(path, [image])(image["file_name"]).samefile("llama.png")
