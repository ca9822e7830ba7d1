"""What needs a CUDA device: attention backends against each other, the adapter against the CPU.

`pytest -m gpu`; skipped, with this reason, where there is no CUDA device or no xformers.
"""

import copy
from importlib.util import find_spec

import pytest
import torch

from gligen.sampler import Condition, SamplerSettings, initial_noise, make_scheduler, sample
from grounding.attention import attention
from tests.gligen import tiny

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_xformers = pytest.mark.skipif(find_spec("xformers") is None, reason="needs xformers")
pytestmark = [pytest.mark.gpu, needs_cuda]

BACKENDS = ["sdpa", pytest.param("xformers", marks=needs_xformers)]
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
# visual tokens, with the grounding tokens that follow them, at 512x512 and odd sizes
LENGTHS = [(4096, 4096 + 30), (1024, 1024 + 30), (64, 64 + 30), (4096, 77), (35, 1), (7, 13)]
MASKS = ["none", "bool", "bool per key", "bias", "bias per key"]


@pytest.fixture(autouse=True)
def exact_products():
    """TF32 off, so that float32 means float32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def make_mask(kind, batch, heads, queries, keys):
    if kind == "none":
        return None
    shape = (batch, 1, 1, keys) if "per key" in kind else (batch, heads, queries, keys)
    if kind.startswith("bias"):
        return torch.randn(shape, device="cuda")
    mask = torch.rand(shape, device="cuda") < 0.7
    mask[..., 0] = True
    return mask


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_with_plain_maths(backend, queries, keys, dtype, kind):
    torch.manual_seed(0)
    heads, dim = 2, 40
    q = torch.randn(2, heads, queries, dim, device="cuda", dtype=dtype)
    k, v = torch.randn(2, 2, heads, keys, dim, device="cuda", dtype=dtype)
    mask = make_mask(kind, 2, heads, queries, keys)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(dtype)
    expected = attention(q.float(), k.float(), v.float(), mask=mask, backend="math")
    seen = attention(q, k, v, mask=mask, backend=backend)
    assert seen.dtype == dtype
    error = (seen.float() - expected).norm() / expected.norm()
    assert error < TOLERANCES[dtype]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_may_see_nothing_gets_zeros(backend):
    q, k, v = torch.randn(3, 1, 2, 5, 40, device="cuda")
    mask = torch.ones(1, 2, 5, 5, dtype=torch.bool, device="cuda")
    mask[:, :, 2] = False
    seen = attention(q, k, v, mask=mask, backend=backend)
    assert seen[:, :, 2].eq(0).all()
    assert seen[:, :, 1].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_agree_with_plain_maths(backend):
    torch.manual_seed(0)
    tensors = torch.randn(3, 2, 2, 94, 40, device="cuda")
    gradients = []
    for each in (backend, "math"):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        attention(*leaves, backend=each).square().sum().backward()
        gradients.append(torch.stack([leaf.grad for leaf in leaves]))
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 0.1)]
)
def test_sampling_on_cuda_agrees_with_the_cpu(backend, dtype, tolerance):
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    prompts, nothing = torch.randn(2, 2, 9, tiny.WIDTH)
    layout = tiny.layout()
    noise = initial_noise([torch.Generator().manual_seed(i) for i in range(2)], (4, 8, 12))
    settings = SamplerSettings(steps=4, guidance=2.0, schedule=(0.5, 0.25, 0.25))

    def run(model, gates, device, dtype, backend):
        model, gates = model.to(device=device), gates.to(device=device, dtype=dtype)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        boxes, masks, phrases = (tensor.to(device) for tensor in layout)
        with torch.no_grad(), gates.injected(model, attention=backend):
            return sample(
                model,
                make_scheduler("ddim", tiny.DIFFUSION),
                noise.to(device),
                Condition(
                    context=prompts.to(device, dtype), tokens=gates.tokens(boxes, masks, phrases)
                ),
                Condition(context=nothing.to(device, dtype)),
                settings=settings,
                adapter=gates,
            ).cpu()

    expected = run(copy.deepcopy(unet), copy.deepcopy(adapter), "cpu", torch.float32, "sdpa")
    seen = run(unet, adapter, "cuda", dtype, backend)
    assert (seen - expected).norm() / expected.norm() < tolerance


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fresh_adapter_changes_no_bit_outside_of_a_run(backend):
    unet = tiny.unet().cuda()
    arguments = {name: value.cuda() for name, value in tiny.inputs().items()}
    adapter = tiny.open_adapter(unet).cuda()
    with torch.no_grad():
        expected = unet(**arguments).sample
        with adapter.injected(unet, attention=backend):
            assert torch.equal(unet(**arguments).sample, expected)
        assert torch.equal(unet(**arguments).sample, expected)
