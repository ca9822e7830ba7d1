import pytest
import torch

from seem.deformable import DeformableAttention, pixel_centres, read_maps, read_rows

SIZES = ((2, 3), (4, 6))
TOKENS = sum(high * wide for high, wide in SIZES)


def layer(dim: int = 8, heads: int = 2, points: int = 2) -> DeformableAttention:
    torch.manual_seed(0)
    built = DeformableAttention(dim, heads, len(SIZES), points)
    torch.nn.init.normal_(built.sampling_offsets.weight, std=0.5)
    torch.nn.init.normal_(built.attention_weights.weight)
    return built.requires_grad_(False)


def pixel(value: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """What a map [H, W, C] holds at a pixel; zeros outside."""
    if 0 <= row < value.shape[0] and 0 <= column < value.shape[1]:
        return value[row, column]
    return torch.zeros(value.shape[2])


def bilinear(value: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """What a map [H, W, C] holds at (x, y) in [0, 1], pixel by pixel."""
    column, row = x * value.shape[1] - 0.5, y * value.shape[0] - 0.5
    left, top = int(column // 1), int(row // 1)
    right, down = column - left, row - top
    return (
        (1 - right) * (1 - down) * pixel(value, top, left)
        + right * (1 - down) * pixel(value, top, left + 1)
        + (1 - right) * down * pixel(value, top + 1, left)
        + right * down * pixel(value, top + 1, left + 1)
    )


def test_it_is_the_papers_sum_taken_literally():
    attention = layer()
    query, tokens = torch.randn(1, TOKENS, 8), torch.randn(1, TOKENS, 8)
    places = pixel_centres(SIZES)
    got = attention(query, places, tokens, SIZES)[0]
    values = attention.value_proj(tokens)[0].split([6, 24])
    maps = [v.view(*size, 2, 4) for v, size in zip(values, SIZES, strict=True)]
    offsets = attention.sampling_offsets(query)[0].view(TOKENS, 2, 2, 2, 2)
    weights = attention.attention_weights(query)[0].view(TOKENS, 2, 4).softmax(-1)
    for token in (0, 4, 6, 17, TOKENS - 1):
        heads = []
        for head in range(2):
            total = torch.zeros(4)
            for level, (high, wide) in enumerate(SIZES):
                for point in range(2):
                    step_x, step_y = offsets[token, head, level, point].tolist()
                    x, y = places[token].tolist()
                    seen = bilinear(maps[level][:, :, head], x + step_x / wide, y + step_y / high)
                    total += weights[token, head, 2 * level + point] * seen
            heads.append(total)
        wanted = attention.output_proj(torch.cat(heads))
        torch.testing.assert_close(got[token], wanted, atol=1e-5, rtol=1e-4)


def test_both_ways_of_reading_agree_and_learn_alike():
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    value, weights = normal(2, TOKENS, 2, 4), normal(2, TOKENS, 2, 2, 3)
    where = normal(2, TOKENS, 2, 2, 3, 2)  # a third of the places lies outside
    target = torch.randn(2, TOKENS, 2, 4, generator=generator)
    results = []
    for read in (read_maps, read_rows):
        seen = read(value, where, weights, SIZES)
        learnt = torch.autograd.grad((seen * target).sum(), (value, where, weights))
        results.append((seen, *learnt))
    for one, other in zip(*results, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_an_images_result_does_not_depend_on_its_batch():
    attention = layer()
    query, tokens = torch.randn(3, TOKENS, 8), torch.randn(3, TOKENS, 8)
    places = pixel_centres(SIZES)
    together = attention(query, places, tokens, SIZES)
    for i in range(3):
        alone = attention(query[i : i + 1], places, tokens[i : i + 1], SIZES)
        torch.testing.assert_close(alone[0], together[i], atol=1e-6, rtol=1e-5)


def test_half_precision_looks_at_the_right_places():
    attention = layer()
    query, tokens = torch.randn(1, TOKENS, 8), torch.randn(1, TOKENS, 8)
    exact = attention(query, pixel_centres(SIZES), tokens, SIZES)
    half = attention.bfloat16()(query.bfloat16(), pixel_centres(SIZES), tokens.bfloat16(), SIZES)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_broken_query_breaks_its_own_result_only():
    attention = layer()
    query, tokens = torch.randn(1, TOKENS, 8), torch.randn(1, TOKENS, 8)
    query[0, 3] = float("nan")
    broken = attention(query, pixel_centres(SIZES), tokens, SIZES).isnan().all(-1)[0]
    assert broken.nonzero().flatten().tolist() == [3]


def test_a_fresh_layer_looks_around_each_pixel_in_all_directions():
    bias = DeformableAttention(16, 4, 3, 4).sampling_offsets.bias.view(4, 3, 4, 2)
    right, down = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for level in range(3):
        for point in range(4):
            torch.testing.assert_close(bias[0, level, point], (point + 1) * right)
            torch.testing.assert_close(bias[1, level, point], (point + 1) * down, atol=1e-6, rtol=0)


def test_places_are_the_middles_of_pixels():
    places = pixel_centres(SIZES)
    torch.testing.assert_close(places[0], torch.tensor([1 / 6, 1 / 4]))
    torch.testing.assert_close(places[5], torch.tensor([5 / 6, 3 / 4]))
    torch.testing.assert_close(places[6], torch.tensor([1 / 12, 1 / 8]))


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="3 heads must divide the 8 channels"):
        DeformableAttention(8, 3, 3, 4)
