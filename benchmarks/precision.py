"""What bfloat16 buys on this machine's CPU: `python -m benchmarks.precision`.

The networks of which large models are made, at their real sizes with random parameters, compute
once in float32 and once in bfloat16: seconds, and how much signal there is to the noise that
rounding adds (in dB, over all values of the result). Whole pictures of Stable Diffusion 1.4's size
are compared by `python -m benchmarks.generate --size sd14 --dtype auto`. The last line is JSON.
"""

import argparse
import copy
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.random_model import SIZES, RandomModel
from pipelines.device import BFLOAT16_PARAMETERS, computes_bfloat16
from seem.config import CONFIGS
from seem.model import build_seem

CPU = torch.device("cpu")
SDXL_UNET: dict[str, Any] = {  # stabilityai/stable-diffusion-xl-base-1.0, unet/config.json
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
LLAMA_7B: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
}
LLAMA_LAYERS = 2  # of 32, which are all alike
Case = tuple[nn.Module, Callable[[Any, torch.dtype], Tensor]]


def unet_sd14() -> Case:
    """One guided step of Stable Diffusion 1.4 at 512 x 512 pixels."""
    model = RandomModel(SIZES["sd14"], CPU, torch.float32).unet(gated=False)
    return model, lambda unet, dtype: _step(unet, dtype, 768)


def unet_sdxl() -> Case:
    """One guided step of SDXL at 512 x 512 pixels, half of what it is made for."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    told = {"text_embeds": torch.randn(2, 1280), "time_ids": torch.full((2, 6), 512.0)}
    model = UNet2DConditionModel(**SDXL_UNET)
    return model, lambda unet, dtype: _step(
        unet, dtype, 2048, added_cond_kwargs={k: v.to(dtype) for k, v in told.items()}
    )


def _step(unet: Any, dtype: torch.dtype, width: int, **told: Any) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 64, 64, generator=draw).to(dtype)
    words = torch.randn(2, 77, width, generator=draw).to(dtype)
    return unet(latents, torch.tensor(500), encoder_hidden_states=words, **told).sample


def vae_sd14() -> Case:
    """Decoding a picture of 512 x 512 pixels."""
    model = RandomModel(SIZES["sd14"], CPU, torch.float32).vae()
    latents = torch.randn(1, 4, 64, 64)
    return model, lambda vae, dtype: vae.decode(latents.to(dtype)).sample


def bundled_unet() -> Case:
    """One guided step of the bundled generator, at its 128 x 128 pixels."""
    from weights.base import load_base

    model = load_base().unet
    channels, cells = model.config["in_channels"], model.config["sample_size"]
    words = torch.randn(2, 40, model.config["cross_attention_dim"])
    latents = torch.randn(2, channels, cells, cells)
    return (
        model,
        lambda unet, dtype: (
            unet(latents.to(dtype), torch.tensor(500), encoder_hidden_states=words.to(dtype)).sample
        ),
    )


def seem_backbone() -> Case:
    """Encoding a picture of 640 x 480 pixels with SEEM's Focal-T."""
    model = build_seem(CONFIGS["focalt"]).backbone
    pixels = torch.randn(1, 3, 480, 640)
    return model, lambda backbone, dtype: _last(backbone(pixels.to(dtype)))


def _last(maps: Any) -> Tensor:
    return list(maps.values() if isinstance(maps, dict) else maps)[-1]


def llava_7b() -> Case:
    """Reading a picture and a question of 640 tokens, by 2 of the 32 layers of a LLaVA 7B."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(num_hidden_layers=LLAMA_LAYERS, vocab_size=8, **LLAMA_7B)
    words = torch.randn(1, 640, 4096)
    return LlamaModel(
        config
    ), lambda model, dtype: model(inputs_embeds=words.to(dtype)).last_hidden_state


CASES: dict[str, Callable[[], Case]] = {
    "sd14-unet": unet_sd14,
    "sd14-vae": vae_sd14,
    "sdxl-unet": unet_sdxl,
    "seem-focalt": seem_backbone,
    "llava-7b": llava_7b,
    "bundled-unet": bundled_unet,
}


def measure(repeats: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each case: what it took in both types, and the signal to the noise of rounding."""
    for name, build in CASES.items():
        torch.manual_seed(0)
        model, run = build()
        model = model.eval().requires_grad_(False)
        parameters = sum(p.numel() for p in model.parameters())
        exact, slow = _timed(model, run, torch.float32, repeats)
        rounded, quick = _timed(model.to(torch.bfloat16), run, torch.bfloat16, repeats)
        noise = (rounded.float() - exact).pow(2).mean() / exact.var()
        yield (
            name,
            {
                "parameters": parameters,
                "float32": round(slow, 3),
                "bfloat16": round(quick, 3),
                "ratio": round(quick / slow, 3),
                "snr_db": round(-10 * math.log10(noise.item()), 1),
            },
        )


def _timed(
    model: nn.Module, run: Callable[..., Tensor], dtype: torch.dtype, repeats: int
) -> tuple[Tensor, float]:
    seconds, result = [], run(model, dtype)
    for _ in range(repeats):
        start = time.perf_counter()
        result = run(model, dtype)
        seconds.append(time.perf_counter() - start)
    return copy.copy(result), min(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=2, help="after a first; the quickest counts")
    options = parser.parse_args()
    print("| network | parameters | float32, s | bfloat16, s | ratio | signal to noise, dB |")
    print("|---|---|---|---|---|---|")
    report = {}
    for name, row in measure(options.repeats):
        report[name] = row
        told = f"{row['float32']} | {row['bfloat16']} | {row['ratio']} | {row['snr_db']}"
        print(f"| {name} | {row['parameters'] / 1e6:.0f} M | {told} |", flush=True)
    machine = {"native_bfloat16": computes_bfloat16(), "limit": BFLOAT16_PARAMETERS}
    machine |= {"threads": torch.get_num_threads(), "machine": platform.machine()}
    print(json.dumps({"benchmark": "precision", **machine, "cases": report}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
