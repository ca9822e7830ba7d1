"""Which query wins."""

import math

import torch

from seem.attention_groups import NOBODY
from seem.choice import caption_likeness, choose, mask_likeness


def test_the_most_similar_query_wins_and_the_first_of_equals() -> None:
    choice = choose(torch.tensor([[1.0, 5.0], [3.0, 2.0], [3.0, 4.5]]))
    assert choice.winner.tolist() == [1, 0]
    assert choice.margin.tolist() == [0.0, 0.5]


def test_objects_choose_among_their_own_queries() -> None:
    embeddings, means = torch.tensor([[9.0], [1.0], [2.0]]), torch.ones(2, 1)
    similarity = mask_likeness(embeddings, torch.tensor([0, 1, 1]), means)
    assert choose(similarity).winner.tolist() == [0, 2]
    second = mask_likeness(embeddings, torch.tensor([0, 1, 1]), means[:1], first=1)
    assert choose(second).winner.tolist() == [2]
    free = mask_likeness(embeddings, torch.full((3,), NOBODY), means)
    assert choose(free).winner.tolist() == [0, 0]


def test_captions_are_compared_by_scaled_cosine_with_a_bounded_scale() -> None:
    captions, classes = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    plain = caption_likeness(captions, classes, torch.tensor(math.log(2.0)))
    torch.testing.assert_close(plain, torch.tensor([[1.2, 1.6]]))
    bounded = caption_likeness(captions, classes, torch.tensor(9.0))
    torch.testing.assert_close(bounded, torch.tensor([[60.0, 80.0]]))
