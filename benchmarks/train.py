"""A training step of GLIGEN's gates against plain fine-tuning of the same UNet: time and memory.

    python -m benchmarks.train --size embedded
    python -m benchmarks.train --size sd14 --batch 1 --repeats 1

Both sides get the same random UNet, latents, words and optimiser (AdamW), and predict noise.
"gates" trains an adapter in the frozen UNet, as `lavallama train gligen` does; "full" trains every
parameter of the UNet and knows no boxes. Each runs in a process of its own, which is what makes
peak memory comparable: resident memory on the CPU, allocated memory on CUDA, weights included. The
first step of a process is a warm-up and not counted. The last line is JSON.
"""

import argparse
import contextlib
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.machine import device_name, peak_memory
from benchmarks.random_model import SIZES, RandomModel

SIDES = ("full", "gates")
PRECISIONS = ("float32", "bfloat16")
REGIONS, WORDS, LEVELS = 30, 77, 1000
SEED = 7
Step = Callable[[], float]  # takes one step, returns the loss


def build(side: str, model: RandomModel, options: argparse.Namespace) -> tuple[Step, int]:
    """One side's step, and how many parameters it trains."""
    unet = model.unet(gated=False)
    if options.checkpointing:
        unet.enable_gradient_checkpointing()
    latents, noise, times, context, layout = _inputs(unet, model, options.batch)
    adapter = None
    if side == "gates":
        adapter = model.adapter(unet)
        adapter.inject(unet)
    learner: nn.Module = unet if adapter is None else adapter
    learner.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-5)
    mixed = options.precision == "bfloat16"

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with contextlib.ExitStack() as gates_on:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=mixed):
                if adapter is not None:
                    gates_on.enter_context(adapter.grounded(adapter.tokens(*layout)))
                predicted = unet(latents, times, encoder_hidden_states=context).sample
                loss = (predicted - noise).square().mean()
            loss.backward()
        optimizer.step()
        return loss.item()

    return step, sum(parameter.numel() for parameter in learner.parameters())


def _inputs(unet: Any, model: RandomModel, batch: int) -> tuple[Any, ...]:
    """Latents, the noise in them, timesteps, words, and a layout for the adapter."""
    chance = torch.Generator().manual_seed(SEED)
    cells = unet.config["sample_size"]
    shape = batch, unet.config["in_channels"], cells, cells
    boxes = torch.rand(batch, REGIONS, 4, generator=chance) / 2
    boxes[..., 2:] += 0.5
    parts = (
        torch.randn(shape, generator=chance),
        torch.randn(shape, generator=chance),
        torch.randint(LEVELS, (batch,), generator=chance),
        torch.randn(batch, WORDS, model.width, generator=chance),
    )
    phrases = torch.randn(batch, REGIONS, model.width, generator=chance)
    layout = tuple(t.to(model.device) for t in (boxes, torch.ones(batch, REGIONS), phrases))
    return *(part.to(model.device) for part in parts), layout


def run_side(options: argparse.Namespace) -> dict[str, Any]:
    """One side, in this process: time its steps."""
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    step, trained = build(
        options.side, RandomModel(SIZES[options.size], device, torch.float32), options
    )
    seconds = []
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        loss = step()  # its .item() waits for the device
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds[1:],
        "memory": peak_memory(device),
        "trained": trained,
        "loss": loss,
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run both sides, one after the other, and set their results side by side."""
    sides = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            result = Path(folder) / f"{side}.json"
            command = [sys.executable, "-m", "benchmarks.train", *options.arguments]
            subprocess.run([*command, "--side", side, "--result", str(result)], check=True)
            sides[side] = json.loads(result.read_text())
            seconds, memory = statistics.median(sides[side]["seconds"]), sides[side]["memory"]
            print(f"{side:10s} {seconds:9.3f} s  {memory / 2**20:9.0f} MiB", flush=True)
    return summary(sides, options)


def summary(sides: dict[str, dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """What the last line says."""
    medians = {name: statistics.median(side["seconds"]) for name, side in sides.items()}
    memory = {name: side["memory"] for name, side in sides.items()}
    return {
        "benchmark": "train",
        "size": options.size,
        "time_ratio": round(medians["gates"] / medians["full"], 4),
        "memory_ratio": round(memory["gates"] / memory["full"], 4),
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "fastest_seconds": {name: round(min(s["seconds"]), 4) for name, s in sides.items()},
        "peak_mib": {name: round(value / 2**20) for name, value in memory.items()},
        "trained_parameters": {name: side["trained"] for name, side in sides.items()},
        "batch": options.batch,
        "checkpointing": options.checkpointing,
        "precision": options.precision,
        "device": device_name(options.device),
        "threads": options.threads or torch.get_num_threads(),
        "peer": "plain fine-tuning of the whole UNet",
        "versions": {name: version(name) for name in ("torch", "diffusers")},
        "command": shlex.join(["python", "-m", "benchmarks.train", *options.arguments]),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options of both the comparison and its two child processes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=list(SIZES), default="embedded")
    parser.add_argument("--batch", type=int, default=4, help="pictures of a step")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.arguments = arguments
    return options


def main(arguments: list[str] | None = None) -> None:
    """Compare, or be one side of a comparison."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.side:
        options.result.write_text(json.dumps(run_side(options)))
    else:
        print(json.dumps(compare(options)))


if __name__ == "__main__":
    main()
