"""Injection: what it changes, what it must not, and that diffusers' own layers agree with it."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from gligen.adapter import AdapterConfig, GligenAdapter
from gligen.inject import (
    GroundedBlock,
    GroundedProcessor,
    Run,
    route_attention,
    transformer_blocks,
)
from grounding.attention import attention
from grounding.errors import AttentionError, CheckpointError, LavallamaError
from tests.gligen import tiny
from weights.keymap import canonical_adapter_key

OFFICIAL_KEYS = Path(__file__).parents[1] / "golden" / "gligen_keys.json"
SD14 = {"cross_attention_dim": 768, "attention_head_dim": 8}


@pytest.mark.parametrize("init", ["zero", "residual"])
@pytest.mark.parametrize("family", list(tiny.FAMILIES))
def test_a_fresh_adapter_changes_no_bit(family, init):
    unet, arguments = tiny.unet(family), tiny.inputs(family)
    expected = unet(**arguments).sample
    adapter = GligenAdapter.for_unet(unet, tiny.CONFIG, init=init)
    tokens = adapter.tokens(*tiny.layout())
    with adapter.injected(unet):
        assert torch.equal(unet(**arguments).sample, expected)
        with adapter.grounded(tokens):
            assert torch.equal(unet(**arguments).sample, expected)
        with torch.no_grad(), adapter.grounded(tokens):
            assert torch.equal(unet(**arguments).sample, expected)


@pytest.mark.parametrize("family", list(tiny.FAMILIES))
def test_ejecting_restores_every_bit(family):
    unet, arguments = tiny.unet(family), tiny.inputs(family)
    expected, keys = unet(**arguments).sample, list(unet.state_dict())
    processors = dict(unet.attn_processors)
    own = {path: dict(vars(module)) for path, module in unet.named_modules()}
    hooks = {path: len(module._forward_pre_hooks) for path, module in unet.named_modules()}
    config = AdapterConfig(phrase_dim=32, context_dim=32, position_features=True)
    adapter = tiny.open_adapter(unet, config)
    tokens = adapter.tokens(*tiny.layout())
    with adapter.injected(unet):
        assert list(unet.state_dict()) == keys
        with adapter.grounded(tokens):
            assert not torch.allclose(unet(**arguments).sample, expected, atol=1e-2)
        assert torch.equal(unet(**arguments).sample, expected)
        with adapter.grounded(tokens, scale=0.0):
            assert torch.equal(unet(**arguments).sample, expected)
        with adapter.grounded(None):
            assert torch.equal(unet(**arguments).sample, expected)
    assert torch.equal(unet(**arguments).sample, expected)
    assert list(unet.state_dict()) == keys
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
    for path, module in unet.named_modules():
        assert vars(module).keys() == own[path].keys()
        assert len(module._forward_pre_hooks) == hooks[path]
    assert not adapter.is_injected


def test_ejects_when_the_body_fails():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    with pytest.raises(RuntimeError, match="interrupted"), adapter.injected(unet):
        raise RuntimeError("interrupted")
    assert not any("forward" in vars(module) for module in unet.modules())


@pytest.mark.parametrize("size", [(8, 12), (9, 13)])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_agrees_with_the_gated_unet_of_diffusers(family, size):
    torch.manual_seed(0)
    theirs = UNet2DConditionModel(**tiny.FAMILIES[family], attention_type="gated").eval()
    tiny.randomise(theirs)
    state = theirs.state_dict()
    ours = tiny.unet(family)
    is_gate = {key: ".fuser." in key or key.startswith("position_net.") for key in state}
    ours.load_state_dict({key: value for key, value in state.items() if not is_gate[key]})
    adapter = GligenAdapter.for_unet(ours, AdapterConfig(phrase_dim=32, context_dim=32))
    adapter.load_state_dict({key: value for key, value in state.items() if is_gate[key]})
    boxes, masks, phrases = tiny.layout()
    arguments = tiny.inputs(family, size=size)
    gligen = {"boxes": boxes, "masks": masks, "positive_embeddings": phrases}
    with torch.no_grad(), adapter.injected(ours):
        expected = theirs(**arguments, cross_attention_kwargs={"gligen": gligen}).sample
        with adapter.grounded(adapter.tokens(boxes, masks, phrases)):
            error = (ours(**arguments).sample - expected).norm() / expected.norm()
    assert error < 1e-5


def test_an_adapter_that_widens_does_not_fit_a_unet_that_inpaints_by_itself():
    unet = tiny.unet("sd1_inpainting")
    for changes in ({"inpainting": True}, {"modality": "depth"}):
        with pytest.raises(CheckpointError, match="already reads 9 channels"):
            GligenAdapter.for_unet(unet, AdapterConfig(context_dim=tiny.WIDTH, **changes))


def test_keys_are_the_official_ones_at_sd14_size():
    official = json.loads(OFFICIAL_KEYS.read_text())["text"]
    wanted = {
        canonical_adapter_key(key): tuple(shape)
        for key, shape in official.items()
        if ".fuser." in key or key.startswith("position_net.")
    }
    with torch.device("meta"):
        adapter = GligenAdapter.for_unet(UNet2DConditionModel(**SD14))
    assert {key: tuple(value.shape) for key, value in adapter.state_dict().items()} == wanted
    assert sum(value.numel() for value in adapter.parameters()) == 209_102_240


def test_gradients_reach_the_adapter_only():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout())
    with adapter.injected(unet), adapter.grounded(tokens):
        unet(**arguments).sample.square().mean().backward()
    assert all(parameter.grad is None for parameter in unet.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in adapter.parameters())


def test_only_alphas_learn_at_zero_and_more_as_a_residual():
    counts = {}
    for init in ("zero", "residual"):
        unet = tiny.unet()
        adapter = GligenAdapter.for_unet(unet, tiny.CONFIG, init=init)
        with adapter.injected(unet), adapter.grounded(adapter.tokens(*tiny.layout())):
            unet(**tiny.inputs()).sample.square().mean().backward()
        learning = [k for k, p in adapter.named_parameters() if p.grad.abs().sum() > 0]
        counts[init] = {key.rpartition(".fuser.")[2] for key in learning}
    assert counts["zero"] == {"alpha_attn", "alpha_dense"}
    last = ("attn.to_out.0.weight", "attn.to_out.0.bias", "ff.net.2.weight", "ff.net.2.bias")
    assert counts["residual"] == set(last)


def test_memories_change_no_bit_and_are_used(monkeypatch):
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    calls = []
    for gate in adapter.gates.values():
        gate.linear.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad(), adapter.injected(unet):
        with adapter.grounded(tokens):
            remembered = [unet(**arguments).sample for _ in range(3)]
        assert len(calls) == len(adapter.gates)
        monkeypatch.setattr(Run, "recall", lambda _, owner, source, compute: compute())
        with adapter.grounded(tokens):
            expected = unet(**arguments).sample
    assert len(calls) == 2 * len(adapter.gates)
    assert all(torch.equal(each, expected) for each in remembered)


def test_another_prompt_is_not_mistaken_for_the_remembered_one():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    prompt = arguments.pop("encoder_hidden_states")
    with torch.no_grad(), adapter.injected(unet), adapter.grounded(tokens):
        first = unet(**arguments, encoder_hidden_states=prompt).sample
        other = unet(**arguments, encoder_hidden_states=-prompt).sample
        prompt.neg_()  # the same tensor, changed in place
        changed = unet(**arguments, encoder_hidden_states=prompt).sample
    assert not torch.equal(first, other)
    assert torch.equal(other, changed)


def test_closed_gates_and_scale_zero_cost_nothing(monkeypatch):
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    gates = list(adapter.gates.values())
    tokens = adapter.tokens(*tiny.layout()).detach()
    calls = []
    for gate in gates:
        gate.register_forward_pre_hook(lambda *_: calls.append(1))
    gates[0].alpha_attn.data.zero_()
    gates[0].alpha_dense.data.zero_()
    with torch.no_grad(), adapter.injected(unet), adapter.grounded(tokens) as run:
        unet(**arguments)
        assert len(calls) == len(gates) - 1
        run.scale = 0.0
        unet(**arguments)
        assert len(calls) == len(gates) - 1
        run.scale = 0.5
        unet(**arguments)
        assert len(calls) == 2 * (len(gates) - 1)


def test_contexts_nest_and_end():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with torch.no_grad(), adapter.injected(unet):
        plain = unet(**arguments).sample
        with adapter.grounded(tokens):
            outer = unet(**arguments).sample
            with adapter.grounded(None):
                assert torch.equal(unet(**arguments).sample, plain)
            assert torch.equal(unet(**arguments).sample, outer)
        assert torch.equal(unet(**arguments).sample, plain)


def test_gradient_checkpointing_gives_the_same_gradients():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    gradients = []
    for checkpointing in (False, True):
        unet.train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        adapter.zero_grad()
        with adapter.injected(unet), adapter.grounded(adapter.tokens(*tiny.layout())):
            unet(**arguments).sample.square().mean().backward()
        gradients.append([p.grad.clone() for p in adapter.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, rtol=1e-4, atol=1e-7)


def test_position_features_see_the_true_grid():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet, AdapterConfig(phrase_dim=32, context_dim=32,
                                                    position_features=True))  # fmt: skip
    tokens = adapter.tokens(*tiny.layout()).detach()
    with torch.no_grad(), adapter.injected(unet), adapter.grounded(tokens):
        wide = unet(**tiny.inputs(size=(6, 10))).sample
        grids = {slot.grid for slot in adapter._slots}
    assert wide.shape[-2:] == (6, 10)
    assert grids == {(6, 10), (3, 5)}


def test_feed_forward_chunking_is_respected():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with torch.no_grad(), adapter.injected(unet), adapter.grounded(tokens):
        whole = unet(**arguments).sample
        for module in unet.modules():
            if isinstance(module, BasicTransformerBlock):
                module.set_chunk_feed_forward(6, dim=1)
        assert torch.allclose(unet(**arguments).sample, whole, atol=1e-5)


def test_prompt_masks_reach_the_attention():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    prompt = arguments.pop("encoder_hidden_states")
    mask = torch.arange(9).expand(2, 9) < 4
    with torch.no_grad(), adapter.injected(unet), adapter.grounded(tokens):
        short = unet(**arguments, encoder_hidden_states=prompt[:, :4]).sample
        masked = unet(**arguments, encoder_hidden_states=prompt, encoder_attention_mask=mask).sample
    assert torch.allclose(masked, short, atol=1e-5)


def test_lora_beside_the_gates():
    peft = pytest.importorskip("peft")
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with torch.no_grad(), adapter.injected(unet):
        with adapter.grounded(tokens):
            before = unet(**arguments).sample
        unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"],
                                         init_lora_weights=False))  # fmt: skip
        with adapter.grounded(tokens):
            both = unet(**arguments).sample
        assert not torch.allclose(both, before, atol=1e-4)
        assert not any("lora" in key for key in adapter.state_dict())
        unet.disable_adapters()
        with adapter.grounded(tokens):
            assert torch.equal(unet(**arguments).sample, before)


def test_controlnet_beside_the_gates():
    from diffusers.models.controlnets.controlnet import ControlNetModel

    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with torch.no_grad(), adapter.injected(unet):
        control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
        tiny.randomise(control)
        down, middle = control(
            **arguments, controlnet_cond=torch.rand(2, 3, 16, 24), return_dict=False
        )
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        with adapter.grounded(tokens):
            alone = unet(**arguments).sample
            assert not torch.allclose(unet(**arguments, **extra).sample, alone, atol=1e-3)


def ip_adapter_state(unet):
    """A small random IP-Adapter in the published layout."""
    torch.manual_seed(5)
    attended = [name for name in unet.attn_processors if "attn2" in name]
    widths = [unet.get_submodule(name.removesuffix(".processor")).inner_dim for name in attended]
    layers = {
        f"{2 * index + 1}.{kind}_ip.weight": torch.randn(width, tiny.WIDTH) / 6
        for index, width in enumerate(widths)
        for kind in ("to_k", "to_v")
    }
    projection = {
        "proj.weight": torch.randn(4 * tiny.WIDTH, 20) / 5,
        "proj.bias": torch.zeros(4 * tiny.WIDTH),
        "norm.weight": torch.ones(tiny.WIDTH),
        "norm.bias": torch.zeros(tiny.WIDTH),
    }
    return {"image_proj": projection, "ip_adapter": layers}


@pytest.mark.parametrize("first", ["gates", "ip-adapter"])
def test_ip_adapter_beside_the_gates(first):
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    arguments["added_cond_kwargs"] = {"image_embeds": [torch.randn(2, 1, 20)]}
    if first == "gates":
        adapter.inject(unet)
        unet._load_ip_adapter_weights([ip_adapter_state(unet)], low_cpu_mem_usage=False)
    else:
        unet._load_ip_adapter_weights([ip_adapter_state(unet)], low_cpu_mem_usage=False)
        adapter.inject(unet)
    with torch.no_grad():
        pictured = unet(**arguments).sample
        with adapter.grounded(tokens):
            both = unet(**arguments).sample
        adapter.eject()
        assert not torch.allclose(both, pictured, atol=1e-3)
        assert torch.equal(unet(**arguments).sample, pictured)
    kinds = {type(processor) for processor in unet.attn_processors.values()}
    assert GroundedProcessor not in kinds
    assert any("IPAdapter" in kind.__name__ for kind in kinds)


def test_one_adapter_at_a_time():
    unet = tiny.unet()
    first, second = tiny.open_adapter(unet), tiny.open_adapter(unet)
    with first.injected(unet):
        with pytest.raises(LavallamaError, match="one adapter at a time"):
            second.inject(unet)
        with pytest.raises(LavallamaError, match="one adapter at a time"):
            first.inject(unet)
    with second.injected(unet):
        assert any(isinstance(slot, GroundedBlock) for slot in second._slots)


def test_misuse_is_named():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet)
    tokens = adapter.tokens(*tiny.layout()).detach()
    with pytest.raises(LavallamaError, match="call inject"), adapter.grounded(tokens):
        pass
    with pytest.raises(LavallamaError, match="BasicTransformerBlock; Linear has none"):
        GligenAdapter.for_unet(torch.nn.Linear(2, 2))
    with (
        adapter.injected(unet),
        pytest.raises(LavallamaError, match="'text' reads latents alone"),
        adapter.grounded(tokens, extra=torch.zeros(2, 5, 8, 12)),
    ):
        pass
    with pytest.raises(LavallamaError, match="'zero' or 'residual'; got 'one'"):
        GligenAdapter.for_unet(unet, init="one")
    with pytest.raises(AttentionError, match="needs a CUDA device"):
        adapter.inject(unet, attention="xformers")
    with pytest.raises(CheckpointError, match="one gate for each transformer block"):
        adapter.inject(tiny.unet("sdxl"))
    with pytest.raises(CheckpointError, match="channels wide"):
        adapter.inject(tiny.unet(block_out_channels=(64, 64)))
    with (
        adapter.injected(unet),
        adapter.grounded(tokens),
        pytest.raises(LavallamaError, match="runs on 3, the tokens are for 2"),
    ):
        unet(**tiny.inputs(batch=3))


def test_attention_without_an_adapter_goes_through_the_backend_asked_for(monkeypatch):
    unet, arguments = tiny.unet(), tiny.inputs()
    expected = unet(**arguments).sample
    asked = []

    def watched(*tensors, backend, **options):
        asked.append(backend)
        return attention(*tensors, backend=backend, **options)

    monkeypatch.setattr("gligen.inject.attention", watched)
    route_attention(unet, "math")
    assert torch.allclose(unet(**arguments).sample, expected, atol=1e-5)
    assert set(asked) == {"math"}
    assert len(asked) == 2 * len(transformer_blocks(unet))
