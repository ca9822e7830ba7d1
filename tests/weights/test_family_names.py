"""What files are, by names as they stand in published ones."""

import pytest

from weights.families import describe, find_family, name_base

MIDDLE = "down_blocks.1.attentions.0.transformer_blocks.0"
FILES = {
    "a LoRA for FLUX": {
        "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": (16, 3072),
        "lora_unet_single_blocks_9_linear1.lora_down.weight": (16, 3072),
    },
    "a LoRA for FLUX ": {
        "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight": (16, 3072),
        "transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight": (16, 3072),
    },
    "a LoRA for HunyuanVideo": {
        "diffusion_model.double_blocks.19.img_attn.proj.lora_A.weight": (32, 3072)
    },
    "a LoRA for Stable Diffusion 3": {
        "transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight": (4, 1536)
    },
    "a LoRA for Wan": {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": (32, 5120)},
    "a LoRA for Wan ": {"lora_unet_blocks_0_ffn_0.lora_down.weight": (32, 5120)},
    "a LoRA for Qwen-Image": {
        "transformer.transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight": (16, 3072)
    },
    "a LoRA for Lumina or Z-Image": {
        "diffusion_model.layers.0.attention.qkv.lora_A.weight": (16, 3840)
    },
    "a LoRA for AnimateDiff (a motion module)": {
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0."
        "attention_blocks.0.processor.to_q_lora.down.weight": (64, 320)
    },
    "a LoRA for a language model": {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (64, 4096)
    },
    "a LoRA for Stable Diffusion XL": {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048)
    },
    "a LoRA for Stable Diffusion 1.x": {f"unet.{MIDDLE}.attn2.to_v.lora_A.weight": (8, 768)},
    "a LoRA for Stable Diffusion 1.x ": {
        f"{MIDDLE}.attn2.processor.to_v_lora.down.weight": (8, 768)
    },
    "a LoRA for Stable Diffusion": {
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 768)
    },
    "a ControlNet for Stable Diffusion 2.x": {
        "control_model.zero_convs.0.0.weight": (320, 320, 1, 1),
        "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
    },
    "a ControlNet": {"controlnet_blocks.0.weight": (3072, 3072)},
    "a T2I-Adapter": {"body.0.block1.weight": (320, 320, 3, 3)},
    "an IP-Adapter": {"image_proj.latents": (1, 16, 768)},
    "a textual inversion": {"clip_l": (4, 768), "clip_g": (4, 1280)},
    "a VAE": {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)},
    "a VAE ": {"decoder.mid_block.resnets.0.conv1.weight": (512, 512, 3, 3)},
    "a checkpoint for Stable Diffusion XL": {
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048)
    },
    "a checkpoint for FLUX": {"model.diffusion_model.double_blocks.0.img_attn.proj.weight": (1, 1)},
    "weights for FLUX": {"double_blocks.0.img_attn.proj.weight": (3072, 3072)},
}


@pytest.mark.parametrize("said", FILES)
def test_a_file_says_what_it_is(said):
    assert describe(FILES[said]) == said.strip()


def test_what_nobody_knows_is_not_guessed():
    assert describe({}) is None
    assert describe({"x": (1,), "fc.weight": (2, 2)}) is None
    assert find_family(["encoder.layers.0.weight"]) is None


def test_bases_are_named_by_the_text_they_read():
    assert name_base({"cross_attention_dim": 2048}) == "Stable Diffusion XL"
    assert "64 channels of text" in name_base({"cross_attention_dim": 64})
