import pytest

from gligen.sampler import SCHEDULERS as IMPLEMENTED
from pipelines.generation.options import SCHEDULERS, generate_parser


def test_the_options_name_every_scheduler():
    assert set(SCHEDULERS) == set(IMPLEMENTED)


def test_what_was_not_given_is_none():
    options = vars(generate_parser().parse_args([]))
    given = {name for name, value in options.items() if value not in (None, False)}
    assert given == {"units", "images", "batch", "device", "dtype", "attention"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.3,0,0.7", (0.3, 0.0, 0.7)), ("1,0,0", (1, 0, 0)), (".7,.2,.1", (0.7, 0.2, 0.1))],
)
def test_schedules(text, value):
    assert generate_parser().parse_args(["--schedule", text]).schedule == value


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", "0"],
        ["--steps", "1001"],
        ["--steps", "ten"],
        ["--width", "-64"],
        ["--images", "1000000000"],
        ["--images", "0"],
        ["--seed", "-1"],
        ["--seed", str(2**63)],
        ["--guidance", "nan"],
        ["--guidance", "inf"],
        ["--scheduler", "euler"],
        ["--schedule", "0.5,0.1,0.1"],
        ["--schedule", "nan,0,1"],
        ["--schedule=-1,1,1"],
        ["--schedule", "1"],
        ["--units", "inches"],
        ["--overlay", "a.png", "--no-overlay"],
        ["--bogus"],
        ["--step", "3"],
        ["stray"],
        ["--reference", "r1"],
        ["--reference", "=a.png"],
        ["--map", "shadow=a.png"],
        ["--map", "canny"],
        ["--blend", "-1"],
    ],
)
def test_wrong_options_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        generate_parser().parse_args(arguments)
    said = capsys.readouterr()
    assert left.value.code == 2
    assert said.out == ""
    assert said.err.startswith("lavallama generate: error: ")
    assert said.err.count("\n") == 1


def test_help_shows_every_option_with_an_example(capsys):
    with pytest.raises(SystemExit) as left:
        generate_parser().parse_args(["--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert "example:" in said
    options = "prompt boxes negative seed steps guidance schedule scheduler model adapter width "
    options += "height images out device dtype attention overlay strict offline units from-image "
    options += "reference map image blend image-encoder vae text-encoder"
    for option in options.split():
        assert f"--{option} " in said
    assert max(map(len, said.splitlines())) <= 100
