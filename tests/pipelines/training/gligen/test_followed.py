"""Whether boxes are followed is said in words."""

from pathlib import Path

import pytest

from pipelines.training.gligen.followed import Followed

NAMES = ("with_boxes", "without_boxes", "shuffled_boxes")


def told(*errors):
    followed = Followed()
    for step, values in enumerate(errors):
        followed.numbers(step, {"loss": 1.0, **dict(zip(NAMES, values, strict=True))})
    return followed


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([], ""),
        ([(0.4, 0.5, 0.6)] * 3, "too early to tell (a picture's own boxes help in 3 of the last 3"),
        ([(0.4, 0.5, 0.6)] * 8, "boxes followed: they count (a picture's own boxes help in 8 of"),
        ([(0.5, 0.5, 0.5)] * 8, "boxes followed: not yet (a picture's own boxes help in 0 of"),
        ([(0.4, 0.5, 0.6), (0.6, 0.5, 0.4)] * 8, "boxes followed: not yet"),
        ([(0.6, 0.5, 0.4)] * 30 + [(0.4, 0.5, 0.6)] * 20, "they count"),  # the last ones tell
        ([(0.4, 0.5, 0.4)] * 8, "they count"),  # batches of one picture
    ],
)
def test_the_sentence(errors, words):
    assert words in told(*errors).sentence()


def test_what_was_measured_is_said_too(capsys):
    followed = told(*[(0.5, 0.5, 0.5)] * 8)
    followed.numbers(0, {"held_out/accuracy": 0.03})
    followed.numbers(600, {"held_out/accuracy": 0.09})
    followed.picture(600, Path("grid.png"))
    followed.close()
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith("train on; held-out accuracy 0.09 (first 0.03)")
