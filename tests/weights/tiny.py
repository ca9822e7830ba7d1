"""Models of Stable Diffusion's shape and a few thousand parameters, and the files made of them."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, PNDMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from gligen.adapter import AdapterConfig, GligenAdapter
from weights.keymap import SD1, unet_table
from weights.ldm_vae import vae_table

WIDTH = 64
VOCABULARY = 300


def unet(attention_type: str = "default", in_channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=WIDTH,
        attention_type=attention_type,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(32, 64),
        layers_per_block=2,
    )


def tiny_vae() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )


def text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=1,
            vocab_size=VOCABULARY,
            max_position_embeddings=16,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
            pad_token_id=VOCABULARY - 1,
        )
    )


def adapter(base: nn.Module, dtype: torch.dtype = torch.float32) -> GligenAdapter:
    """An adapter with noise in every parameter, alphas included."""
    made = GligenAdapter.for_unet(base, AdapterConfig(phrase_dim=WIDTH, context_dim=WIDTH))
    generator = torch.Generator().manual_seed(7)
    for parameter in made.parameters():
        nn.init.normal_(parameter, generator=generator)
    return made.to(dtype)


def write_tokenizer(folder: Path) -> Path:
    """CLIP's kind of tokenizer that spells every word."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary["<|startoftext|>"] = VOCABULARY - 2
    vocabulary["<|endoftext|>"] = VOCABULARY - 1
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def write_pipeline(
    folder: Path, *, base: nn.Module | None = None, autoencoder: nn.Module | None = None
) -> Path:
    """A folder in diffusers' layout."""
    parts = {
        "unet": unet() if base is None else base,
        "vae": vae() if autoencoder is None else autoencoder,
        "text_encoder": text_encoder(),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    PNDMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    return folder


def official_unet(base: nn.Module) -> dict[str, Tensor]:
    """A UNet's parameters under official names, by the inverse of the table under test."""
    back = {ours: theirs for theirs, ours in unet_table(SD1).items()}
    return prefixed(base.state_dict(), back)


def official_vae(autoencoder: AutoencoderKL) -> dict[str, Tensor]:
    back = {str(ours): theirs for theirs, ours in vae_table(2, 2).items()}
    state = prefixed(autoencoder.state_dict(), back)
    return {
        key: value[:, :, None, None] if ".attn_1." in key and value.dim() == 2 else value
        for key, value in state.items()
    }


def official_text(encoder: CLIPTextModel) -> dict[str, Tensor]:
    state = {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
    state["embeddings.position_ids"] = torch.arange(16)[None]
    return {f"transformer.text_model.{key}": value for key, value in state.items()}


def prefixed(state: dict[str, Tensor], table: dict[str, str]) -> dict[str, Tensor]:
    """Rename by prefix, independently of `keymap.rename`."""
    renamed = {}
    for key, value in state.items():
        fits = [head for head in table if key.startswith(f"{head}.")]
        assert len(fits) == 1, key
        renamed[table[fits[0]] + key[len(fits[0]) :]] = value
    return renamed


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """The same names, types, shapes and bits."""
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype
        and one[key].shape == other[key].shape
        and torch.equal(one[key], other[key])
        for key in one
    )
