"""Putting gates into a UNet that knows nothing of them, and taking them out without a trace.

A UNet built of diffusers' BasicTransformerBlock (SD 1.x, 2.x, SDXL and what people derive from
them) computes, block by block, self-attention, cross-attention, feed-forward. `GroundedBlock` binds
another `forward` to the *instance*, with the gate between the two attentions, and delegates to the
block's own `forward` whenever there is nothing to ground. No submodule is added or replaced: the
UNet's state dict, its LoRA targets and its hooks stay what they were.

`GroundedProcessor` does the same for the attention of those blocks: one attention call for the
whole model, and keys and values of the prompt that are computed once for a run.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

from gligen.box_field import BoxField
from gligen.gate import GatedSelfAttention, GroundingMemory, cell_features
from gligen.isolation import Isolation
from grounding.attention import Backend, attention
from grounding.errors import LavallamaError

__all__ = ["GroundedBlock", "GroundedProcessor", "Run", "route_attention", "transformer_blocks"]

STOCK_PROCESSORS = (AttnProcessor, AttnProcessor2_0)  # others carry somebody's intent: left alone


@dataclass
class Run:
    """One use of an injected UNet: what is grounded, how strongly, and what need not be redone.

    `scale` may be changed between calls of the UNet (the sampler's schedule does). Memories live
    as long as the run and are used without autograd only.
    """

    tokens: Tensor | None = None
    scale: float = 1.0
    extra: Tensor | None = None  # [B, X, h, w] channels beside the latents: `gligen.first_conv`
    isolation: Isolation | None = None
    backend: Backend = "auto"
    _memories: dict[Hashable, Any] = field(default_factory=dict)

    def recall(self, owner: Hashable, source: Tensor, compute: Callable[[], Any]) -> Any:
        """`compute()`, or its result for this very `source` from an earlier call."""
        return compute() if torch.is_grad_enabled() else self.share(owner, source, compute)

    def share(self, owner: Hashable, source: Tensor, compute: Callable[[], Any]) -> Any:
        """`recall` with autograd as well: for what several gates need of the same graph."""
        version = 0 if source.is_inference() else source._version
        stamp = version, torch.is_grad_enabled()
        known = self._memories.get(owner)
        if known is None or known[0] is not source or known[1] != stamp:
            known = (source, stamp, compute())
            self._memories[owner] = known
        return known[2]


def transformer_blocks(unet: nn.Module) -> dict[str, BasicTransformerBlock]:
    """Every BasicTransformerBlock of a UNet by its path, in the order of registration.

    Raises:
        LavallamaError: there are none, or they are not of the kind that GLIGEN's gates fit.
    """
    blocks = {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, BasicTransformerBlock)
    }
    if not blocks:
        raise LavallamaError(
            f"gates go into a UNet made of diffusers' BasicTransformerBlock; "
            f"{type(unet).__name__} has none"
        )
    for path, block in blocks.items():
        if block.norm_type != "layer_norm" or block.attn2 is None or block.pos_embed is not None:
            raise LavallamaError(
                f"gates fit transformer blocks of self-attention and cross-attention with plain "
                f"LayerNorm; {path} has norm_type {block.norm_type!r}"
            )
    return blocks


def route_attention(unet: nn.Module, backend: Backend) -> None:
    """Send the attention of a UNet without an adapter through `grounding.attention`, for good.

    Args:
        unet: any UNet made of BasicTransformerBlock; processors that are not stock stay.
        backend: see `grounding.attention`.
    """
    for block in transformer_blocks(unet).values():
        layers: tuple[Any, ...] = (block.attn1, block.attn2)
        for layer in layers:
            if type(layer.processor) in STOCK_PROCESSORS and _is_plain(layer):
                layer.set_processor(GroundedProcessor(_Always(backend), layer.processor))


class _Always:
    """Stands in for a slot: every call belongs to a run of its own, so nothing is remembered."""

    def __init__(self, backend: Backend) -> None:
        self.backend: Backend = backend

    @property
    def run(self) -> Run:
        return Run(backend=self.backend)


class GroundedBlock:
    """A transformer block with a gate beside it."""

    def __init__(
        self, block: BasicTransformerBlock, gate: GatedSelfAttention, box_field: BoxField | None
    ) -> None:
        self.block: Any = block  # diffusers' attributes are typed as optional
        self.gate = gate
        self.box_field = box_field
        self.run: Run | None = None
        self.closed = False
        self.grid: tuple[int, int] | None = None
        self._own_forward = block.forward
        self._replaced: dict[str, Any] = {}
        self._processors: list[tuple[Any, Any]] = []
        self._hook: Any = None

    def attach(self, parent: nn.Module) -> None:
        """Bind the grounded forward; `parent` is the spatial module whose grid the block sees."""
        self._replaced = {k: v for k, v in vars(self.block).items() if k == "forward"}
        self._own_forward = self.block.forward
        self.block.forward = self.forward
        for layer in (self.block.attn1, self.block.attn2):
            if type(layer.processor) in STOCK_PROCESSORS and _is_plain(layer):
                self._processors.append((layer, layer.processor))
                layer.set_processor(GroundedProcessor(self, layer.processor))
        self._hook = parent.register_forward_pre_hook(self._see_grid, with_kwargs=True)

    def detach(self) -> None:
        """Give the block back its own forward and its attention its own processors."""
        vars(self.block).pop("forward", None)
        vars(self.block).update(self._replaced)
        for layer, original in self._processors:
            if isinstance(layer.processor, GroundedProcessor):
                layer.set_processor(original)
        self._processors.clear()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The block's own forward, or the one below while a run has its gates on."""
        run = self.run
        if run is None or run.tokens is None or run.scale == 0:
            return self._own_forward(hidden_states, *args, **kwargs)
        if self.closed and not torch.is_grad_enabled():
            return self._own_forward(hidden_states, *args, **kwargs)
        return self._grounded_forward(run, hidden_states, *args, **kwargs)

    def _grounded_forward(
        self,
        run: Run,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: Tensor | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Self-attention, gate, cross-attention, feed-forward, each onto the residual stream."""
        block, x = self.block, hidden_states
        extra = dict(cross_attention_kwargs or {})
        context = encoder_hidden_states if block.only_cross_attention else None
        x = x + block.attn1(
            block.norm1(x), encoder_hidden_states=context, attention_mask=attention_mask, **extra
        )
        x = self.gate(x, self._memory(run, x), scale=run.scale, backend=run.backend)
        x = x + block.attn2(
            block.norm2(x),
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=encoder_attention_mask,
            **extra,
        )
        return x + self._feed_forward(block.norm3(x))

    def _memory(self, run: Run, x: Tensor) -> GroundingMemory:
        tokens = run.tokens
        assert tokens is not None
        if tokens.shape[0] != x.shape[0]:
            raise LavallamaError(
                f"grounding tokens must come one set for each image of the batch: the UNet runs on "
                f"{x.shape[0]}, the tokens are for {tokens.shape[0]}; with guidance, give the null "
                "tokens of the unconditional half as well"
            )
        if not self._knows_places and run.isolation is None:
            return run.recall(self.gate, tokens, lambda: self.gate.remember(tokens))
        grid = self.grid
        assert grid is not None, "the parent's hook runs before the block"
        assert grid[0] * grid[1] == x.shape[1]
        return run.recall((self.gate, grid), tokens, lambda: self._placed_memory(run, tokens, grid))

    def _placed_memory(self, run: Run, tokens: Tensor, grid: tuple[int, int]) -> GroundingMemory:
        cells, isolation = cell_features(*grid, tokens.device), run.isolation
        owned = mask = None
        if isolation is not None:
            count = tokens.shape[1]
            owned, mask = run.share(
                (isolation, grid), tokens, lambda: isolation.territories(*grid, count)
            )
        box_field = self.box_field
        if box_field is None:
            return self.gate.remember(tokens, cells=cells, mask=mask)
        drawn = run.share((box_field, grid), tokens, lambda: box_field(tokens, *grid, owned))
        return self.gate.remember(box_field.bare(tokens), cells=cells, field=drawn, mask=mask)

    @property
    def _knows_places(self) -> bool:
        return self.gate.position is not None or self.box_field is not None

    def _feed_forward(self, x: Tensor) -> Tensor:
        size, axis = self.block._chunk_size, self.block._chunk_dim
        if size is None:
            return self.block.ff(x)
        return torch.cat([self.block.ff(part) for part in x.split(size, axis)], axis)

    def _see_grid(self, _module: nn.Module, args: Any, kwargs: Any) -> None:
        feature_map = args[0] if args else kwargs["hidden_states"]
        self.grid = feature_map.shape[-2], feature_map.shape[-1]


class GroundedProcessor:
    """A processor for diffusers' Attention that goes through `grounding.attention` during a run.

    Outside of a run it is the processor that it replaced. It can be made without arguments because
    diffusers' IP-Adapter loader makes one of whatever class it finds.
    """

    def __init__(self, slot: GroundedBlock | _Always | None = None, original: Any = None) -> None:
        self.slot = slot
        self.original = AttnProcessor2_0() if original is None else original

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """[B, N, C] visual tokens that attended to the prompt, or to one another."""
        run = None if self.slot is None else self.slot.run
        if run is None:
            return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is None:
            key, value = _keys_values(attn, context, cross=False)
        else:
            key, value = run.recall(attn, context, lambda: _keys_values(attn, context, cross=True))
        query = _heads(attn, attn.to_q(hidden_states))
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, context.shape[1], context.shape[0])
            mask = mask.view(context.shape[0], attn.heads, -1, mask.shape[-1])
        seen = attention(query, key, value, mask=mask, backend=run.backend)
        return attn.to_out[1](attn.to_out[0](seen.transpose(1, 2).flatten(2)))


def _keys_values(attn: Any, context: Tensor, *, cross: bool) -> tuple[Tensor, Tensor]:
    if cross and attn.norm_cross:
        context = attn.norm_encoder_hidden_states(context)
    key, value = _heads(attn, attn.to_k(context)), _heads(attn, attn.to_v(context))
    return (key if attn.norm_k is None else attn.norm_k(key)), value


def _heads(attn: Any, tokens: Tensor) -> Tensor:
    """[B, N, H * D] -> [B, H, N, D]."""
    return tokens.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _is_plain(attn: Any) -> bool:
    """Whether the layer is the plain attention of a transformer block, as the processor assumes."""
    return (
        attn.spatial_norm is None
        and attn.group_norm is None
        and not attn.residual_connection
        and attn.rescale_output_factor == 1.0
    )
