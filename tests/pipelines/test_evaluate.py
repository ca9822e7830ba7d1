"""The measurement itself: true renderings score what they should, wrong ones do not."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from grounding.geometry import box_iou
from grounding.stickers import PRESETS, render
from pipelines.evaluate import main
from pipelines.evaluate.grounding import (
    Tally,
    box_of_difference,
    held_out_scenes,
    measure,
    report,
    to_prompt,
)

WORLD = PRESETS["small"]


class Oracle:
    """A judge that has read the request."""

    def __init__(self, scenes):
        self.answers = [
            [(s.concept, s.material or "plain") for s in scene.stickers] for scene in scenes
        ]

    def names(self, crops):
        answer = self.answers.pop(0)
        assert len(answer) == len(crops)
        return answer


class Renderer:
    """A generator that draws the scenes that it is asked for, perfectly or mirrored."""

    def __init__(self, scenes, mirrored=False):
        self.scenes = {to_prompt(scene).digest(): scene for scene in scenes}
        self.mirrored = mirrored

    def __call__(self, prompts, batch):
        images = [render(self.scenes[prompt.digest()]).image for prompt in prompts]
        images = [np.fliplr(image) if self.mirrored else image for image in images]
        return [
            dataclasses.make_dataclass("Drawn", ["image"])(Image.fromarray(np.ascontiguousarray(i)))
            for i in images
        ]


def test_requests_hold_caption_phrases_and_boxes():
    scene = WORLD.scene(3)
    document = to_prompt(scene)
    assert document.prompt == scene.caption
    assert [r.phrase for r in document.regions] == [s.phrase for s in scene.stickers]
    assert [r.box for r in document.regions] == [s.box for s in scene.stickers]


def test_half_of_the_scenes_are_of_each_kind():
    scenes = held_out_scenes(WORLD, 7)
    assert {split: len(s) for split, s in scenes.items()} == {"held-out": 4, "held-out pairs": 3}


def test_a_tally_counts_what_the_judge_names():
    scenes = [WORLD.scene(seed) for seed in range(20)]
    right, wrong = Tally(), Tally()
    for scene in scenes:
        image = render(scene).image
        right.add(scene, image, Oracle([scene]))
        other = dataclasses.replace(scene, stickers=scene.stickers[::-1])
        wrong.add(scene, image, Oracle([other]))
    assert right.rates()["concept_top1"] == right.rates()["material_top1"] == 1
    single = sum(len(s.stickers) % 2 for s in scenes)  # the middle one stays in its place
    assert wrong.concepts == single


@pytest.mark.parametrize("background", ["white", "pink", "lilac"])
def test_box_of_difference_finds_a_sticker_on_a_plain_background(background):
    world = dataclasses.replace(PRESETS["full"], backgrounds=(background,))
    overlaps = []
    for seed in range(30):
        scene = world.scene(seed, count=1)
        box = box_of_difference(render(scene).image)
        overlaps.append(box_iou(box, scene.stickers[0].box) if box else 0.0)
    assert np.mean(overlaps) > 0.85


def test_nothing_on_a_plain_background_has_no_box():
    assert box_of_difference(np.full((64, 64, 3), 250, np.uint8)) is None


def test_measure_tells_a_perfect_generator_from_a_mirrored_one():
    plain = dataclasses.replace(WORLD, backgrounds=("white", "pink"), counts=(1.0,))
    asked = [s for split in held_out_scenes(WORLD, 12).values() for s in split]
    on_plain = [plain.scene(seed, "held-out") for seed in range(2)]
    scores = [
        measure(Renderer(asked + on_plain, mirrored), Oracle(asked), WORLD, 12)
        for mirrored in (False, True)
    ]
    assert scores[0]["all"]["concept_top1"] == 1
    assert scores[0]["box_iou"] > 0.8 > scores[1]["box_iou"]


def test_the_report_has_a_row_for_each_measurement():
    rates = {"objects": 3, "concept_top1": 0.5, "material_top1": 0.25}
    scores = {"held_out": rates, "held_out_pairs": rates, "all": rates, "box_iou": 0.75}
    results = {"model": "m", "preset": "small", "scenes": 3, "rendered": rates, "gated": scores}
    text = report(results)
    assert "| with gates | 0.500 | 0.500 | 0.250 | 0.750 |" in text
    assert "without gates" not in text


def test_a_missing_judge_is_one_line(tmp_path, capsys):
    assert main(["grounding", "--judge", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "pipelines.train judge" in err


def test_without_a_task_the_tasks_are_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "grounding" in out
    assert "segmentation" in out


def test_an_unknown_task_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["colours"])
    err = capsys.readouterr().err
    assert err == (
        "lavallama evaluate: error: no task 'colours': choose from grounding, segmentation\n"
    )
