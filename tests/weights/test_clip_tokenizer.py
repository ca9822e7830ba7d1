import pytest

from weights.clip_tokenizer import load_clip_tokenizer

END = 49407


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("a  photo OF a Cat ", [320, 1125, 539, 320, 2368]),
        ("!", [256]),
        ("", []),
    ],
)
def test_texts_have_clip_s_numbers(text, ids):
    assert load_clip_tokenizer()(text).input_ids == [49406, *ids, END]


def test_it_pads_with_the_end_and_openclip_with_zeros():
    tokenizer = load_clip_tokenizer()
    assert len(tokenizer) == 49408
    padded = tokenizer("cat", padding="max_length").input_ids
    assert padded == [49406, 2368, END, *[END] * 74]
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    assert tokenizer("cat", padding="max_length").input_ids == [49406, 2368, END, *[0] * 74]
    assert load_clip_tokenizer().pad_token_id == END


def test_every_byte_can_be_said():
    tokenizer = load_clip_tokenizer()
    for text in ("naïve café", "熊猫", "🌋 lava"):
        read = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
        assert read.replace(" ", "") == text.replace(" ", "")  # transformers 4 parts Han characters
