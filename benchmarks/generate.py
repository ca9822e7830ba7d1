"""Ours against diffusers' own GLIGEN pipeline: time, peak memory, and that the output is the same.

    python -m benchmarks.generate --size embedded
    python -m benchmarks.generate --size sd14 --steps 4 --repeats 1

Both sides get the same random parameters, words, boxes, seed and steps (DDIM, which counts gated
steps alike on both). Each runs in a process of its own, which is what makes peak memory comparable:
resident memory on the CPU, allocated memory on CUDA, weights included. The first picture of a
process is a warm-up and not counted. The peer is StableDiffusionGLIGENPipeline, which diffusers
keeps among its deprecated modules. The last line is JSON.
"""

import argparse
import json
import logging
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import device_name, peak_memory
from benchmarks.random_model import SCHEDULER, SIZES, RandomModel
from pipelines.device import choose_dtype

PROMPT, NEGATIVE = "a lava llama beside a volcano", "blurry"
REGIONS = {  # phrase -> normalised xyxy
    "lava llama": (0.1, 0.35, 0.55, 0.95),
    "volcano": (0.5, 0.05, 0.95, 0.6),
    "moon": (0.05, 0.05, 0.25, 0.25),
    "glasses": (0.25, 0.4, 0.4, 0.5),
}
SEED = 7
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Draw = Callable[[], np.ndarray]  # () -> uint8 [H, W, 3]


def build_ours(model: RandomModel, options: argparse.Namespace) -> tuple[Draw, Any]:
    """Our generator; returns what draws a picture, and the VAE."""
    from grounding.prompt import GroundedPrompt
    from pipelines.generation.generator import Generator
    from weights.base import BaseModel

    tokenizer, unet, vae = model.tokenizer(), model.unet(gated=False), model.vae()
    base = BaseModel(
        unet=unet,
        vae=vae,
        text_encoder=model.text_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler_config={**SCHEDULER, "_class_name": "DDIMScheduler"},
        source="random",
    )
    generator = Generator(base=base, adapter=model.adapter(unet), attention=options.attention)
    if options.compile:
        unet.compile()
    pixels = model.size.pixels
    document = GroundedPrompt.model_validate(
        {
            "prompt": PROMPT,
            "negative_prompt": NEGATIVE,
            "canvas": {"width": pixels, "height": pixels},
            "regions": [{"phrase": phrase, "box": box} for phrase, box in REGIONS.items()],
            "sampling": {
                "seed": SEED,
                "steps": options.steps,
                "guidance": options.guidance,
                "schedule": [options.grounded, 0.0, 1 - options.grounded],
                "scheduler": "ddim",
            },
        }
    )
    return lambda: np.asarray(generator(document, progress=False)[0].image), vae


def build_peer(model: RandomModel, options: argparse.Namespace) -> tuple[Draw, Any]:
    """diffusers' pipeline; returns what draws a picture, and the VAE."""
    from diffusers import (  # its module was moved in 0.38
        StableDiffusionGLIGENPipeline,  # pyright: ignore[reportPrivateImportUsage]
    )
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    tokenizer, vae = model.tokenizer(), model.vae()
    scheduler: Any = DDIMScheduler.from_config(SCHEDULER)
    pipeline = StableDiffusionGLIGENPipeline(
        vae=vae,
        text_encoder=model.text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=model.unet(gated=True),
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> np.ndarray:
        result: Any = pipeline(
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            height=model.size.pixels,
            width=model.size.pixels,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            gligen_scheduled_sampling_beta=options.grounded,
            gligen_phrases=list(REGIONS),
            gligen_boxes=[list(box) for box in REGIONS.values()],
            generator=torch.Generator().manual_seed(SEED),
        )
        return np.asarray(result.images[0])

    return draw, vae


def run_side(options: argparse.Namespace) -> None:
    """One side, in this process: draw, and write times, memory, picture and latents."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    model = RandomModel(SIZES[options.size], device, _dtype(options, device))
    draw, vae = (build_ours if options.side == "ours" else build_peer)(model, options)
    latents, decode = [], vae.decode

    def decode_and_keep(z: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        latents.append(z.float().cpu().numpy())
        return decode(z, *args, **kwargs)

    vae.decode = decode_and_keep
    loaded = peak_memory(device)
    seconds = []
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        picture = draw()
        seconds.append(time.perf_counter() - start)
    np.savez(
        options.result,
        picture=picture,
        latents=latents[-1],
        seconds=seconds[1:],
        memory=peak_memory(device),
        loaded=loaded,
    )


def _dtype(options: argparse.Namespace, device: torch.device) -> torch.dtype:
    """The type of a side's parameters; with "auto" the one that the side takes by itself."""
    if options.dtype != "auto":
        return DTYPES[options.dtype]
    if options.side == "diffusers":
        return torch.float32
    with torch.device("meta"):
        unet = RandomModel(SIZES[options.size], device, torch.float32).unet(gated=False)
    return choose_dtype("auto", device, sum(p.numel() for p in unet.parameters()))


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise of two pictures of 8 bits, in dB; 99 of equal ones."""
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run both sides, one after the other, and set their results side by side."""
    sides = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("diffusers", "ours"):
            result = Path(folder) / f"{side}.npz"
            command = [sys.executable, "-m", "benchmarks.generate", *options.arguments]
            command += ["--side", side, "--result", str(result), "--steps", str(options.steps)]
            subprocess.run(command, check=True)
            sides[side] = dict(np.load(result))
            seconds, memory = sides[side]["seconds"], sides[side]["memory"] / 2**20
            print(f"{side:10s} {statistics.median(seconds):9.3f} s  {memory:9.0f} MiB", flush=True)
    ours, peer = sides["ours"], sides["diffusers"]
    difference = np.abs(ours["picture"].astype(int) - peer["picture"].astype(int))
    apart = np.abs(ours["latents"] - peer["latents"]).max() / np.abs(peer["latents"]).max()
    medians = {name: statistics.median(side["seconds"]) for name, side in sides.items()}
    return {
        "benchmark": "generate",
        "size": options.size,
        "time_ratio": round(medians["ours"] / medians["diffusers"], 4),
        "memory_ratio": round(float(ours["memory"] / peer["memory"]), 4),
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "fastest_seconds": {name: round(min(s["seconds"]), 4) for name, s in sides.items()},
        "peak_mib": {name: round(float(s["memory"]) / 2**20) for name, s in sides.items()},
        "loaded_mib": {name: round(float(s["loaded"]) / 2**20) for name, s in sides.items()},
        "max_picture_difference": int(difference.max()),
        "psnr_db": round(_psnr(ours["picture"], peer["picture"]), 1),
        "max_relative_latent_difference": float(f"{apart:.3g}"),
        "picture_deviation": round(float(ours["picture"].std()), 1),
        "steps": options.steps,
        "grounded": options.grounded,
        "guidance": options.guidance,
        "device": device_name(options.device),
        "dtype": options.dtype,
        "threads": options.threads or torch.get_num_threads(),
        "compiled": options.compile,
        "peer": "diffusers StableDiffusionGLIGENPipeline (deprecated)",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        "command": shlex.join(["python", "-m", "benchmarks.generate", *options.arguments]),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options of both the comparison and its two child processes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=list(SIZES), default="embedded")
    parser.add_argument("--steps", type=int, help="default: 20 embedded, 4 at the other sizes")
    parser.add_argument("--grounded", type=float, default=0.5, help="part of the steps with gates")
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--repeats", type=int, default=3, help="pictures that are timed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dtype",
        choices=["auto", *DTYPES],
        default="float32",
        help="of both sides; auto: what each takes by itself",
    )
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--attention", default="auto", help="backend of our side")
    parser.add_argument("--compile", action="store_true", help="torch.compile on our side")
    parser.add_argument("--side", choices=["ours", "diffusers"], help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.arguments = arguments
    options.steps = options.steps or SIZES[options.size].steps
    return options


def main(arguments: list[str] | None = None) -> None:
    """Compare, or be one side of a comparison."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.side:
        run_side(options)
    else:
        print(json.dumps(compare(options)))


if __name__ == "__main__":
    main()
