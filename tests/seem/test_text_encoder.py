from pathlib import Path

import numpy as np
import pytest
import torch

from grounding.errors import PromptError
from seem.text_encoder import TextEncoder, normalised
from seem.vocabulary import mean_direction
from tests.parity.seem_inputs import fill_module, token_ids
from weights.seem_keys import official_key

GOLDEN = Path(__file__).parents[1] / "golden" / "seem_focalt_v0.npz"
TAG = "golden:"
TOLERANCE = 1e-4  # of an array's largest value


def tiny(**changes) -> TextEncoder:
    torch.manual_seed(0)
    sizes = {"width": 32, "dim": 24, "heads": 4, "layers": 2, "context": 9, "vocabulary": 20}
    return TextEncoder(**{**sizes, **changes}).eval()


@torch.no_grad()
def test_it_computes_the_official_numbers():
    encoder = TextEncoder().eval()
    fill_module(encoder, lambda key: official_key(f"text_encoder.{key}"))
    texts = token_ids(TAG)
    ids = torch.from_numpy(np.stack([texts[name][0] for name in ("short", "medium", "long")]))
    mask = torch.from_numpy(np.stack([texts[name][1] for name in ("short", "medium", "long")]))
    features = encoder(ids, mask)
    short = encoder(ids[:1], mask[:1])
    got = {
        "text.hidden": features.hidden[:, ::8, ::16],
        "text.token_emb": features.tokens[:, ::4, ::16],
        "text.class_emb": features.pooled,
        "text.class_emb_normalised": features.embeddings,
        "text.template_average": mean_direction(encoder.embed(ids, mask))[None],
        "text.grounding_tokens": short.grounding_tokens,
    }
    with np.load(GOLDEN) as golden:
        for name, ours in got.items():
            wanted = golden[name]
            assert ours.shape == wanted.shape, name
            error = np.abs(ours.numpy() - wanted).max() / np.abs(wanted).max()
            assert error < TOLERANCE, name


@torch.no_grad()
def test_vectors_of_texts_that_begin_alike_are_those_of_each_text():
    encoder = tiny()
    ids = torch.tensor(
        [
            [18, 3, 5, 19, 19],
            [18, 3, 7, 5, 19],
            [18, 4, 19, 0, 0],
            [18, 3, 5, 19, 19],
            [18, 3, 19, 1, 2],
        ]
    )
    mask = torch.ones_like(ids)
    seen = []
    encoder.resblocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    got = encoder.embed(ids, mask)
    assert seen == [10]  # 18, 18 3, 18 3 5, 18 3 5 19, 18 3 7, ...
    torch.testing.assert_close(got, encoder(ids, mask).embeddings)
    torch.testing.assert_close(got[2:3], encoder(ids[2:3, :3], mask[2:3, :3]).embeddings)
    with pytest.raises(PromptError, match="may have 9 tokens"):
        encoder.embed(torch.ones(1, 10, dtype=torch.long), torch.ones(1, 10))


@torch.no_grad()
def test_what_pads_a_text_changes_nothing_of_it():
    encoder = tiny()
    ids = torch.tensor([[18, 3, 5, 19, 19, 19, 19], [18, 3, 5, 19, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]]).expand(2, -1)
    padded = encoder(ids, mask)
    alone = encoder(ids[:1, :4], mask[:1, :4])
    assert padded.grounding_tokens.shape == (8, 24)
    torch.testing.assert_close(padded.pooled, alone.pooled.expand(2, -1))
    torch.testing.assert_close(padded.grounding_tokens[4:], alone.grounding_tokens)


@torch.no_grad()
def test_the_vector_of_a_text_knows_its_words_and_their_order():
    encoder = tiny()
    ids = torch.tensor([[18, 3, 5, 19], [18, 5, 3, 19], [18, 3, 6, 19]])
    vectors = encoder(ids, torch.ones_like(ids)).embeddings
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (vectors[one] - vectors[other]).abs().max() > 1e-3


def test_bad_texts_are_refused_in_one_line():
    encoder = tiny()
    ids = torch.tensor([[18, 3, 19]])
    with pytest.raises(PromptError, match="9 tokens, got 12"):
        encoder(ids.repeat(1, 4), ids.repeat(1, 4))
    with pytest.raises(PromptError, match=r"must be in 0\.\.19, got 3\.\.20"):
        encoder(ids + (ids == 19), ids)
    with pytest.raises(PromptError, match=r"\[1, 3\] and \[1, 2\]"):
        encoder(ids, ids[:, :2])


def test_a_vector_of_zeros_stays_one():
    assert torch.equal(normalised(torch.zeros(2, 3)), torch.zeros(2, 3))
