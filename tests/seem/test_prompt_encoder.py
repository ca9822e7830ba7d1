"""Drawn prompts: which pixels are read, where, and what becomes of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import PromptError
from seem.prompt_encoder import encode_marks, mark_pixels, read_features
from tests.seem.tiny import normal


def line(*counts: int, width: int = 40) -> torch.Tensor:
    """Objects that mark so many pixels each, on one row."""
    return (torch.arange(width) < torch.tensor(counts)[:, None])[:, None]


def test_all_pixels_are_listed_when_they_fit() -> None:
    marked = mark_pixels(line(3, 2), line(0, 1), limit=5)
    assert marked.owners.tolist() == [0, 0, 0, 1, 1, 1]
    assert marked.positive.tolist() == [True] * 5 + [False]
    assert (marked.places[:, 1] * 40).round().tolist() == [0, 1, 2, 0, 1, 0]
    assert marked.objects == 2


def test_many_pixels_are_spread_evenly() -> None:
    marked = mark_pixels(line(37), None, limit=8)
    wanted = [i * 37 // 8 for i in range(8)]
    assert (marked.places[:, 1] * 40).round().tolist() == wanted


@given(totals=st.lists(st.integers(1, 40), min_size=1, max_size=5), limit=st.integers(1, 40))
def test_objects_are_read_as_if_alone(totals: list[int], limit: int) -> None:
    together = mark_pixels(line(*totals), None, limit=limit)
    for number, total in enumerate(totals):
        alone = mark_pixels(line(total), None, limit=limit)
        assert len(alone.places) == min(total, limit)
        assert torch.equal(together.places[together.owners == number], alone.places)


def test_a_generator_draws_without_repeating() -> None:
    first = mark_pixels(line(40), None, 10, torch.Generator().manual_seed(3))
    again = mark_pixels(line(40), None, 10, torch.Generator().manual_seed(3))
    other = mark_pixels(line(40), None, 10, torch.Generator().manual_seed(4))
    assert torch.equal(first.places, again.places)
    assert not torch.equal(first.places, other.places)
    columns = first.places[:, 1].tolist()
    assert columns == sorted(set(columns))


def test_objects_without_a_pixel_are_refused() -> None:
    with pytest.raises(PromptError, match="object 1 of 2 has none"):
        mark_pixels(line(3, 0), None, limit=5)
    with pytest.raises(PromptError, match="positive ones' shape"):
        mark_pixels(line(3), line(3, 3), limit=5)


def test_features_are_read_by_fractions_of_the_last_row_and_column() -> None:
    height, width = 5, 7
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    places = torch.tensor([[0.0, 0.0], [0.5, 0.25], [0.9, 0.99]])
    read = read_features(torch.stack([y, x]), places)
    wanted = places * torch.tensor([height - 1, width - 1])
    assert torch.allclose(read, wanted, atol=1e-5)


def test_tokens_are_projected_and_signed_and_means_are_of_their_own_object() -> None:
    levels = [normal(i, 4, 3, 5) for i in range(3)]
    projections = [normal(10 + i, 4, 4) for i in range(3)]
    features, signs = normal(20, 4, 6, 10), normal(21, 2, 4)
    marked = mark_pixels(line(3, 2), line(1, 0), limit=50)
    found = encode_marks(marked, levels, features, projections, signs)
    for level, (values, matrix) in enumerate(zip(levels, projections, strict=True)):
        projected = torch.einsum("chw,cd->dhw", values, matrix)
        plain = read_features(projected, marked.places)
        signed = plain + torch.stack([signs[0]] * 5 + [signs[1]])
        assert torch.allclose(found.tokens[level], signed, atol=1e-5)
    read = read_features(features, marked.places)
    assert torch.allclose(found.positive_mean[0], read[:3].mean(0), atol=1e-6)
    assert torch.allclose(found.positive_mean[1], read[3:5].mean(0), atol=1e-6)
    assert torch.allclose(found.negative_mean[0], read[5], atol=1e-6)
    assert not found.negative_mean[1].any()
