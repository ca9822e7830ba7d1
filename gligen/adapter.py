"""A GLIGEN adapter: tokenizer, gates and extra channels, apart from the frozen UNet they ground.

    adapter = GligenAdapter.for_unet(unet)
    with adapter.injected(unet), adapter.grounded(adapter.tokens(boxes, masks, phrases)):
        noise = unet(latents, t, encoder_hidden_states=prompt).sample

Its state dict holds `position_net.*` and `<path of a transformer block>.fuser.*`, the names that a
gated UNet of diffusers would give the same parameters; `box_field.*` if it has one; and, if it
reads maps or inpaints, `downsample_net.*` and the widened first convolution `conv_in.*`.
Axes: B batch, N grounding tokens, D channels of a grounding token, h x w latent cells.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from diffusers.models.attention import BasicTransformerBlock
from jaxtyping import Float
from torch import Tensor, nn

from gligen.box_field import BoxField
from gligen.config import AdapterConfig
from gligen.downsampler import MapDownsampler, shrink_map
from gligen.first_conv import GroundedConv, widened
from gligen.gate import GatedSelfAttention
from gligen.inject import GroundedBlock, Run, transformer_blocks
from gligen.isolation import Isolation
from gligen.tokenizers import tokenizer_for
from grounding.attention import Backend, choose_backend
from grounding.errors import CheckpointError, LavallamaError

__all__ = ["AdapterConfig", "GligenAdapter"]

FUSER = "fuser"  # the name of a gate inside its block, in every published layout

log = logging.getLogger(__name__)


class GligenAdapter(nn.Module):
    """Grounding tokenizer and one gate for each transformer block of a UNet.

    Args:
        config: what the adapter is.
        gates: by the path of their transformer block.
        conv_in: the widened first convolution, if the UNet is to read more than latents.
    """

    def __init__(
        self,
        config: AdapterConfig,
        gates: dict[str, GatedSelfAttention],
        conv_in: nn.Conv2d | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.position_net: Any = tokenizer_for(config)
        self.box_field = _field_for(config)
        for path, gate in gates.items():
            _grow(self, path).add_module(FUSER, gate)
        self.downsample_net = _downsampler_for(config)
        self.conv_in = conv_in
        self._slots: list[GroundedBlock] = []
        self._first: GroundedConv | None = None
        self._attention: Backend = "auto"

    @classmethod
    def for_unet(
        cls,
        unet: nn.Module,
        config: AdapterConfig | None = None,
        *,
        init: Literal["zero", "residual"] = "zero",
    ) -> "GligenAdapter":
        """A fresh adapter that fits a UNet and, at first, changes nothing.

        Args:
            unet: any UNet made of BasicTransformerBlock; it is only looked at.
            config: by default a text adapter as wide as the UNet's text context.
            init: "zero" closes both alphas of each gate, as GLIGEN does; "residual" opens them and
                zeroes the output projections instead, so that every weight learns from the second
                step on.
        """
        if init not in ("zero", "residual"):
            raise LavallamaError(f"init must be 'zero' or 'residual'; got {init!r}")
        blocks = transformer_blocks(unet)
        if config is None:
            width = next(iter(blocks.values())).cross_attention_dim
            config = AdapterConfig()
            if width is not None:  # the text encoders' phrases are as wide as their context
                config = AdapterConfig(phrase_dim=width, context_dim=width)
        gates = {path: _gate_for(block, config) for path, block in blocks.items()}
        if init == "residual":
            for gate in gates.values():
                gate.reset_as_residual()
        return cls(config, gates, _conv_for(unet, config))

    @property
    def gates(self) -> dict[str, GatedSelfAttention]:
        """The gates by the path of their transformer block."""
        suffix = f".{FUSER}"
        return {
            path.removesuffix(suffix): module
            for path, module in self.named_modules()
            if isinstance(module, GatedSelfAttention)
        }

    @property
    def is_injected(self) -> bool:
        """Whether the adapter sits in a UNet."""
        return bool(self._slots)

    def tokens(
        self,
        *grounding: Tensor,
    ) -> Float[Tensor, "B N D"]:
        """Grounding tokens of a batch.

        With a box field they carry the layout along, in D + P + 5 channels (`BoxField.attach`).

        Args:
            grounding: what the tokenizer of this modality takes (`gligen.tokenizers`): boxes, masks
                and phrases for "text"; pictures and two more masks for "text_image"; points and
                masks for "keypoint"; maps and masks for maps.
        """
        tokens = self.position_net(*grounding)
        if self.box_field is None:
            return tokens
        boxes, masks, phrases = grounding
        return self.box_field.attach(tokens, boxes, masks, phrases)

    def extra_channels(
        self, maps: Float[Tensor, "B M H W"], height: int, width: int
    ) -> Float[Tensor, "B X h w"]:
        """What the UNet reads of maps beside latents of `height` x `width` cells.

        Raises:
            LavallamaError: this adapter reads no maps.
        """
        if self.config.map is None:
            raise LavallamaError(
                f"an adapter of the modality {self.config.modality!r} reads no maps"
            )
        if self.downsample_net is None:
            return shrink_map(maps, height, width)
        return self.downsample_net(maps, height, width)

    def null_tokens(self, batch: int, count: int | None = None) -> Float[Tensor, "B N D"]:
        """Grounding tokens of images with no region: what the unconditional branch is given.

        Args:
            batch: images.
            count: tokens of an image; all that the adapter has if None.
        """
        count = self.config.token_count if count is None else count
        return self.tokens(*self.position_net.nothing(batch, count))

    def inject(self, unet: nn.Module, *, attention: Backend = "auto") -> None:
        """Put the gates into a UNet, which computes what it did until `grounded` opens them.

        Args:
            unet: the UNet that the adapter was made for, or one of the same shape.
            attention: the backend of all attention, the UNet's own included, while `grounded`.

        Raises:
            LavallamaError: this adapter, or another, is injected already.
            CheckpointError: the gates do not fit the blocks of this UNet.
            AttentionError: the backend cannot run where the UNet is.
        """
        blocks, gates = transformer_blocks(unet), self.gates
        if self._slots or any(_is_grounded(block) for block in blocks.values()):
            raise LavallamaError("a UNet carries one adapter at a time; eject() the first one")
        _check_fit(blocks, gates)
        first = None if self.conv_in is None else self._widen(unet, self.conv_in)
        parameter = next(unet.parameters())
        choose_backend(attention, parameter.device, parameter.dtype)
        self._attention = attention
        for path, block in blocks.items():
            slot = GroundedBlock(block, gates[path], self.box_field)
            slot.attach(unet.get_submodule(path.rpartition(".transformer_blocks")[0]))
            self._slots.append(slot)
        self._first = first
        if first is not None:
            first.attach()

    def eject(self) -> None:
        """Take the gates out: forwards and attention processors are the UNet's own again."""
        for slot in self._slots:
            slot.detach()
        self._slots.clear()
        if self._first is not None:
            self._first.detach()
            self._first = None

    @contextmanager
    def injected(
        self, unet: nn.Module, *, attention: Backend = "auto"
    ) -> "Iterator[GligenAdapter]":
        """`inject`, and `eject` at the end, whatever happens."""
        self.inject(unet, attention=attention)
        try:
            yield self
        finally:
            self.eject()

    @contextmanager
    def grounded(
        self,
        tokens: Tensor | None,
        scale: float = 1.0,
        *,
        extra: Tensor | None = None,
        isolation: Isolation | None = None,
    ) -> Iterator[Run]:
        """Run the injected UNet with its gates on.

        Without autograd, keys and values of the grounding tokens and of the prompt are kept for as
        long as the context lasts, and gates whose alphas are both zero are skipped. A scale of 0,
        or no tokens, costs nothing. With gradient checkpointing, call `backward` inside.

        Args:
            tokens: [B, N, D] for the batch that the UNet will see, or None.
            scale: factor on every gate; `run.scale` may be set anew between calls of the UNet.
            extra: [B, X, h, w] channels beside the latents (`extra_channels`, or the known latents
                and the mask of inpainting), for adapters that widen the first convolution. At scale
                0 the UNet's own first convolution runs, unless the adapter inpaints.
            isolation: where the regions lie, to keep them apart; None: they see one another.

        Yields:
            The run.
        """
        if not self._slots:
            raise LavallamaError("the adapter is in no UNet; call inject(unet) first")
        if extra is not None and self._first is None:
            raise LavallamaError(
                f"an adapter of the modality {self.config.modality!r} reads latents alone; "
                "leave out extra"
            )
        if isolation is not None and tokens is not None:
            isolation.check(tokens)
        run = Run(
            tokens=tokens, scale=scale, extra=extra, isolation=isolation, backend=self._attention
        )
        before = [(slot.run, slot.closed) for slot in self._slots]
        first, run_before = self._first, None if self._first is None else self._first.run
        closed = [False] * len(before) if torch.is_grad_enabled() else self._closed()
        for slot, is_closed in zip(self._slots, closed, strict=True):
            slot.run, slot.closed = run, is_closed
        if first is not None:
            first.run = run
        try:
            yield run
        finally:
            for slot, (earlier, was_closed) in zip(self._slots, before, strict=True):
                slot.run, slot.closed = earlier, was_closed
            if first is not None:
                first.run = run_before

    def _widen(self, unet: nn.Module, wide: nn.Conv2d) -> GroundedConv:
        conv = _first_conv(unet)
        if conv.out_channels != wide.out_channels:
            raise CheckpointError(
                f"the adapter's first convolution has {wide.out_channels} channels, the UNet's "
                f"{conv.out_channels}; take the adapter of this UNet"
            )
        return GroundedConv(conv, wide, swaps=not self.config.inpainting)

    def _closed(self) -> list[bool]:
        """Which gates are the identity, found with one look at the device."""
        alphas = [(slot.gate.alpha_attn, slot.gate.alpha_dense) for slot in self._slots]
        flat = torch.stack([alpha.detach() for pair in alphas for alpha in pair])
        return (flat.view(-1, 2) == 0).all(dim=1).tolist()


def _gate_for(block: BasicTransformerBlock, config: AdapterConfig) -> GatedSelfAttention:
    heads: int = block.attn1.heads
    return GatedSelfAttention(
        query_dim=block.dim,
        context_dim=config.context_dim,
        heads=heads,
        head_dim=block.attn1.inner_dim // heads,
        position_features=config.position_features,
        field_dim=config.context_dim if config.field_dim else 0,
    )


def _field_for(config: AdapterConfig) -> BoxField | None:
    if not config.field_dim:
        return None
    return BoxField(
        phrase_dim=config.phrase_dim,
        out_dim=config.context_dim,
        hidden_dim=config.field_dim,
        frequencies=config.frequencies,
    )


def _downsampler_for(config: AdapterConfig) -> MapDownsampler | None:
    sizes = config.map
    if sizes is None or not sizes.hidden_channels:
        return None
    return MapDownsampler(
        in_channels=sizes.read_channels,
        hidden_channels=sizes.hidden_channels,
        out_channels=sizes.extra_channels,
        smooth=config.modality != "sem",
    )


def _conv_for(unet: nn.Module, config: AdapterConfig) -> nn.Conv2d | None:
    """The widened first convolution: known latents and a mask, or the channels of a map."""
    if not config.inpainting and config.map is None:
        return None
    latents: int = unet.get_submodule("conv_out").out_channels  # pyright: ignore
    if _first_conv(unet).in_channels != latents:
        raise CheckpointError(
            f"the adapter widens the UNet's first convolution, and this UNet's already reads "
            f"{_first_conv(unet).in_channels} channels (it inpaints by itself): take a base that "
            "reads latents alone, or an adapter that does"
        )
    extra = latents + 1 if config.map is None else config.map.extra_channels
    return widened(_first_conv(unet), latents, extra)


def _first_conv(unet: nn.Module) -> nn.Conv2d:
    conv = unet.get_submodule("conv_in")
    assert isinstance(conv, nn.Conv2d)
    return conv


def _grow(root: nn.Module, path: str) -> nn.Module:
    """The module at `path` under `root`, grown from plain modules where there is none yet."""
    for name in path.split("."):
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    return root


def _check_fit(blocks: dict[str, BasicTransformerBlock], gates: dict[str, Any]) -> None:
    odd = sorted(set(blocks) ^ set(gates))
    if odd:
        raise CheckpointError(
            f"an adapter has one gate for each transformer block of its UNet: {len(gates)} gates, "
            f"{len(blocks)} blocks, first difference {odd[0]}; take the adapter of this UNet"
        )
    for path, block in blocks.items():
        if gates[path].query_dim != block.dim:
            raise CheckpointError(
                f"the gate of {path} is {gates[path].query_dim} channels wide, the UNet's block "
                f"{block.dim}; take the adapter of this UNet"
            )


def _is_grounded(block: BasicTransformerBlock) -> bool:
    bound_to = getattr(vars(block).get("forward"), "__self__", None)
    return isinstance(bound_to, GroundedBlock)
