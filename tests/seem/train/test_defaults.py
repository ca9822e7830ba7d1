"""The numbers of a run on somebody's own pictures: a rule that can be read from a table."""

from dataclasses import replace

import pytest

from seem.train.defaults import Base, choose, explain

STICKERS = Base(parameters=7_400_000, short_side=192, replays=True)
OFFICIAL = Base(parameters=140_000_000, short_side=512, replays=False)


@pytest.mark.parametrize(
    ("base", "pictures", "steps", "rate", "size", "frozen", "replay"),
    [
        (STICKERS, 3, 400, 5e-4, 192, ("backbone", "text_encoder"), 0.4),
        (STICKERS, 60, 1200, 5e-4, 192, ("backbone", "text_encoder"), 0.4),
        (STICKERS, 300, 6000, 5e-4, 192, ("backbone", "text_encoder"), 0.4),
        (STICKERS, 401, 6000, 5e-4, 192, ("text_encoder",), 0.4),
        (STICKERS, 100_000, 6000, 5e-4, 192, ("text_encoder",), 0.4),
        (OFFICIAL, 60, 1200, 5e-5, 512, ("backbone", "text_encoder"), 0.0),
        (OFFICIAL, 5000, 6000, 5e-5, 512, ("text_encoder",), 0.0),
    ],
)
def test_the_base_and_the_number_of_pictures_decide(
    base, pictures, steps, rate, size, frozen, replay
):
    chosen = choose(base, pictures)
    loop = chosen.recipe.loop
    assert (loop.steps, loop.learning_rate) == (steps, rate)
    assert list(chosen.recipe.sizes.values())[-1] == size
    assert all(each % 32 == 0 for each in chosen.recipe.sizes.values())
    assert (chosen.frozen, chosen.replay) == (frozen, replay)
    assert 0 < loop.warmup < steps
    assert 1 / (1 - loop.ema) <= steps / 2


def test_each_choice_names_its_reason_and_its_option():
    chosen = choose(STICKERS, 60)
    text = " ".join(explain(STICKERS, 60, chosen))
    flags = ("steps", "batch", "size", "learning-rate", "warmup", "schedule", "ema", "freeze")
    assert all(f"--{flag}" in text for flag in (*flags, "replay"))
    for shown in (
        "1200 steps of 8 pictures",
        "about 96 times",
        "0.0005",
        "7.4 M",
        "60 pictures",
        "40%",
    ):
        assert shown in text
    assert "replay" not in " ".join(explain(OFFICIAL, 60, choose(OFFICIAL, 60)))
    asked = replace(chosen, frozen=(), recipe=replace(chosen.recipe, batch=2))
    text = " ".join(explain(STICKERS, 60, asked))
    assert "1200 steps of 2 pictures" in text
    assert "frozen: nothing" in text


def test_what_is_asked_for_is_what_the_rest_goes_by():
    short = choose(STICKERS, 60, steps=2)
    assert short.recipe.loop.steps == 2
    assert short.recipe.loop.warmup == 1
    assert short.recipe.loop.ema == 0
    assert choose(STICKERS, 60, batch=4).recipe.loop.steps == 2400
