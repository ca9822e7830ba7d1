import pytest
import torch

from grounding.errors import PromptError
from seem.vocabulary import TEMPLATES, class_embeddings, class_sentences, mean_direction


def letters(texts: list[str]) -> torch.Tensor:
    """A stand-in encoder: how often each letter occurs, at length one."""
    rows = [[float(text.count(chr(97 + k))) for k in range(26)] for text in texts]
    vectors = torch.tensor(rows)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_there_are_81_different_sentences_with_one_place_each():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 81
    assert all(template.count("{}") == 1 and template.endswith(".") for template in TEMPLATES)
    assert TEMPLATES[0] == "{}."
    for known in (
        "a photo of the hard to see {}.",
        "a jpeg corrupted photo of a {}.",
        "a origami {}.",
        "the {} in a video game.",
        "itap of my {}.",
        "a tattoo of the {}.",
    ):
        assert known in TEMPLATES


def test_cocos_suffixes_are_not_said():
    assert class_sentences("tree-merged", ["a photo of a {}."]) == ["a photo of a tree."]
    assert class_sentences("floor-other-merged", ["{}."]) == ["floor."]


def test_a_class_does_not_depend_on_its_neighbours():
    both = class_embeddings(["llama", "volcano"], letters)
    alone = class_embeddings(["volcano"], letters)
    assert torch.equal(both[1], alone[0])
    assert not torch.allclose(both[0], both[1], atol=1e-3)
    torch.testing.assert_close(both.norm(dim=-1), torch.ones(2))


def test_every_sentence_counts_the_same():
    north, east = torch.eye(2)
    got = mean_direction(torch.stack([north, north, east]))
    torch.testing.assert_close(got, torch.tensor([2.0, 1.0]) / 5**0.5)


def test_nothing_to_encode_is_an_error():
    with pytest.raises(PromptError, match="got 0 names and 81 templates"):
        class_embeddings([], letters)
