"""A prompt on an encoded image against the same prompt with everything computed anew.

    python -m benchmarks.segment --size tiny
    python -m benchmarks.segment --size focalt --height 512 --width 704 --threads 2

Parameters are random, so masks mean nothing and times mean what they always do. Each kind of prompt
is asked `--repeats` times after one warm-up; "anew" encodes the image before each prompt, as the
official demo does for each click. SAM (ViT-B; a tiny one for `--size tiny`) answers a click and a
box in the same process. The same prompts are also asked in one batch, and `--prompts`
clicks follow to see that memory stays flat: resident memory on the CPU, allocated on CUDA. The last
line is JSON.
"""

import argparse
import gc
import json
import shlex
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import device_name
from benchmarks.sam_peer import SamPeer
from seem.config import CONFIGS
from seem.encoded_image import Resizing
from seem.marks import pixel_marks
from seem.model import build_seem
from seem.predictor import Predictor
from seem.question import Question

SIZES = ("tiny", "stickers", "focalt")
SEED = 7
BATCH = 8  # questions of the batch that is timed


class RandomWords:
    """Stands in for CLIP's tokenizer: a number for each word, of the model's vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        self.end = vocabulary - 1

    def __call__(self, texts: list[str], **_: Any) -> dict[str, torch.Tensor]:
        rows = [[zlib.crc32(word.encode()) % self.end for word in text.split()] for text in texts]
        longest = 1 + max(map(len, rows))
        ids = [row + [self.end] * (longest - len(row)) for row in rows]
        mask = [[1] * (len(row) + 1) + [0] * (longest - len(row) - 1) for row in rows]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def build(options: argparse.Namespace) -> Predictor:
    """A predictor with random parameters, the same in every run."""
    config = CONFIGS[options.size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = build_seem(config).requires_grad_(False).to(options.device)
    sides = (options.height, options.width)
    resizing = Resizing(short_side=min(sides), long_side=max(sides))
    return Predictor(model, RandomWords(config.vocabulary), resizing=resizing)


def prompts(height: int, width: int) -> dict[str, dict[str, Any]]:
    """One prompt of each kind, as arguments of `Predictor.predict`."""
    x, y = width // 3, height // 2
    return {
        "click": {"points": [[x, y]]},
        "two clicks": {"points": [[x, y], [2 * x, y]], "labels": [1, 0]},
        "stroke": {"strokes": [[[x, y], [x + width // 5, y + height // 5]]]},
        "box": {"box": [x // 2, y // 2, 2 * x, 3 * y // 2]},
        "text": {"text": "a lava llama beside a volcano"},
    }


def seconds(call: Callable[[], Any], repeats: int, device: str) -> float:
    """Median time of a call, after a warm-up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def memory(device: str) -> float:
    """MiB in use now: allocated on CUDA, resident otherwise (Linux), NaN where that is unknown."""
    gc.collect()
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = [row for row in status.read_text().splitlines() if row.startswith("VmRSS:")]
    return int(line.split()[1]) / 2**10


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time each prompt both ways, then a batch, then watch memory."""
    if options.threads:
        torch.set_num_threads(options.threads)
    predictor, (height, width) = build(options), (options.height, options.width)
    image = np.random.default_rng(SEED).integers(0, 256, (height, width, 3), dtype=np.uint8)
    repeats, device = options.repeats, options.device
    encoding = seconds(lambda: predictor.set_image(image), repeats, device)
    kept, anew = {}, {}
    for name, asked in prompts(height, width).items():

        def recompute(asked: dict[str, Any] = asked) -> None:
            predictor.set_image(image)
            predictor.predict(**asked)

        kept[name] = seconds(lambda asked=asked: predictor.predict(**asked), repeats, device)
        anew[name] = seconds(recompute, repeats, device)
        print(
            f"{name:10s} {1000 * kept[name]:9.1f} ms  anew {1000 * anew[name]:9.1f} ms", flush=True
        )
    places = np.random.default_rng(SEED + 1).random((max(options.prompts, BATCH), 2))
    clicks = [
        Question(marks=pixel_marks((height, width), points=[[x * width, y * height]]))
        for x, y in places
    ]
    together = seconds(lambda: predictor.ask(clicks[:BATCH], batch=BATCH), repeats, device)
    peer = SamPeer(tiny=options.size == "tiny", device=device)
    sam = {"encode": seconds(peer.encode, 1, device)}
    sam |= {name: seconds(getattr(peer, name), repeats, device) for name in ("click", "box")}
    del peer
    before = memory(device)
    for click in clicks[: options.prompts]:
        predictor.ask([click])
    return {
        "benchmark": "segment",
        "size": options.size,
        "image": [height, width],
        "encode_ms": round(1000 * encoding, 2),
        "prompt_ms": {name: round(1000 * value, 2) for name, value in kept.items()},
        "anew_ms": {name: round(1000 * value, 2) for name, value in anew.items()},
        "sam_ms": {name: round(1000 * value, 2) for name, value in sam.items()},
        "share_of_anew": {name: round(kept[name] / anew[name], 4) for name in kept},
        "share_of_sam": {name: round(kept[name] / sam[name], 3) for name in ("click", "box")},
        "batch": BATCH,
        "batch_ms_per_click": round(1000 * together / BATCH, 2),
        "prompts": options.prompts,
        "memory_mib": round(before, 1),
        "memory_growth_mib": round(memory(device) - before, 1),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "command": shlex.join(["python", "-m", "benchmarks.segment", *options.arguments]),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.segment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--height", type=int, default=512, help="pixels of the image")
    parser.add_argument("--width", type=int, default=704, help="pixels of the image")
    parser.add_argument("--repeats", type=int, default=5, help="prompts of a kind that are timed")
    parser.add_argument("--prompts", type=int, default=100, help="clicks that must not add memory")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    options = parser.parse_args(arguments)
    options.arguments = arguments
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the result as one line of JSON."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
