import pytest

from grounding.llava.evaluation.reading import (
    named,
    read_choice,
    read_count,
    read_letter,
    read_yes_no,
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", True),
        ("yes, there is a llama in the image.", True),
        ("There is a dog. It is not big.", True),
        ("No.", False),
        ("There isn't one. Yes?", False),
        ("I cannot see any", False),
        ("Nobody knows", True),  # as POPE has it: what does not deny agrees
        (" \n", None),
        ("...", None),
    ],
)
def test_yes_and_no(answer, said):
    assert read_yes_no(answer) is said


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("3", 3),
        ("There are three llamas and 2 dogs.", 3),
        ("Seventeen!", 17),
        ("There are no llamas", 0),
        ("There is a single llama.", 1),
        ("An owl", 1),
        ("There is one.", 1),
        ("many", None),
        ("", None),
        ("r2d2", None),
    ],
)
def test_numbers(answer, number):
    assert read_count(answer) == number


def test_the_choice_that_is_named_first():
    materials = ("ice", "gold", "rose gold", "plain")
    assert read_choice("It is made of GOLD, not ice.", materials) == "gold"
    assert read_choice("rose gold", materials) == "rose gold"
    assert read_choice("nice", materials) is None
    assert read_choice("Nothing special.", materials, {"plain": ("nothing",)}) == "plain"


CAPTIONS = ("a lava llama left of an ice dog", "an ice dog left of a lava llama")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("A", "A"),
        ("b.", "B"),
        ("(B) the second", "B"),
        ("B: an ice dog left of a lava llama", "B"),
        ("A lava llama left of an ice dog.", "A"),  # a caption, not a letter
        ("An ice dog, left of a lava llama!", "B"),
        ("The answer is B", "B"),
        ("A llama", None),
        ("a dog and a llama", None),
        ("", None),
    ],
)
def test_letters_and_captions(answer, letter):
    assert read_letter(answer, CAPTIONS) == letter


def test_a_longer_name_hides_those_inside_it():
    choices = ("dog", "hot dog", "llama", "lava llama", "cherry")
    said = "A lava llama, cherries, two hot dogs and a lava llama."
    assert named(said, choices) == ("lava llama", "cherry", "hot dog")
    assert named("dogma", choices) == ()
