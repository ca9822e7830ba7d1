import pytest
import torch

from gligen.adapter import AdapterConfig
from gligen.isolation import Isolation
from grounding.errors import LavallamaError
from tests.gligen import tiny

# On 2 x 4 cells: region 0 is the left half, region 1 lies before it in the upper left corner, all
# of the first cell and a quarter of the second; region 2 is absent.
COVERED = torch.zeros(1, 3, 2, 4)
COVERED[0, 0, :, :2] = 1
COVERED[0, 1, 0, :2] = torch.tensor([1, 0.25])
SEEN = COVERED.clone()
SEEN[0, 0, 0, :2] = torch.tensor([0, 0.75])
APART = Isolation(covered=COVERED, seen=SEEN)


def test_a_region_owns_what_it_shows():
    owned = APART.owned(2, 4)[0].unflatten(1, (2, 4))
    assert owned[0].tolist() == [[False, True, False, False], [True, True, False, False]]
    assert owned[1].nonzero().tolist() == [[0, 0], [0, 1]]  # neighbours share their border
    assert not owned[2].any()


def test_a_coarser_grid_has_the_means_of_the_finer():
    owned = APART.owned(1, 2)[0]
    assert owned.tolist() == [[True, False], [True, False], [False, False]]


def test_regions_see_themselves_the_background_and_absent_tokens():
    owned, mask = APART.territories(2, 4, tokens=6)
    assert owned.shape == (1, 3, 8)
    assert mask.shape == (1, 1, 8, 8 + 6)
    seen = mask[0, 0]
    assert seen[0, :8].nonzero().flatten().tolist() == [0, 1, 2, 3, 6, 7]
    assert seen[1, :8].all()
    assert seen[4, :8].nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert seen[7, :8].all()
    grounding = [[False, True, True], [True, True, True], [True, False, True], [False, False, True]]
    assert seen[[0, 1, 4, 7], 8:].tolist() == [2 * row for row in grounding]


def test_nowhere_hides_nothing():
    _, mask = APART.nowhere().territories(2, 4, tokens=3)
    assert mask.all()


def grounded(unet, adapter, tokens, isolation, size=(8, 12)):
    with torch.no_grad(), adapter.grounded(tokens, isolation=isolation):
        return unet(**tiny.inputs(size=size), return_dict=False)[0]


def halves(batch=2, regions=tiny.REGIONS, size=(8, 12)):
    """Region 0 in the upper half, region 1 in the lower one."""
    covered = torch.zeros(batch, regions, *size)
    covered[:, 0, : size[0] // 2] = 1
    covered[:, 1, size[0] // 2 :] = 1
    return Isolation(covered=covered, seen=covered)


@pytest.mark.parametrize("field", [0, 16])
def test_gates_of_one_region_do_not_see_the_other(field):
    """A gate's own output: later layers of the UNet, convolutions above all, do mix places."""
    unet = tiny.unet()
    config = AdapterConfig(phrase_dim=32, context_dim=32, hidden_dim=48, field_dim=field)
    adapter = tiny.open_adapter(unet, config)
    boxes, masks, phrases = tiny.layout()
    boxes[:, 0], boxes[:, 1] = torch.tensor([0, 0, 1, 0.5]), torch.tensor([0, 0.4, 1, 1])
    masks[:, 2:] = 0
    other = phrases.clone()
    other[:, 1] += 1
    first = next(iter(adapter.gates.values()))
    outputs = []
    first.register_forward_hook(lambda *call: outputs.append(call[2]))
    with adapter.injected(unet):
        for isolation in (halves(), None):
            for words in (phrases, other):
                grounded(unet, adapter, adapter.tokens(boxes, masks, words).detach(), isolation)
    apart, changed, together, leaked = (x.unflatten(1, (8, 12)) for x in outputs)
    assert torch.equal(apart[:, :4], changed[:, :4])
    assert not torch.allclose(apart[:, 4:], changed[:, 4:], atol=1e-3)
    assert not torch.allclose(together[:, :4], leaked[:, :4], atol=1e-4)


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_every_backend_keeps_the_mask(backend):
    """Elsewhere the efficient attention silently drops it."""
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with adapter.injected(unet, attention=backend):
        apart = grounded(unet, adapter, tokens, halves())
        together = grounded(unet, adapter, tokens, None)
    with adapter.injected(unet, attention="math"):
        expected = grounded(unet, adapter, tokens, halves())
    assert torch.allclose(apart, expected, atol=1e-5)
    assert not torch.allclose(apart, together, atol=1e-4)


def test_isolation_of_nothing_is_no_isolation():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with adapter.injected(unet):
        plain = grounded(unet, adapter, tokens, None)
        assert torch.allclose(grounded(unet, adapter, tokens, halves().nowhere()), plain, atol=1e-5)


def test_isolation_of_other_images_is_refused():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with adapter.injected(unet), pytest.raises(LavallamaError, match=r"expected 1 images"):
        grounded(unet, adapter, tokens, halves(batch=1))
