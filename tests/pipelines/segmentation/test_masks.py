import pytest
from PIL import Image

from grounding.errors import PromptError
from grounding.masks import rle_to_bitmap
from grounding.prompt import GroundedPrompt, Region
from pipelines.segmentation.masks import with_masks
from seem.question import Question
from tests.seem.predicting import ready_refined, tiny_predictor


@pytest.fixture
def predictor():
    made = tiny_predictor()
    made.set_image(Image.new("RGB", (60, 40), "green"))
    return made


def test_a_box_becomes_a_mask_with_the_phrase_and_without(predictor, monkeypatch):
    asked = []
    answer = predictor.ask

    def ask(questions: list[Question]):
        asked.extend(questions)
        return answer(questions)

    monkeypatch.setattr(predictor, "ask", ask)
    regions = (
        Region(id="a1", phrase="the dog", box=(0.1, 0.2, 0.6, 0.9)),
        Region(id="a2", box=(0.5, 0.5, 0.9, 0.9)),
        Region(id="a3", phrase="llama"),
        Region(id="a4"),
        Region(id="r1", box=(0, 0, 1, 1)),
    )
    document = with_masks(GroundedPrompt(regions=regions), predictor, {"a1", "a2", "a3", "a4"})
    assert [question.text for question in asked] == ["dog", None, "llama"]
    assert [bool(question.marks) for question in asked] == [True, True, False]
    assert document.regions[3:] == regions[3:]
    for before, region in zip(regions[:3], document.regions[:3], strict=True):
        assert (region.id, region.phrase) == (before.id, before.phrase)
        if region.mask is None:  # a tiny random model may find nothing
            assert region.box == before.box
        else:
            bitmap = rle_to_bitmap(region.mask)
            assert bitmap.shape == (40, 60)
            assert bitmap.any()
            assert region.score is not None


def test_what_is_not_found_keeps_its_box(predictor, monkeypatch, caplog):
    empty = predictor.ask([Question(text="dog")])[0]
    empty = empty._replace(masks=empty.masks & False)
    monkeypatch.setattr(predictor, "ask", lambda questions: [empty])
    document = GroundedPrompt(regions=[Region(id="a1", box=(0.1, 0.2, 0.6, 0.9))])
    assert with_masks(document, predictor, {"a1"}) == document
    assert "no mask was found" in caplog.text


def test_words_that_a_model_cannot_read_are_left_out(predictor, monkeypatch):
    region = Region(id="a1", phrase="dog", box=(0.1, 0.2, 0.6, 0.9))
    plain = with_masks(GroundedPrompt(regions=[region.replace(phrase="")]), predictor, {"a1"})

    def read(text: str):
        raise PromptError("too long")

    monkeypatch.setattr(predictor.words, "text", read)
    document = with_masks(GroundedPrompt(regions=[region]), predictor, {"a1"})
    assert document.regions[0].replace(phrase="") == plain.regions[0]


def test_words_that_a_model_does_not_know_are_left_out(caplog):
    refined = ready_refined()
    region = Region(id="a1", phrase="a lava llama", box=(0.1, 0.2, 0.6, 0.9))
    alone = Region(id="a2", phrase="a lava llama")
    document = with_masks(GroundedPrompt(regions=[region, alone]), refined, {"a1", "a2"})
    assert document.regions[0].mask is not None
    assert document.regions[1] == alone
    assert "region a2: the model cannot be asked for 'lava llama'" in caplog.text
