"""The benchmark counts what was found, and what of it is true."""

import json

from benchmarks.annotate import annotate, matches, measure, parse, scenes, truth, write_pictures
from grounding.prompt import GroundedPrompt, Region


def region(phrase: str, *box: float) -> Region:
    return Region(phrase=phrase, box=box)


def test_each_object_is_found_once_by_what_fits_best():
    objects = [region("a", 0, 0, 0.5, 0.5), region("b", 0.5, 0.5, 1, 1)]
    found = [
        region("near", 0, 0, 0.5, 0.45),
        region("exact", 0, 0, 0.5, 0.5),
        region("far", 0.9, 0.5, 1, 1),
    ]
    assert matches(found, objects) == [(found[1], objects[0])]


def test_the_truth_scores_one_and_less_of_it_less(tmp_path):
    options = parse(["--source", "scenes", "--images", "6", "--captions"])
    asked = scenes(options)
    write_pictures(options, asked, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.txt"))) == 6
    exact = [truth(scene, f"{i:06d}.png") for i, scene in enumerate(asked)]
    thing = {"thing": True}
    documents = [
        document.replace(
            regions=tuple(r.replace(attributes=r.attributes | thing) for r in document.regions)
        )
        for document in exact
    ]

    def measured(some: list[GroundedPrompt]) -> dict:
        path = tmp_path / "documents.jsonl"
        path.write_text("".join(f"{json.dumps(one.to_dict())}\n" for one in some))
        return measure(path, asked)

    whole = measured(documents)
    assert whole["phrase"] == whole["name"] == whole["box"] == {"precision": 1, "recall": 1}
    assert whole["objects"] == sum(len(scene.stickers) for scene in asked)
    half = measured(documents[:3])
    assert half["box"]["precision"] == 1
    assert 0 < half["box"]["recall"] < 1
    wrong = [
        one.replace(regions=tuple(r.replace(phrase="pig") for r in one.regions))
        for one in documents
    ]
    told = measured(wrong)
    assert told["box"] == told["name"] == {"precision": 1, "recall": 1}
    assert told["phrase"] == {"precision": 0, "recall": 0}


def test_the_second_eye_names_better(tmp_path):
    right = []
    for embedder in ("embedded", "none"):
        options = parse(["--source", "scenes", "--images", "40", "--embedder", embedder])
        asked = scenes(options)
        write_pictures(options, asked, tmp_path / "pictures")
        folder, _, _ = annotate(options, tmp_path / "pictures")
        right.append(measure(folder / "documents.jsonl", asked)["phrase"])
    assert right[0]["precision"] > 0.8
    assert right[0]["precision"] > right[1]["precision"] + 0.01
    assert right[0]["recall"] > 0.6
