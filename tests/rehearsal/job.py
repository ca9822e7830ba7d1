"""One job in a process of its own: load a model, do something small, say what it took.

`python -m tests.rehearsal.job '{"kind": "picture", "model": ...}'` prints one line of JSON.
"""

import hashlib
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["run"]

SIDE = 64  # pixels of what is drawn
WAIT = 0.05  # seconds between two looks at the memory


class Memory:
    """The most memory that this process held for itself: without pages of mapped files."""

    def __init__(self) -> None:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(WAIT):
            text = Path("/proc/self/status").read_text()
            line = next((x for x in text.splitlines() if x.startswith("RssAnon")), "RssAnon: 0")
            self.peak = max(self.peak, int(line.split()[1]) * 1024)

    def stop(self) -> int:
        """End watching; bytes."""
        self._over.set()
        self._thread.join()
        return self.peak


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job."""
    do = {"picture": draw, "mask": segment, "answer": answer}[job["kind"]]
    memory = Memory()
    loaded, seconds, result = do(job)
    np.save(job["result"], result)
    return {
        "load_s": round(loaded, 1),
        "job_s": round(seconds, 1),
        "own_mb": memory.stop() // 2**20,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10,
        "result": hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()[:12],
    }


def draw(job: dict[str, Any]) -> tuple[float, float, np.ndarray]:
    """Draw one small picture in one step."""
    from grounding.prompt import GroundedPrompt, Region
    from pipelines.generation.generator import Generator

    begin = time.monotonic()
    generator = Generator.from_pretrained(
        job["model"],
        job["adapter"],
        device="cpu",
        dtype=job["dtype"],
        offline=True,
        vae=job.get("vae"),
        text_encoder=job.get("text_encoder"),
    )
    loaded = time.monotonic()
    llama = Region(phrase="llama", box=(0.1, 0.1, 0.6, 0.7))
    boxes = () if job["adapter"] == "none" else (llama,)
    document = GroundedPrompt(prompt="a llama", regions=boxes)
    wishes: Any = {"seed": 3, "steps": 1, "scheduler": "ddim"}
    [drawn] = generator(document, size=(SIDE, SIDE), progress=False, **wishes)
    pixels = np.asarray(drawn.image)
    if pixels.std() < 1:
        raise RuntimeError(f"a picture of one colour: {pixels.mean()}")
    return loaded - begin, time.monotonic() - loaded, pixels


def segment(job: dict[str, Any]) -> tuple[float, float, np.ndarray]:
    """Click on a picture of noise."""
    from pipelines.segmentation.segmenter import open_predictor

    begin = time.monotonic()
    predictor = open_predictor(job["model"], device="cpu", offline=True)
    loaded = time.monotonic()
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    predictor.set_image(noise)
    _, _, logits = predictor.predict(points=[(40, 50)], labels=[1])
    return loaded - begin, time.monotonic() - loaded, np.asarray(logits)


def answer(job: dict[str, Any]) -> tuple[float, float, np.ndarray]:
    """Ask about a picture of noise; what counts are the logits of the answer's first token."""
    import torch
    from PIL import Image

    from grounding.llava.conversation import Conversation
    from grounding.llava.decoding import Decoding
    from weights.llava_chat import load_chat

    begin = time.monotonic()
    chat = load_chat(job["model"], dtype=getattr(torch, job["dtype"]), offline=True)
    loaded = time.monotonic()
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    asked = Conversation.of("What is it?", [Image.fromarray(noise)])
    seen: list[torch.Tensor] = []
    words = job["words"]  # llava-hf fills its table of words up
    model: torch.nn.Module = chat.model.language_model
    model.register_forward_hook(lambda _, __, out: seen.append(out.logits[0, -1, :words].float()))
    chat.answer(asked, Decoding(max_tokens=job["tokens"]))
    return loaded - begin, time.monotonic() - loaded, seen[0].numpy()


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
