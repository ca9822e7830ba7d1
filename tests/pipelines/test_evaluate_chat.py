"""The command: what it asks, prints and writes, with answers that are right, and with scripts."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.llava.box_text import find_dialect
from grounding.llava.decoding import GREEDY
from grounding.llava.evaluation.question import Question
from grounding.prompt import GroundedPrompt, Region
from grounding.stickers.plans import draw_request, lay_out
from grounding.stickers.questions import box_text
from grounding.stickers.world import PRESETS
from pipelines.conversation import speaker
from pipelines.evaluate import main
from pipelines.evaluate.chat_data import Seeing, open_data
from pipelines.evaluate.chat_marks import mark
from pipelines.evaluate.chat_options import TASKS
from pipelines.segmentation import segmenter
from seem.vocabulary import Vocabulary
from tests.grounding.llava import tiny
from tests.seem.evaluation.folders import instances_file, panoptic_folder
from weights.llava import llava_state, write_llava

SCENES = ("--scenes", "6")


def run(*arguments):
    return main(["chat", *map(str, arguments)])


def refused(capsys, *arguments):
    try:
        code = run(*arguments)
    except SystemExit as left:
        code = left.code
    assert code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lavallama evaluate chat: error: ")
    return line


class Script:
    """Says the same to everyone, and remembers what it was asked."""

    def __init__(self, answer):
        self.said, self.asked = answer, []

    def answer(self, conversation, decoding=GREEDY):
        self.asked.append(conversation)
        return self.said

    def stream(self, conversation, decoding=GREEDY):
        yield self.answer(conversation, decoding)


@pytest.fixture
def script(monkeypatch):
    made = Script("Yes.")
    monkeypatch.setattr(speaker, "open_speaker", lambda *_, **__: made)
    return made


def right_answer(record):
    """What a model would say that knows everything."""
    label, kind = record["label"], record["kind"]
    if kind == "box":
        return box_text(label)
    if kind == "caption":
        return "I see " + " and ".join(f"a {phrase}" for phrase in label)
    return label


def test_right_answers_are_right(tmp_path, capsys):
    questions = tmp_path / "q.jsonl"
    tasks = ",".join(task for task in TASKS if task != "plan")
    assert run(*SCENES, "--tasks", tasks, "--questions", questions) == 0
    records = [json.loads(line) for line in questions.read_text().splitlines()]
    pictures = {path.name for path in (tmp_path / "q").iterdir()}
    assert {record["image"] for record in records} <= pictures
    answers = tmp_path / "a.jsonl"
    lines = [{"question_id": r["question_id"], "answer": right_answer(r)} for r in records]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "report"
    capsys.readouterr()
    found = ("--tasks", tasks, "--answers", answers, "--out", out, "--pictures", 2)
    assert run(*SCENES, *found, "--dialect", "llava-unpadded") == 0
    printed = capsys.readouterr().out
    results = json.loads(printed.splitlines()[-1])
    assert json.loads((out / "report.json").read_text()) == results
    for kind in ("random", "popular", "adversarial"):
        assert results[kind]["all"]["f1"] == 1
        assert results[kind]["all"]["yes_ratio"] == 0.5
        assert results[kind]["held-out pairs"]["accuracy"] == 1
    for task in ("counting", "attribute", "relation"):
        assert results[task]["all"]["accuracy"] == 1
    assert results["referring"]["all"]["iou"] > 0.95
    assert results["caption"]["all"] == {
        "questions": 6,
        "recall": 1.0,
        "chair_i": 0.0,
        "chair_s": 0.0,
        "exact": 1.0,
    }
    assert results["fits"]["all"]["text_score"] == 1
    text = (out / "report.md").read_text()
    for title in ("or not", "Questions", "Boxes", "Descriptions", "Which caption fits", "Examples"):
        assert title in text
    with Image.open(out / "pictures" / "referring.png") as sheet:
        assert sheet.width > 500
    again = tmp_path / "again"
    replay = ("--tasks", tasks, "--answers", out / "answers.jsonl", "--out", again)
    replay = (*replay, "--pictures", 0)
    assert run(*SCENES, *replay, "--dialect", "llava-unpadded") == 0
    ours, theirs = (json.loads((f / "report.json").read_text()) for f in (out, again))
    assert {k: v for k, v in ours.items() if k != "model"} == {
        k: v for k, v in theirs.items() if k != "model"
    }


def test_who_always_agrees_is_found_out(script, capsys):
    assert run(*SCENES, "--tasks", "pope,fits", "--model", "x", "--after", r"\nOne word.") == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["random"]["all"]["accuracy"] == 0.5
    assert results["random"]["all"]["yes_ratio"] == 1
    assert results["fits"]["all"]["unread"] == results["fits"]["all"]["questions"]
    texts = [(id(c.pictures[0]), c.turns[0].text) for c in script.asked]
    assert len(texts) == len(set(texts))  # what two sets ask is asked once
    assert all(text.endswith("\nOne word.") for _, text in texts)


def test_a_model_on_this_machine_is_asked_in_batches(tmp_path, capsys):
    made = tiny.llava()
    write_llava(llava_state(made), made.config, tmp_path / "llava", tokenizer=tiny.tokenizer())
    model = ("--model", tmp_path / "llava", "--max-tokens", 4, "--batch", 3)
    assert run("--scenes", 2, "--tasks", "counting,referring,plan", *model) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    for task in ("counting", "referring", "plan"):
        assert results[task]["all"]["questions"] == 2
    assert results["referring"]["all"]["iou"] == 0  # it knows nothing


def test_layouts_are_checked_against_the_request():
    world, dialect = PRESETS["small"], find_dialect("llava")
    for seed in range(20):
        generator = np.random.default_rng(seed)
        request = draw_request(world, generator, "held-out")
        names = [group.phrase for group in request.groups for _ in range(group.count)]
        boxes = lay_out(request, generator)
        lines = [f"{name}: {box_text(box)}" for name, box in zip(names, boxes, strict=True)]
        question = Question(
            text="", image="", task="plan", kind="plan", label=request.words, choices=world.concepts
        )
        assert mark(question, "\n".join(lines), dialect, None).is_right
        assert not mark(question, "\n".join(lines[1:]), dialect, None).is_right
        assert not mark(question, "nothing", dialect, None).is_right


def test_photographs_of_coco(script, tmp_path, capsys):
    folder = panoptic_folder(tmp_path / "photos")
    assert run("--data", folder, "--model", "x", "--limit", 1) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"random", "popular", "adversarial", "counting"} <= set(results)
    assert "referring" not in results  # there are no boxes
    assert results["random"]["all"]["recall"] == 1
    assert results["left_out"] == {"classes of crowds": 1}
    file = instances_file(tmp_path / "objects")
    data = json.loads(file.read_text())
    data["images"][0] |= {"width": 60, "height": 40}
    for number, entry in enumerate(data["annotations"]):
        entry["bbox"] = [10 * number, 5, 20, 30]
    file.write_text(json.dumps(data))
    script.said = "At [0.00, 0.25, 0.33, 0.75]."  # on the padded square
    assert run("--data", file, "--tasks", "referring,counting", "--model", "x") == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["referring"]["all"] | {"iou": 0} == {
        "questions": 1,  # there are two cars
        "iou": 0,
        "acc50": 1.0,
        "unread": 0,
    }
    assert results["referring"]["all"]["iou"] > 0.95
    assert results["counting"]["all"] == {
        "questions": 2,
        "accuracy": 0.0,
        "unread": 0,
        "majority": 0.5,
    }


def test_references_of_refcoco(script, tmp_path, capsys):
    instances_file(tmp_path)  # its dog has two parts, from 10, 10 to 40, 30 of 60 x 40 pixels
    sentences = [{"sent": "the dog in two parts"}]
    reference = {"ref_id": 0, "ann_id": 1, "image_id": 1, "split": "val", "sentences": sentences}
    (tmp_path / "refs(unc).json").write_text(json.dumps([reference]))
    script.said = "[0.17, 0.25, 0.67, 0.75]"
    asked = ("--data", tmp_path, "--model", "x", "--dialect", "llava-unpadded")
    assert run(*asked) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["referring"]["all"]["questions"] == 1
    assert results["referring"]["all"]["iou"] > 0.95
    assert "describes: the dog in two parts." in script.asked[0].turns[0].text


class Seer:
    """Sees the first class and the last on every picture."""

    vocabulary = Vocabulary(things=("llama", "dog"), stuff=("sky",))

    def class_names(self, classes=None):
        return classes or self.vocabulary.names

    def set_image(self, image):
        self.size = image.size

    def panoptic(self, classes=None):
        last = len(self.class_names(classes)) - 1
        return SimpleNamespace(segments=[SimpleNamespace(label=label) for label in (0, 0, last)])


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ((), {"llama": "yes", "dog": "no"}),  # not the sky, which is no thing
        (("--classes", "cat,tree-merged"), {}),  # all are there: nothing can be denied
        (("--classes", "cat,cup,bus"), {"cat": "yes", "bus": "yes", "cup": "no"}),
    ],
)
def test_what_is_on_pictures_alone_is_seen(options, labels, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(segmenter, "open_predictor", lambda *_, **__: Seer())
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    asked = ("--data", tmp_path / "a.png", "--questions", tmp_path / "q.jsonl", *options)
    if not labels:
        assert "there is nothing to ask" in refused(capsys, *asked)
        return
    assert run(*asked) == 0
    lines = map(json.loads, (tmp_path / "q.jsonl").read_text().splitlines())
    found = {line["text"].split()[3]: line["label"] for line in lines}
    assert found.items() <= labels.items()
    assert set(found.values()) == {"yes", "no"}
    assert not (tmp_path / "q").exists()  # the pictures are files already


def test_documents(script, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (40, 30), "red").save(pictures / "a.png")
    for name, phrases in (("one", ("lava llama",)), ("two", ("dog", "cat"))):
        regions = [{"phrase": phrase, "box": [0, 0, 0.5, 0.5]} for phrase in phrases]
        document = {"schema": "lavallama/prompt/v1", "image": "a.png", "regions": regions}
        (pictures / f"{name}.json").write_text(json.dumps(document))
    assert run("--data", pictures, "--model", "x") == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["left_out"] == {"further documents of an image": 1}
    assert results["referring"]["all"]["questions"] == 1


def test_pairs_of_ones_own(script, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for name in ("pink.png", "blue.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name)
    pair = {"image_0": "pink", "image_1": "blue.png", "caption_0": "Pink on blue."}
    file = tmp_path / "pairs-cones.jsonl"
    file.write_text(json.dumps(pair | {"caption_1": "Blue on pink."}) + "\n")
    script.said = "It is pink on blue!"
    assert run("--data", tmp_path, "--model", "x") == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["fits"]["all"] == {
        "questions": 2,
        "accuracy": 0.5,
        "unread": 0,
        "pairs": 1,
        "text_score": 0.0,
        "majority": 0.5,
    }
    file.write_text(json.dumps(pair) + "\n")
    assert "line 1: caption_1: is missing" in refused(capsys, "--data", file, "--model", "x")
    file.write_text(json.dumps(pair | {"caption_1": "x", "image_0": "none"}) + "\n")
    assert "'none' is in none of" in refused(capsys, "--data", file, "--model", "x")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--questions", "q", "--answers", "a"], "give one of them"),
        (["--pictures", "3", "--model", "x"], "say --out DIR too"),
        (["--questions", "{}/q", "--data", "/no/such"], "no such file or folder"),
        (["--questions", "{}/q", "--tasks", "sums"], "there is no 'sums'"),
        (["--questions", "{}/q", "--limit", "3"], "say --scenes"),
        (["--answers", "/no/such", "--scenes", "2"], "/no/such"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, problem, tmp_path, capsys):
    given = [argument.format(tmp_path) for argument in arguments]
    assert problem in refused(capsys, *given)


def test_an_empty_folder_says_what_was_expected(tmp_path, capsys):
    assert "found none of them" in refused(
        capsys, "--questions", tmp_path / "q", "--data", tmp_path
    )


def test_a_document_that_makes_no_sense_costs_itself(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    region = Region(phrase="llama", box=(0, 0, 1, 1))
    GroundedPrompt(image="a.png", regions=(region,)).save(tmp_path / "a.json")
    (tmp_path / "notes.json").write_text('{"name": "a package"')
    how = {"world": PRESETS["crowd"], "scenes": 1, "split": "val", "limit": None, "seeing": None}
    data = open_data(str(tmp_path), **how)
    assert [subject.name for subject in data.subjects] == ["a.png"]
    assert data.drops.lost_pictures == {"a document that makes no sense": 1}
    with pytest.raises(PromptError, match=r"notes.json: is not valid JSON"):
        open_data(str(tmp_path / "notes.json"), **how)


def test_files_of_coco_may_have_any_name(tmp_path):
    file = instances_file(tmp_path, "result.json")
    content = json.loads(file.read_text())
    content["images"].append({"id": 2, "file_name": "none.png"})
    file.write_text(json.dumps(content))
    how = {"world": PRESETS["crowd"], "scenes": 1, "split": "val", "limit": None, "seeing": None}
    assert "counting" in open_data(str(file), **how).tasks


def test_pictures_that_cannot_be_read_are_dropped_before_anything_is_asked(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        region = Region(phrase="llama", box=(0, 0, 1, 1))
        GroundedPrompt(image=f"{name}.png", regions=(region,)).save(tmp_path / f"{name}.json")
    seeing = Seeing(open=lambda: pytest.fail("nothing is to be looked at"))
    how = {"world": PRESETS["crowd"], "scenes": 1, "split": "val", "limit": None, "seeing": seeing}
    (tmp_path / "b.png").write_bytes(b"text")
    data = open_data(str(tmp_path), **how)
    assert [subject.name for subject in data.subjects] == ["a.png"]
    [named] = data.drops.named["a picture that cannot be read"]
    assert named.startswith("b.png: ")
    (tmp_path / "a.png").unlink()
    with pytest.raises(PromptError, match="none of the pictures can be read"):
        open_data(str(tmp_path), **how)
