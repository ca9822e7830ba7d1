"""LLaVA's records: read strictly, written as they were, errors in one line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.drops import Drops
from grounding.errors import PromptError
from grounding.llava.records import Record, read_records, write_records
from tests.grounding.llava import tiny

SEEN = {
    "id": "7",
    "image": "coco/7.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "a llama"},
        {"from": "human", "value": "Of what?"},
        {"from": "gpt", "value": "lava"},
    ],
}


def saved(tmp_path, data, name="records.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def changed(**changes):
    return [{key: value for key, value in (SEEN | changes).items() if value is not None}]


def said(*turns):
    return changed(conversations=[{"from": who, "value": text} for who, text in turns])


def test_a_record_becomes_a_conversation(tmp_path):
    [record] = read_records(saved(tmp_path, [SEEN]))
    assert record == Record(
        id="7", image="coco/7.jpg", turns=("What is it?", "a llama", "Of what?", "lava")
    )
    picture = tiny.picture(8, 6)
    conversation = record.conversation(picture)
    assert conversation.pictures == (picture,)
    assert [turn.text for turn in conversation.turns] == list(record.turns)


def test_the_picture_stands_before_the_words_of_its_turn(tmp_path):
    turns = (("human", "Hi"), ("gpt", "Hello"), ("human", "Look\n<image>"), ("gpt", "Oh"))
    [record] = read_records(saved(tmp_path, said(*turns)))
    assert (record.shown, record.turns[2]) == (2, "Look")
    assert record.conversation(tiny.picture(4, 4)).turns[2].pictures


def test_words_alone_and_lines(tmp_path):
    words = {"id": 3, "model": "", "conversations": SEEN["conversations"][2:]}
    text = "\n".join(json.dumps(item) for item in (words, SEEN)) + "\n"
    first, second = read_records(saved(tmp_path, text, "records.jsonl"))
    assert (first.id, first.image, second.image) == ("3", None, "coco/7.jpg")
    assert not first.conversation().pictures
    with pytest.raises(PromptError, match="about no picture, got one"):
        first.conversation(tiny.picture(4, 4))


@pytest.mark.parametrize("name", ["records.json", "records.jsonl"])
def test_what_is_written_reads_the_same(tmp_path, name):
    records = [
        Record(id="a", image="x/y.png", turns=("Q ü", "A\nB", "C", "D"), shown=2),
        Record(id="b", turns=("Q", "A")),
    ]
    write_records(records, tmp_path / name)
    assert read_records(tmp_path / name) == records


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "expected an array"),
        ([], "holds no records"),
        ([1], r"\[0\]: expected a record"),
        (changed(id=None), r"\[0\].id"),
        (changed(id=True), r"\[0\].id"),
        (changed(image=5), r"\[0\].image"),
        (changed(image="/etc/passwd"), "below the folder"),
        (changed(image="../7.jpg"), "below the folder"),
        (changed(image="..\\7.jpg"), "below the folder"),
        (changed(image=None), "nowhere.*1 times"),
        (changed(conversations=[]), "expected turns"),
        (said(("human", "no mark"), ("gpt", "x")), "once.*0 times"),
        (said(("human", "<image><image>"), ("gpt", "x")), "once.*2 times"),
        (said(("human", "a"), ("gpt", "<image>")), "only the human"),
        (said(("human", "<image>")), "the last word must be gpt's"),
        (said(("gpt", "x"), ("human", "<image>")), "the last word must be gpt's"),
        (said(("human", "<image>"), ("human", "x")), r"\[1\].from: expected 'gpt', got \"human\""),
        (changed(image=["7.jpg", "8.jpg"]), "expected the name of a file, got a list of 2"),
        (said(("human", "<image>"), ("gpt", " ")), r"\[1\].value: expected text"),
        ("[{", "not valid JSON"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, data, message):
    path = saved(tmp_path, data)
    with pytest.raises(PromptError, match=message) as error:
        read_records(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


def test_what_the_papers_code_leaves_out_is_left_out_and_counted(tmp_path):
    turns = (("gpt", "Hi."), ("human", "<image>a"), ("gpt", "b"), ("human", "c"))
    [item] = said(*turns)
    broken = {"id": 1}
    drops = Drops()
    [record] = read_records(saved(tmp_path, [item | {"image": [item["image"]]}, broken]), drops)
    assert record.turns == ("a", "b")
    assert record.image == item["image"]
    assert drops.changed_regions == {
        "a first turn of gpt's left out": 1,
        "a last turn of the human's left out": 1,
    }
    assert drops.lost_pictures == {"a record that makes no sense": 1}
    with pytest.raises(PromptError, match=r"holds no records; the first: \[0\]"):
        read_records(saved(tmp_path, [broken]), Drops())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "image", "conversations", "from", "value"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
@settings(max_examples=60, deadline=None)
def test_nothing_else_is_ever_raised(tmp_path_factory, data):
    path = saved(tmp_path_factory.mktemp("any"), [data])
    try:
        records = read_records(path)
    except PromptError as error:
        problem = str(error)
    else:
        problem = ""
        assert all(record.turns for record in records)
    assert "\n" not in problem
