"""What is dropped is counted, and named in full."""

import json

import pytest

from grounding.drops import NAMED, Dropped, Drops
from grounding.errors import PromptError


def test_all_are_named_in_full(tmp_path):
    drops, path = Drops(), tmp_path / "dropped.jsonl"
    for number in range(NAMED + 3):
        drops.picture(f"{number}.png", Dropped("no such file"))
    drops.of_picture("a\u2028.png", [("a crowd", "annotations[3]")])
    drops.changed("b.png", [("a box clipped", "")])
    drops.write(path)
    lines = path.read_text("utf-8").splitlines()
    named = [json.loads(line) for line in lines]
    assert [entry["name"] for entry in named[:-2]] == [f"{n}.png" for n in range(NAMED + 3)]
    assert named[-2] == {
        "dropped": "region", "of": "a\u2028.png", "reason": "a crowd", "detail": "annotations[3]",
    }  # fmt: skip
    assert named[-1] == {"changed": "region", "of": "b.png", "reason": "a box clipped"}
    assert drops.lines() == [
        "0 pictures with 0 regions",
        f"dropped {NAMED + 3} pictures: no such file (such as 0.png)",
        "dropped 1 regions: a crowd (such as a\u2028.png: annotations[3])",
        "changed 1 regions: a box clipped (such as b.png)",
    ]
    assert len(drops.report()["such_as"]["no such file"]) == NAMED


def test_a_report_of_nothing_replaces_an_older_one(tmp_path):
    path = tmp_path / "dropped.jsonl"
    path.write_text("older")
    Drops().write(path)
    assert not path.exists()


def test_strict_names_the_first_and_the_count(tmp_path):
    drops = Drops()
    drops.refuse("data.json")
    drops.of_picture("a.png", [("a crowd", "annotations[3]")])
    drops.picture("b.png", Dropped("no such file"))
    with pytest.raises(PromptError, match=r"2 entries .* a.png: a crowd \(annotations\[3\]\)"):
        drops.refuse("data.json")
    drops.picture("c.png", Dropped("no such file"))
    drops.write(tmp_path / "dropped.jsonl")
    assert len((tmp_path / "dropped.jsonl").read_text().splitlines()) == 3
