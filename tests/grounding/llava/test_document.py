import numpy as np
import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.llava.box_text import find_dialect
from grounding.llava.document import conversation_of, with_answer, with_question
from grounding.llava.marks import draw_marks, marks_in, name_marks
from grounding.llava.region_text import text_to_regions
from grounding.masks import bitmap_to_rle, box_to_bitmap
from grounding.prompt import GroundedPrompt, Region
from tests.grounding.llava.tiny import picture

LLAVA = find_dialect("llava")
PICTURE = Image.new("RGB", (200, 100), "gray")
REGIONS = (
    Region(id="a", phrase="llama", box=(0.1, 0.2, 0.4, 0.8)),
    Region(id="b", mask=bitmap_to_rle(box_to_bitmap((0.5, 0.0, 1.0, 1.0), (200, 100)))),
    Region(id="c", phrase="nowhere"),
)


def asked(*content, regions=REGIONS, **more) -> GroundedPrompt:
    parts = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    messages = [{"role": "user", "content": parts}]
    return GroundedPrompt.model_validate({"regions": regions, "messages": messages, **more})


def pointing(*ids: str) -> dict:
    return {"type": "region", "ids": ids}


def test_regions_reach_the_model_as_boxes_in_words():
    document = asked(pointing("a", "b"), "What are these?")
    conversation = conversation_of(document, PICTURE, dialect=LLAVA)
    [turn] = conversation.turns
    assert turn.pictures == (PICTURE,)
    # in the padded square
    assert turn.text == "[0.10, 0.35, 0.40, 0.65], [0.50, 0.25, 1.00, 0.75] What are these?"
    view = find_dialect("qwen3-vl").view(PICTURE.size)
    other = conversation_of(document, PICTURE, dialect=find_dialect("qwen3-vl"), view=view)
    assert other.turns[0].text.startswith("[100, 200, 400, 800], ")


def test_regions_reach_the_model_as_numerals():
    document = asked("Compare", pointing("b", "a"), "with", pointing("b"))
    conversation = conversation_of(document, PICTURE, dialect=LLAVA, showing="marks")
    [turn] = conversation.turns
    assert turn.text == "Compare regions 1 and 2 with region 1"
    [shown] = turn.pictures
    assert shown.size == PICTURE.size
    changed = np.asarray(shown) != np.asarray(PICTURE)
    assert changed[:, 100:].any()
    assert changed[20:80, 20:80].any()
    assert np.asarray(PICTURE).std() == 0


def test_regions_reach_the_model_as_crops():
    image = picture(200, 100)
    document = asked(pointing("a"), "What is this?")
    conversation = conversation_of(document, image, dialect=LLAVA, showing="crops")
    whole, crop = conversation.turns[0].pictures
    assert whole is image
    assert crop.size == (72, 72)  # 60 x 60, and a margin
    assert np.array_equal(np.asarray(crop), np.asarray(image)[14:86, 14:86])


def test_other_pictures_and_the_system_have_their_place():
    other = picture(5, 5)
    document = GroundedPrompt.model_validate(
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": [{"type": "image", "image": "b.png"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "So."}]},
                {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
            ]
        }
    )
    conversation = conversation_of(document, PICTURE, dialect=LLAVA, pictures={"b.png": other})
    assert conversation.system == "Be brief."
    assert conversation.pictures == (PICTURE, other)
    assert conversation.asks
    alone = conversation_of(document, None, dialect=LLAVA, pictures={"b.png": other})
    assert alone.pictures == (other,)


@pytest.mark.parametrize(
    ("document", "image", "problem"),
    [
        (GroundedPrompt(), PICTURE, "no messages"),
        (asked(pointing("c")), PICTURE, 'region "c" has no box'),
        (asked(pointing("a")), None, "there is no picture"),
        (asked({"type": "image", "image": "b.png"}), PICTURE, 'no picture "b.png"'),
        (asked({"type": "audio", "audio": "b.wav"}), PICTURE, "has no transcript yet"),
        (
            asked(messages=[{"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}]),
            PICTURE,
            "turn 0 must be the user's",
        ),
        (
            asked(
                messages=[
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    {"role": "system", "content": [{"type": "text", "text": "Be brief"}]},
                ]
            ),
            PICTURE,
            "the system speaks first",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(document, image, problem):
    with pytest.raises(PromptError, match=problem):
        conversation_of(document, image, dialect=LLAVA)


def test_answers_become_parts_of_the_document():
    document = asked("Where is the volcano?", regions=(Region(id="a1", box=(0, 0, 1, 1)),))
    view = LLAVA.view(PICTURE.size)
    answer = "The volcano [0.50, 0.25, 1.00, 0.75]."
    found = text_to_regions(answer, LLAVA, view)
    told = with_answer(document, answer, found)
    assert [region.id for region in told.regions] == ["a1", "a2"]
    assert told.regions[1].box == (0.5, 0.0, 1.0, 1.0)
    assert told.messages[-1].role == "assistant"
    assert GroundedPrompt.model_validate(told.to_dict()) == told
    again = with_question(told, "What is beside it?", ("a2",))
    conversation = conversation_of(again, PICTURE, dialect=LLAVA)
    assert [turn.role for turn in conversation.turns] == ["user", "assistant", "user"]
    assert conversation.turns[-1].text == "What is beside it? [0.50, 0.25, 1.00, 0.75]"


def test_marks_are_named_and_read():
    assert name_marks([1]) == "region 1"
    assert name_marks([1, 2, 5]) == "regions 1, 2 and 5"
    text = "Region 3 is a llama; regions 1, 2 and 9 are not. See [4] and #3. There are 5 things."
    assert marks_in(text, 5) == (3, 1, 2, 4)
    assert marks_in("region " + "1," * 9999, 3) == (1,)
    assert marks_in("", 3) == ()


def test_numerals_lie_on_their_regions():
    plain = Image.new("RGB", (400, 400), "white")
    box = (0.25, 0.25, 0.75, 0.75)
    region = Region(mask=bitmap_to_rle(box_to_bitmap(box, (400, 400))), phrase="not drawn")
    one, two = (np.asarray(draw_marks(plain, regions)) for regions in ([region], [region] * 2))
    rows, columns = np.nonzero((one != 255).any(axis=-1))
    assert 90 < columns.min() < columns.max() < 310
    assert 90 < rows.min() < rows.max() < 310
    assert (one != two).any()


def test_answers_say_their_regions_once_and_in_words():
    region = Region(id="a", phrase="llama", box=(0.0, 0.0, 0.5, 0.5))
    for text, said in (
        ("It is here:", "It is here: [0.00, 0.25, 0.50, 0.50]"),
        ("It is at [0.00, 0.25, 0.50, 0.50].", "It is at [0.00, 0.25, 0.50, 0.50]."),
    ):
        document = asked("Where?", regions=(region,))
        told = document.replace(
            messages=(
                *document.messages,
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": text}, pointing("a")],
                },
            )
        )
        for showing in ("text", "marks", "crops"):
            conversation = conversation_of(told, PICTURE, dialect=LLAVA, showing=showing)
            assert conversation.turns[1].text == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('[{"point_2d": [500, 250], "label": "llama"}]', "point_2d"),
        ('<points x1="10" y1="20" alt="llama">llama</points>', "Molmo"),
        ('[{"box_2d": [100, 200, 300, 400], "label": "llama"}]', "Gemini"),
        ('{"bbox_2d": [1, 2, 3, 4], "label": "a"}', "its dialect: qwen2.5-vl or qwen3-vl"),
    ],
)
def test_places_in_dialects_that_are_not_read_are_told(answer, said, caplog):
    dialect = find_dialect("kosmos2")
    with caplog.at_level("WARNING"):
        text_to_regions(answer, dialect, dialect.view((100, 100)))
    assert said in caplog.text
