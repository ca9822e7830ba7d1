import pytest

from grounding.errors import PromptError
from grounding.llava.conversation import Conversation
from grounding.llava.template import TEMPLATES, find_template
from grounding.llava.tokens import IGNORED, IMAGE_ID, tokenize
from tests.grounding.llava.test_template import CONVERSATIONS
from tests.grounding.llava.tiny import tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_opens_once_and_pictures_have_their_places(name):
    template = TEMPLATES[name]
    tokens = tokenize(template.pieces(CONVERSATIONS["dialogue"]), tokenizer())
    ids = tokens.ids.tolist()
    assert ids.count(IMAGE_ID) == 1
    assert ids[0] == tokenizer().bos_token_id
    text = "".join("<image>" if i == IMAGE_ID else tokenizer().decode([i]) for i in ids[1:])
    assert text == template.render(CONVERSATIONS["dialogue"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_labels_are_the_answers_alone(name):
    template = TEMPLATES[name]
    pieces = template.pieces(CONVERSATIONS["dialogue"])
    tokens = tokenize(pieces, tokenizer())
    labels = tokens.labels
    kept = labels != IGNORED
    assert (labels[kept] == tokens.ids[kept]).all()
    said = "".join(str(piece.text) for piece in pieces if piece.target)
    assert tokenizer().decode(labels[kept].tolist()) == said


def test_a_question_alone_has_no_targets():
    pieces = find_template("vicuna_v1").pieces(Conversation.of("Why?"))
    assert (tokenize(pieces, tokenizer()).labels == IGNORED).all()


class Slow:
    """A tokenizer without offsets."""

    is_fast = False
    bos_token_id = 0

    def __call__(self, text):
        return {"input_ids": [0, *map(ord, text)]}


def test_tokenizers_without_offsets_serve_questions_but_not_training():
    template = find_template("vicuna_v1")
    tokens = tokenize(template.pieces(CONVERSATIONS["question"]), Slow())
    assert tokens.ids.tolist().count(0) == 1
    with pytest.raises(PromptError, match="fast tokenizer"):
        tokenize(template.pieces(CONVERSATIONS["dialogue"]), Slow())
