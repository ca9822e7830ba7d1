"""Conversations that share a picture learn what they would learn apart."""

import pytest
import torch

from grounding.llava.model import Embedded
from grounding.llava.template import find_template
from grounding.llava.tokens import IGNORED, IMAGE_ID, Tokens, tokenize
from grounding.llava.train.shared import share, shared_loss
from grounding.llava.train.sticker_talk import conversation_about
from grounding.stickers.questions import Question
from tests.grounding.llava import tiny

PATCHES = 5
TALKS = (
    [Question(kind="exists", text="Is there a dog?", answer="No")],
    [
        Question(kind="count", text="How many?", answer="2"),
        Question(kind="material", text="Of what?", answer="lava"),
    ],
    [Question(kind="refer", text="Where?", answer="[0.10, 0.20, 0.30, 0.40]")],
)


def tokens(talk, picture=True, template="vicuna_v1") -> Tokens:
    pieces = find_template(template).pieces(conversation_about(talk, picture))
    return tokenize(pieces, tiny.tokenizer())


def alone(model, said: Tokens, picture) -> Embedded:
    """A prompt by itself."""
    table = model.embedding
    ids, labels = said.ids, said.labels
    if picture is None:
        return Embedded(table(ids), labels)
    [place] = (ids == IMAGE_ID).nonzero().flatten().tolist()
    words = torch.cat([table(ids[:place]), picture, table(ids[place + 1 :])])
    nothing = labels.new_full((len(picture),), IGNORED)
    return Embedded(words, torch.cat([labels[:place], nothing, labels[place + 1 :]]))


@pytest.mark.parametrize("template", ["vicuna_v1", "mistral_instruct", "chatml_direct"])
def test_loss_and_gradients_are_those_of_separate_prompts(template):
    model = tiny.llava().train()
    pictures = torch.randn(2, PATCHES, tiny.WIDTH, generator=torch.Generator().manual_seed(1))
    groups = [[tokens(t, True, template) for t in TALKS], [tokens(TALKS[1], True, template)]]
    plain = [[tokens(t, False, template) for t in TALKS[:2]]]
    prompts = [
        alone(model, said, picture)
        for group, picture in zip(groups, pictures, strict=True)
        for said in group
    ]
    prompts += [alone(model, said, None) for said in plain[0]]
    apart = model(prompts)
    apart.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    rows = [*(share(group, PATCHES) for group in groups), share(plain[0], 0)]
    together = shared_loss(model.language_model, rows, [*pictures, None])
    together.backward()
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-5)


def test_rows_read_the_picture_once_at_the_places_of_separate_prompts():
    said = [tokens(talk) for talk in TALKS]
    row = share(said, PATCHES)
    assert int((row.ids == IMAGE_ID).sum()) == PATCHES
    head = int((said[0].ids == IMAGE_ID).nonzero()[0])
    for number, one in enumerate(said, start=1):
        mine = row.parts == number
        assert row.ids[mine].tolist() == one.ids[head + 1 :].tolist()
        assert row.places[mine].tolist() == list(
            range(head + PATCHES, head + PATCHES + int(mine.sum()))
        )
    assert int((row.labels != IGNORED).sum()) == sum(int((s.labels != IGNORED).sum()) for s in said)
