"""Folders of tiny random models of Stable Diffusion's later families, and open gates for them."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from gligen.adapter import AdapterConfig, GligenAdapter
from tests.pipelines.conftest import LENGTH, MAX_BOXES, WIDTH, tiny_tokenizer
from weights.gligen import save_pretrained

PROJECTION = 12
BLOCKS: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 4,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
}
LINEAR = {"use_linear_projection": True, "attention_head_dim": (1, 2)}
UNETS: dict[str, dict[str, Any]] = {
    "sd1_inpainting": {**BLOCKS, "in_channels": 9},
    "sd2": {**BLOCKS, **LINEAR},
    "sd2_inpainting": {**BLOCKS, **LINEAR, "in_channels": 9},
    "sdxl": {
        **BLOCKS,
        **LINEAR,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2),
        "cross_attention_dim": 2 * WIDTH,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": PROJECTION + 6 * 8,
    },
}
PIPELINES = {
    "sd1_inpainting": "StableDiffusionInpaintPipeline",
    "sd2": "StableDiffusionPipeline",
    "sd2_inpainting": "StableDiffusionInpaintPipeline",
    "sdxl": "StableDiffusionXLPipeline",
}
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def write_family(folder: Path, family: str) -> Path:
    """A diffusers folder that draws 32x32 pixels."""
    torch.manual_seed(0)
    UNet2DConditionModel(**UNETS[family]).save_pretrained(folder / "unet")
    AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=(4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.5,
    ).save_pretrained(folder / "vae")
    index: dict[str, Any] = {
        "_class_name": PIPELINES[family],
        "_diffusers_version": diffusers.__version__,
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    kinds: list[tuple[str, Any]] = [("", CLIPTextModel)]
    if family == "sdxl":
        kinds.append(("_2", CLIPTextModelWithProjection))
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "force_zeros_for_empty_prompt": True,
        }
    else:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    for end, kind in kinds:
        tokenizer = tiny_tokenizer(folder / f"tokenizer{end}")
        if end or family.startswith("sd2"):
            tokenizer.pad_token = "!"
            tokenizer.save_pretrained(folder / f"tokenizer{end}")
        settings = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=32,
            projection_dim=PROJECTION,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            hidden_act="gelu" if end or family.startswith("sd2") else "quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        kind(settings).save_pretrained(folder / f"text_encoder{end}")
    predicts = "v_prediction" if family == "sd2" else "epsilon"
    scheduler = DDIMScheduler(
        **SCHEDULE,
        prediction_type=predicts,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_gates(folder: Path, base: Path, family: str) -> Path:
    """An open adapter for phrases in boxes: phrases are as wide as all text encoders together."""
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    context = UNETS[family]["cross_attention_dim"]
    phrases = WIDTH + PROJECTION if family == "sdxl" else WIDTH
    torch.manual_seed(1)
    config = AdapterConfig(
        max_boxes=MAX_BOXES, phrase_dim=phrases, context_dim=context, hidden_dim=WIDTH
    )
    adapter = GligenAdapter.for_unet(unet, config)
    for gate in adapter.gates.values():
        torch.nn.init.constant_(gate.alpha_attn, 0.8)
        torch.nn.init.constant_(gate.alpha_dense, 0.8)
    save_pretrained(adapter, folder)
    return folder
