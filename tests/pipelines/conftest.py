"""A tiny random model in the formats of the real one: everything but the knowledge."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from gligen.adapter import AdapterConfig, GligenAdapter
from pipelines.generation.generator import Generator
from weights.gligen import save_pretrained

WIDTH = 16
LENGTH = 32  # tokens that the text encoder reads
MAX_BOXES = 5
SIDE = 32  # pixels: 8 latent cells of 4


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with a random model that draws pictures of 32x32."""
    folder = tmp_path_factory.mktemp("tiny") / "base"
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ).save_pretrained(folder / "vae")
    tokenizer = tiny_tokenizer(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=32,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "text_encoder")
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    scheduler.register_to_config(generation={"guidance": 6.5})
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def adapter_folder(model_folder: Path) -> Path:
    """Gates for it that are open: with them a picture changes."""
    folder = model_folder.parent / "gligen"
    unet = UNet2DConditionModel.from_pretrained(model_folder / "unet")
    torch.manual_seed(1)
    config = AdapterConfig(
        max_boxes=MAX_BOXES, phrase_dim=WIDTH, context_dim=WIDTH, hidden_dim=WIDTH
    )
    adapter = GligenAdapter.for_unet(unet, config)
    for gate in adapter.gates.values():
        torch.nn.init.constant_(gate.alpha_attn, 0.8)
        torch.nn.init.constant_(gate.alpha_dense, 0.8)
    save_pretrained(adapter, folder)
    return folder


@pytest.fixture(scope="session")
def generator(model_folder: Path, adapter_folder: Path) -> Generator:
    """The tiny model with its gates, on the CPU."""
    return Generator.from_pretrained(model_folder, adapter_folder, device="cpu")


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer without merges: each byte is a token, any text can be said."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    letters += [chr(code) for code in (*range(0xA1, 0xAD), *range(0xAE, 0x100))]
    letters += [chr(0x100 + index) for index in range(256 - len(letters))]  # the unprintable bytes
    tokens = letters + [f"{letter}</w>" for letter in letters]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=LENGTH,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
