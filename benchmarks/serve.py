"""Many users at one time: errors, answers that are not their own, times, memory.

    python -m benchmarks.serve
    python -m benchmarks.serve --model embedded --requests 1000 --connections 16

A server is started in a process of its own. Each connection is a user with a picture and a
session; all ask at once, in rounds: a click, a box, words, an upload, and a session of clicks with
undo, redo and reset. What each must be answered was computed beforehand, by a predictor alone:
every mask and score is compared to the last bit, so that an answer of another user's, or one that
the load changed, counts as mixed. The last line is JSON.
"""

import argparse
import asyncio
import io
import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks import segment
from pipelines.segmentation.segmenter import open_predictor
from pipelines.serve.answers import answer
from pipelines.serve.app import create_app
from pipelines.serve.server import Server, bind
from pipelines.serve.settings import Settings
from seem.predictor import Predictor
from seem.session import Session

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request and the masks that must come back; None: any."""

    kind: str
    path: str
    body: Any
    expected: list[dict[str, Any]] | None


def predictor_of(options: argparse.Namespace) -> Predictor:
    """The model: random and tiny, or a real one."""
    torch.set_num_threads(options.threads)
    if options.model != "random":
        return open_predictor(options.model, device=options.device)
    sides = ["--height", str(options.side), "--width", str(options.side)]
    return segment.build(segment.parse([*sides, "--device", options.device]))


def serve(options: argparse.Namespace) -> None:
    """Be the server; says its port on the first line."""
    door = bind("127.0.0.1", 0)
    print(door.getsockname()[1], flush=True)
    settings = Settings(waiting=max(64, 2 * options.connections))
    Server(create_app(predictor_of(options), settings), settings).run(sockets=[door])


def picture(user: int, side: int) -> np.ndarray:
    """A picture of the user's own, uint8 [side, side, 3]."""
    return np.random.default_rng(user).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def script(user: int, side: int, predictor: Predictor) -> list[Ask]:
    """One round of a user's requests, and what the predictor answers when nobody else asks."""
    predictor.set_image(picture(user, side))
    x, y = (user * 7) % side, (user * 13) % side
    questions = {
        "click": {"points": [[x, y]]},
        "box": {"box": [x / 2, y / 2, x / 2 + side / 3, y / 2 + side / 3]},
        "text": {"text": f"thing {user}"},
    }
    asks = [
        Ask(
            kind=kind,
            path="/v1/images/{image_id}/segment",
            body=body,
            expected=_written(predictor.predict(**body)),
        )
        for kind, body in questions.items()
    ]
    asks.append(Ask(kind="upload", path="/v1/images", body=None, expected=None))
    session, path = Session(predictor), "/v1/sessions/{session_id}/"
    said = []
    for place in ([x, y], [y, x]):
        said.append(_written(session.click(*place)))
        body = {"points": [place]}
        asks.append(Ask(kind="marks", path=f"{path}marks", body=body, expected=said[-1]))
    asks.append(Ask(kind="undo", path=f"{path}undo", body=None, expected=said[0]))
    asks.append(Ask(kind="redo", path=f"{path}redo", body=None, expected=said[1]))
    asks.append(Ask(kind="reset", path=f"{path}reset", body=None, expected=[]))
    return asks


def _written(said: Any) -> list[dict[str, Any]]:
    return json.loads(answer(said, "rle").model_dump_json(exclude_none=True))["masks"]


@dataclass(kw_only=True)
class Tally:
    """What happened."""

    left: int
    errors: int = 0
    mixed: int = 0

    def __post_init__(self) -> None:
        self.times: dict[str, list[float]] = {}


async def use(url: str, user: int, side: int, asks: list[Ask], tally: Tally) -> None:
    """Be one user on one connection, until all requests are used up."""
    own, headers = png(picture(user, side)), {"Content-Type": "image/png"}
    async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as client:
        image = (await client.post("/v1/images", content=own, headers=headers)).json()["image_id"]
        begun = await client.post("/v1/sessions", json={"image_id": image})
        ids = {"image_id": image, "session_id": begun.json()["session_id"]}
        while True:
            for ask in asks:
                if not tally.left:
                    return
                tally.left -= 1
                path, start = ask.path.format(**ids), time.perf_counter()
                if ask.kind == "upload":
                    response = await client.post(path, content=own, headers=headers)
                else:
                    response = await client.post(path, json=ask.body)
                tally.times.setdefault(ask.kind, []).append(time.perf_counter() - start)
                if response.status_code not in (200, 201):
                    tally.errors += 1
                elif ask.kind == "upload":
                    ids["spare"] = response.json()["image_id"]
                else:
                    said = response.json()
                    masks = said.get("masks", [said["mask"]] if "mask" in said else [])
                    tally.mixed += masks != ask.expected


async def load(url: str, options: argparse.Namespace, scripts: list[list[Ask]]) -> Tally:
    """Let all users ask at once."""
    tally = Tally(left=options.requests)
    users = (use(url, u, options.side, asks, tally) for u, asks in enumerate(scripts))
    await asyncio.gather(*users)
    return tally


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start the server, warm it up, load it, stop it."""
    command = [sys.executable, "-m", "benchmarks.serve", *options.arguments, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            predictor = predictor_of(options)
            scripts = [script(u, options.side, predictor) for u in range(options.connections)]
            warm = argparse.Namespace(**vars(options) | {"requests": options.requests // 5})
            asyncio.run(load(url, warm, scripts))
            process = psutil.Process(server.pid)
            before, start = process.memory_info().rss / MIB, time.perf_counter()
            tally = asyncio.run(load(url, options, scripts))
            wall, after = time.perf_counter() - start, process.memory_info().rss / MIB
        finally:
            server.terminate()
    times = sorted(t for each in tally.times.values() for t in each)
    return {
        "benchmark": "serve",
        "model": options.model,
        "image": [options.side, options.side],
        "requests": len(times),
        "connections": options.connections,
        "errors": tally.errors,
        "mixed": tally.mixed,
        "requests_per_s": round(len(times) / wall, 1),
        "p50_ms": round(1000 * statistics.median(times), 1),
        "p99_ms": round(1000 * times[int(0.99 * (len(times) - 1))], 1),
        "p50_ms_of": {k: round(1000 * statistics.median(v), 1) for k, v in tally.times.items()},
        "rss_before_mib": round(before, 1),
        "rss_after_mib": round(after, 1),
        "threads": options.threads,
        "versions": {name: version(name) for name in ("torch", "fastapi", "uvicorn")},
        "command": shlex.join(["python", "-m", "benchmarks.serve", *options.arguments]),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="random", help="random, embedded, a folder or a file")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="pixels of the square pictures")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help="be the server (used inside)")
    options = parser.parse_args(arguments)
    options.arguments = arguments
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the result as one line of JSON."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.serve:
        serve(options)
    else:
        print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
