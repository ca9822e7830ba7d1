"""The benchmark of the loop: its requests and its sums."""

import argparse

from benchmarks.compose import _read, _summary, instances, requests
from grounding.prompt import GroundedPrompt, Region

JUDGED = {"objects": 2, "concepts": 1, "with_material": 1, "materials": 1}


def line(task: str, *, composed: bool) -> dict:
    right = {**JUDGED, "concepts": 2, "right": True, "eyes_right": True}
    wrong = {**JUDGED, "right": False, "eyes_right": False}
    return {
        "task": task,
        "pictures": 3,
        "seconds": 3.0,
        "first_seconds": 1.0,
        "once": wrong,
        "composed": right if composed else wrong,
    }


def test_tasks_take_turns() -> None:
    tasks = [task for task, _ in requests(12)]
    assert tasks[::3] == ["counting", "attribute", "spatial", "negation"]
    assert set(tasks[1::3]) == {"pairs"}
    assert set(tasks[2::3]) == {"many"}
    assert len({layout.name for _, layout in requests(40)}) == 40
    assert [layout.name for _, layout in requests(6)] == [layout.name for _, layout in requests(6)]


def test_sums() -> None:
    options = argparse.Namespace(pictures=8)
    lines = [line("counting", composed=True), line("spatial", composed=False)]
    told = _summary(lines, options)
    assert told["once"]["judge_pictures_right"] == 0
    assert told["composed"]["judge_pictures_right"] == 0.5
    assert told["composed"]["judge_objects"] == 0.75
    assert told["tasks"]["counting"]["composed"]["judge_pictures_right"] == 1
    assert (told["pictures"], told["seconds_once"], told["seconds_composed"]) == (3, 1, 3)


def test_the_judge_is_asked_for_every_region() -> None:
    box = (0.1, 0.1, 0.5, 0.5)
    plan = GroundedPrompt(
        regions=(Region(phrase="lava llama", box=box), Region(phrase="cherries", box=box))
    )
    assert [(one.noun, one.attribute) for one in instances(plan)] == [
        ("llama", "lava"),
        ("cherries", None),
    ]


def test_a_line_that_was_cut_off_is_done_anew(tmp_path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text('{"name": "a"}\n{"name": "b')
    assert list(_read(results)) == ["a"]
