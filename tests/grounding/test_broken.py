"""What cannot be read is told before the first step, and passed over in the middle."""

import json

import pytest

from grounding.broken import MOST_TRIES, Broken
from grounding.drops import DROPPED
from grounding.errors import PromptError

NAMES = [f"{number}.png" for number in range(5)]


def reader(*gone):
    def read(number):
        if number in gone:
            raise PromptError(f"{NAMES[number]}: is cut off")
        return f"picture {number}"

    return read


def test_the_next_comes_in_its_place(tmp_path, caplog):
    broken = Broken(report=tmp_path / DROPPED)
    assert broken.read(1, NAMES, reader(1, 2)) == (3, "picture 3")
    assert broken.read(4, NAMES, reader(4)) == (0, "picture 0")
    assert broken.read(1, NAMES, reader(1, 2)) == (3, "picture 3")
    lines = [json.loads(line) for line in (tmp_path / DROPPED).read_text().splitlines()]
    assert [line["name"] for line in lines] == ["1.png", "2.png", "4.png"]
    assert lines[0]["detail"] == "1.png: is cut off"
    assert caplog.text.count("1.png: is cut off") == 1


def test_what_breaks_later_is_passed_over_as_if_it_had_been_broken_before():
    before, later = Broken(), Broken()
    before.check("data", NAMES, reader(2))
    assert before.read(2, NAMES, reader(2)) == later.read(2, NAMES, reader(2))


def test_all_is_looked_at_first(tmp_path, caplog):
    broken = Broken(report=tmp_path / DROPPED)
    broken.check("mine.json", NAMES, reader(0, 3))
    assert "mine.json: dropped 2 pictures: cannot be read (such as 0.png: " in caplog.text
    assert (tmp_path / DROPPED).read_text().count("\n") == 2


def test_strict_refuses_what_it_finds(tmp_path):
    with pytest.raises(PromptError, match="--strict, and 2 entries"):
        Broken(strict=True).check("mine.json", NAMES, reader(0, 3))
    with pytest.raises(PromptError, match="3.png: is cut off"):
        Broken(strict=True).read(3, NAMES, reader(3))


def test_nothing_left_is_an_error():
    broken = Broken()
    with pytest.raises(PromptError, match=r"none of its 5 pictures .*0.png: is cut off"):
        broken.check("mine.json", NAMES, reader(*range(5)))
    with pytest.raises(PromptError, match="none of its 2 pictures"):
        Broken().check("mine.json", NAMES, reader(1, 4), among=[1, 4])
    with pytest.raises(PromptError, match="2.png: is cut off"):
        broken.read(2, NAMES, reader(*range(5)))
    assert MOST_TRIES < 10_000
