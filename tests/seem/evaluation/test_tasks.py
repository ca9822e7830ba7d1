"""Each task, asked of an oracle that knows the truth, and of the tiny random model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from grounding.stickers import PRESETS
from seem.evaluation import tasks as module
from seem.evaluation.sample import Sample, Truth
from seem.evaluation.sticker_source import sticker_film, sticker_source
from seem.evaluation.tasks import (
    ClickTask,
    MarkTask,
    PanopticTask,
    PhraseTask,
    ReferenceTask,
    objects,
)
from seem.evaluation.video_task import VideoTask
from seem.postprocess import Instances, Panoptic, Segment
from seem.question import Found, Prediction
from tests.seem.predicting import tiny_predictor

SMALL = PRESETS["small"]


def prediction(mask):
    masks = torch.from_numpy(np.asarray(mask)[None])
    return Prediction(masks=masks, scores=torch.ones(1), logits=masks.float())


class Oracle:
    """A predictor that looks the answer up."""

    def knows(self, text):
        return True

    def askable(self, classes):
        return list(range(len(classes)))

    def __init__(self, sample):
        self.sample = sample
        self.said = []

    def predict(self, *, text=None, reference=None, **drawn):
        self.said.append(drawn)
        if text is not None:
            [phrase] = [p for p in self.sample.phrases if p.text == text]
            return prediction(self.sample.union(phrase.targets))
        if reference is not None:
            return prediction(self.sample.truths[reference].mask)
        [(kind, value)] = drawn.items()
        return prediction(self._marked(kind, value))

    def _marked(self, kind, value):
        for _, truth in objects(self.sample):
            ys, xs = np.nonzero(truth.mask)
            if kind == "box" and value == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1):
                return truth.mask
            if kind == "mask" and value[truth.mask].all() and value.sum() < 2 * truth.mask.sum():
                return truth.mask
            if kind == "strokes" and truth.mask[value[0][:, 1], value[0][:, 0]].all():
                return truth.mask
        raise AssertionError(f"no object has this {kind}")

    def exemplar(self, image, *, mask):
        for case in self.sample.references:
            if case.image is image and case.mask is mask:
                return case.target
        raise AssertionError("no such reference")

    def find(self, texts):
        [text] = texts
        [search] = [s for s in self.sample.searches if s.text == text]
        masks = [self.sample.truths[target].mask for target in search.targets]
        stack = np.array(masks).reshape(-1, *self.sample.image.shape[:2]).astype(bool)
        return [Found(text, torch.from_numpy(stack), torch.ones(len(stack)), torch.zeros(0))]

    def panoptic(self, classes, *, things):
        ids, segments = self.sample.map()
        parts = [
            Segment(id=s.id, label=s.label, is_thing=classes[s.label] in things, score=1, area=1)
            for s in segments
        ]
        return Panoptic(map=torch.from_numpy(ids), segments=tuple(parts))

    def instances(self, classes, *, things):
        found = [truth for truth in self.sample.truths if truth.thing]
        return Instances(
            masks=torch.from_numpy(np.array([truth.mask for truth in found])),
            scores=torch.ones(len(found)),
            labels=torch.tensor([truth.label for truth in found]),
            queries=torch.zeros(len(found)),
        )

    def semantic(self, classes):
        labels = np.zeros(self.sample.image.shape[:2], np.int64)
        for truth in self.sample.truths:
            labels[truth.mask] = truth.label
        return torch.from_numpy(labels)


@pytest.fixture(scope="module")
def source():
    return sticker_source(SMALL, 4)


@pytest.fixture(scope="module")
def samples(source):
    return list(source.samples())


def result_of(task, samples):
    for sample in samples:
        task.add(Oracle(sample), sample)
    return task.result()


@pytest.mark.parametrize("kind", ["box", "scribble", "mask"])
def test_marks_that_are_understood_score_one(samples, kind):
    result = result_of(MarkTask(kind), samples)
    count = sum(len(objects(sample)) for sample in samples)
    assert result["all"]["objects"] == count
    assert result["all"]["iou"] == pytest.approx(1)
    assert sum(row["objects"] for name, row in result.items() if name != "all") == count
    if kind != "scribble":
        assert 0.3 < result["all"]["prompt"] < 0.95


def test_words_that_are_understood_score_one(samples):
    result = result_of(PhraseTask(), samples)
    phrases, searches = result["phrases"]["all"], result["searches"]["all"]
    assert phrases == {
        "phrases": sum(len(sample.phrases) for sample in samples),
        "ciou": 1,
        "miou": 1,
        "ap50": 1,
    }
    assert (searches["recall50"], searches["precision50"], searches["exact"]) == (1, 1, 1)
    assert list(result["phrases"])[-1] == list(result["searches"])[-1] == "all"


def test_references_that_are_understood_score_one(samples):
    result = result_of(ReferenceTask(), samples)
    assert result["all"]["iou"] == pytest.approx(1)
    assert result["all"]["ap50"] == 1


def test_classes_that_are_understood_score_one(source, samples):
    result = result_of(PanopticTask(source.classes, source.things), samples)
    assert result["pq"]["all"]["pq"] == pytest.approx(1)
    assert (
        result["pq"]["things"]["classes"] + result["pq"]["stuff"]["classes"]
        == (result["pq"]["all"]["classes"])
    )
    assert result["semantic"]["miou"] == 1
    assert result["instances"]["map"] == pytest.approx(1)
    assert result["images"] == result["maps"] == len(samples)


class Growing:
    """A session that finds five more rows of a square at each click, and tells who clicked."""

    rows = 5

    def __init__(self, predictor):
        self.predictor, self.clicks = predictor, []

    def __len__(self):
        return len(self.clicks)

    def click(self, x, y, label):
        self.clicks.append((x, y, label))
        self.predictor.append(self)
        mask = np.zeros((60, 60), bool)
        mask[10 : 10 + min(40, self.rows * len(self.clicks)), 10:50] = True
        return prediction(mask)


def square():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    return mask


def test_clicks_are_counted(monkeypatch):
    monkeypatch.setattr(module, "Session", Growing)
    sessions = []
    clicked = ClickTask().click(sessions, square())
    assert clicked.reached == pytest.approx([k / 8 for k in range(1, 9)])
    assert len({id(session) for session in sessions}) == 1
    x, y, label = sessions[0].clicks[0]
    assert square()[y, x]
    assert label == 1
    assert all(label == 1 for _, _, label in sessions[0].clicks)
    assert {kept: mask.sum() for kept, mask in clicked.masks.items()} == {1: 200, 5: 1000}
    task = ClickTask()
    image = np.zeros((60, 60, 3), np.uint8)
    truths = (
        Truth(mask=square(), label=0, group="a"),
        Truth(mask=square(), label=0, group="b"),
        Truth(mask=square(), label=0),
    )
    task.add(sessions, Sample(name="x", image=image, truths=truths))
    result = task.result()
    assert set(result) == {"a", "b", "all"}
    row = result["all"]
    assert (row["objects"], row["noc85"], row["noc90"]) == (2, 7, 8)
    assert (row["missed85"], row["missed90"]) == (0, 0)
    told = {"1": 1 / 8, "2": 2 / 8, "3": 3 / 8, "5": 5 / 8, "10": 1, "20": 1}
    assert row["iou"] == pytest.approx(told)


def test_objects_that_are_never_found_cost_twenty_clicks(monkeypatch):
    monkeypatch.setattr(module, "Session", Growing)
    monkeypatch.setattr(Growing, "rows", 1)
    task = ClickTask()
    truths = (Truth(mask=square(), label=0, group="a"),)
    task.add([], Sample(name="x", image=np.zeros((60, 60, 3), np.uint8), truths=truths))
    row = task.result()["all"]
    assert (row["noc85"], row["missed85"]) == (20, 1)
    assert row["iou"]["20"] == pytest.approx(0.5)


def test_nothing_to_measure_is_an_empty_result():
    assert ClickTask().result() == MarkTask("box").result() == ReferenceTask().result() == {}


def test_all_tasks_run_on_a_model_twice_alike(source, samples):
    def measured():
        predictor = tiny_predictor()
        asked = [
            ClickTask(rounds=3),
            *map(MarkTask, ("box", "scribble", "mask")),
            PhraseTask(),
            ReferenceTask(),
            PanopticTask(source.classes[:3], source.things & set(source.classes[:3])),
        ]
        sample = samples[0]
        truths = tuple(
            Truth(mask=t.mask, label=None if t.label > 2 else t.label, thing=t.thing, group=t.group)
            for t in sample.truths
        )
        changed = Sample(**{**vars(sample), "truths": truths})
        predictor.set_image(sample.image)
        for task in asked:
            task.add(predictor, changed)
        return [task.result() for task in asked]

    first = measured()
    assert first == measured()
    assert all(0 <= row["all"]["iou"] <= 1 for row in first[1:4])


class Copier:
    """A video predictor that returns the true ids of each frame."""

    film = sticker_film(SMALL, 0)

    def __init__(self, predictor):
        self.shown = {}
        predictor.append(self)

    def init(self, frames):
        assert frames is self.film.frames

    def add(self, frame, number, **drawn):
        assert frame == 0
        self.shown[number] = drawn

    def propagate(self):
        for index, ids in enumerate(self.film.ids):
            yield index, {number: torch.from_numpy(ids == number) for number in self.shown}


class Made(list):
    """Who was given a film, as a predictor that is good for all."""

    def for_image(self, image):
        return self


def test_films_that_are_followed_score_one(monkeypatch):
    from seem.evaluation import video_task

    monkeypatch.setattr(video_task, "VideoPredictor", Copier)
    task, made = VideoTask(), Made()
    task.add(made, Copier.film)
    result = task.result()
    assert result["mask"] == result["click"] == {"jf": 1, "j": 1, "f": 1}
    assert (result["films"], result["frames"]) == (1, 10)
    by_mask, by_click = made
    for number in Copier.film.objects:
        assert (by_mask.shown[number]["mask"] == (Copier.film.ids[0] == number)).all()
        [[x, y]] = by_click.shown[number]["points"]
        assert Copier.film.ids[0][y, x] == number


def test_films_with_nothing_to_measure_are_counted():
    task = VideoTask()
    film = Copier.film
    task.add(None, SimpleNamespace(ids=film.ids[:2], frames=film.frames[:2], objects=[1]))
    task.add(None, SimpleNamespace(ids=film.ids, frames=film.frames, objects=[]))
    assert task.left_out == 2
    assert task.result() == {"films": 0, "frames": 0}
