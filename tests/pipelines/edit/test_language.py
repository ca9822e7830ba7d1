"""The line language: what can be said, and what is answered to the rest."""

import json

import pytest

from grounding.errors import PromptError
from grounding.region import Point
from pipelines.edit.add import Add
from pipelines.edit.language import read_line, read_script
from pipelines.edit.move import Move
from pipelines.edit.options import USAGE
from pipelines.edit.recolour import Recolour
from pipelines.edit.remove import Remove
from pipelines.edit.replace import Replace
from pipelines.edit.select import Select

SAID = {
    'select "lava llama"': Select(phrase="lava llama"),
    "select r1": Select(phrase="r1"),
    "select 0.4,0.5 -0.1,0.2": Select(points=(Point(xy=(0.4, 0.5)), Point(xy=(0.1, 0.2), label=0))),
    "select 0.1,0.2,0.5,0.9": Select(box=(0.1, 0.2, 0.5, 0.9)),
    "select dog 0.1,0.2": Select(phrase="dog", points=(Point(xy=(0.1, 0.2)),)),
    'select all "dog"': Select(phrase="dog", all=True),
    "select all": Select(phrase="all"),
    "remove": Remove(),
    "remove r1 by=telea # gone": Remove(region="r1", by="telea"),
    "move 0.2,-0.1": Move(by=(0.2, -0.1)),
    "move r1 -0.2,0 seed=3 harmonise=0.4": Move(region="r1", by=(-0.2, 0), seed=3, harmonise=0.4),
    'move "lava llama" to 0.5,0.5': Move(region="lava llama", to=(0.5, 0.5)),
    'replace r1 "ice cat"': Replace(region="r1", phrase="ice cat"),
    "replace cat whole=true feather=2": Replace(phrase="cat", whole=True, feather=2),
    'add "gold crown" 0.4,0,0.6,0.2': Add(phrase="gold crown", box=(0.4, 0, 0.6, 0.2)),
    "recolour teal": Recolour(colour="teal"),
    'recolour r1 "#ff0000"': Recolour(region="r1", colour="#ff0000"),
    "recolour r1 of ice": Recolour(region="r1", material="ice"),
    "recolour of ice steps=4": Recolour(material="ice", steps=4),
    "undo": "undo",
    "redo": "redo",
}


@pytest.mark.parametrize("line", SAID)
def test_lines_are_steps(line):
    assert read_line(line) == SAID[line]


def test_the_help_shows_what_can_be_read():
    lines = [line[2:34].replace("[REGION] ", "") for line in USAGE.splitlines()[:12]]
    for line in lines:
        assert read_line(line.replace("[REGION]", "r1"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("melt r1", '"melt" is no edit: select, remove, move'),
        ('select "dog', "no closing quotation"),
        ("", "the line is empty"),
        ("undo r1", "undo stands alone"),
        ("select", "select: select something"),
        ("select lava llama", 'select: needs "WORDS".*got "lava llama": quote a phrase'),
        ("select 0.1,0.2,0.3", "a place is X,Y or X0,Y0,X1,Y1"),
        ("select 120,80", r"points\[0\].*|inside the canvas"),
        ("move", "move: ends with RIGHT,DOWN"),
        ("move r1", "move: ends with RIGHT,DOWN"),
        ("move r1 nan,0", "move: ends with RIGHT,DOWN"),
        ("move r1 30,2", r"move: by\[0\]"),
        ("move r1 r2 0,0", "needs one region at most"),
        ("replace", "replace: phrase"),
        ("add cat", 'needs "PHRASE" X0,Y0,X1,Y1'),
        ("add 0,0,1,1", 'needs "PHRASE" X0,Y0,X1,Y1'),
        ("add cat 0.5,0,0.1,1", "x0 must be below x1"),
        ("recolour", "recolour: colour"),
        ("recolour r1 lava", 'no colour is called "lava"'),
        ("remove speed=3", "remove: speed: unknown field"),
        ("remove seed=x", "remove: seed"),
        ("remove by=magic", "remove: by"),
        ("remove feather=-1", "unknown field"),
        ("move 0,0 feather=-1", "move: feather"),
    ],
)
def test_what_is_not_understood_is_one_line(line, problem):
    with pytest.raises(PromptError, match=problem) as raised:
        read_line(line)
    assert "\n" not in str(raised.value)


def test_scripts_are_lines_or_a_list():
    assert read_script("select r1 # him\n\n# nothing\nundo\n") == [Select(phrase="r1"), "undo"]
    steps = [{"do": "move", "by": [0.1, 0]}, "remove r1", "redo"]
    assert read_script(json.dumps(steps)) == [Move(by=(0.1, 0)), Remove(region="r1"), "redo"]
    for script, problem in (
        ("select r1\nmelt", 'line 2: "melt" is no edit'),
        ('["undo", {"do": "melt"}]', r'\[1\]: a step is an object with "do": select.*got "melt"'),
        ('["undo", 3]', r"\[1\]: a step is an object"),
        ('[{"do": "move"}]', r"\[0\]: a move says by how much"),
        ("[1", "is not valid JSON"),
    ):
        with pytest.raises(PromptError, match=problem):
            read_script(script)
