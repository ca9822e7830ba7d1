"""Runs a command over a spoilt file, and says what a user would complain of."""

import contextlib
import io
import json
import random
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.mutations.files import make, spoil

__all__ = ["LIMIT", "complaints"]

LIMIT = 60  # seconds of the processor, for a command over a file of a few kilobytes
WAIT = 600  # seconds in all, on however busy a machine


def complaints(kind: str, seed: int, folder: Path) -> list[str]:
    """Spoil a file, run the commands that read it; return what is wrong with what they did.

    Args:
        kind: Of `tests.mutations.files.KINDS`.
        seed: Which mutation.
        folder: An empty place.
    """
    path = make(kind, folder / "data")
    told = spoil(path, random.Random(f"{kind} {seed}"))
    found = []
    for name, words in _commands(kind, path, folder):
        wrong = _run(name, words)
        if wrong is None and name == "train":
            wrong = _lost(kind, path, folder / "run")
        if wrong:
            found.append(f"{kind} {seed}: {told}: lavallama {name} {' '.join(words)}: {wrong}")
    return found


def _commands(kind: str, path: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    out = str(folder / "out")
    if kind in ("coco", "labelme", "lines"):
        data = str(path.parent if kind == "labelme" else path)
        fixed = ["--prepare-only", "--held-out", "0", "--device", "cpu"]
        yield "train", ["gligen", *fixed, "--runs", str(folder / "run"), "--data", data]
        boxes = ["--boxes", str(path), "--prompt", "x", "--model", str(folder / "none")]
        yield "generate", [*boxes, "--out", f"{out}/a.png"]
    elif kind in ("png", "jpeg"):
        yield "segment", [str(path), "--point", "30,30", "--device", "cpu", "--out", out]
    elif kind == "film":
        marks = ["--video", "--box", "10,8,70,60", "--device", "cpu"]
        yield "segment", [str(path), *marks, "--out", out]
    else:
        yield "convert", [str(path.parent), "--layout", "comfyui", "--out", f"{out}/x.safetensors"]


def _run(name: str, words: list[str]) -> str | None:
    """Run a command in this process; what is wrong with how it ended."""
    import importlib

    main = importlib.import_module(f"pipelines.{name}").main
    output, errors = io.StringIO(), io.StringIO()
    previous = {kind: signal.signal(kind, _stop) for kind in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    signal.alarm(WAIT)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main(words)
    except SystemExit as end:
        code = end.code
    except BaseException:  # the point is to see what gets out
        return traceback.format_exc(limit=-6)
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for kind, handler in previous.items():
            signal.signal(kind, handler)
    lines = [line for line in errors.getvalue().splitlines() if ": error: " in line]
    if code == 2 and len(lines) != 1:
        return f"exit code 2 with {len(lines)} lines of error: {errors.getvalue()[-300:]!r}"
    if code not in (0, 2):
        return f"exit code {code}"
    return None


def _stop(*_: object) -> None:
    raise TimeoutError(f"not done after {LIMIT} seconds of work, or {WAIT} in all")


def _lost(kind: str, path: Path, run: Path) -> str | None:
    """Whether something of the file was left out of the run without a word."""
    report = run / "data.json"
    if not report.is_file():
        return None  # refused
    told = json.loads(report.read_text())
    wanted = _count(kind, path)
    if wanted is None or told["regions"] >= wanted:
        return None
    if told["dropped_pictures"] or told["dropped_regions"]:
        return None  # named in dropped.jsonl
    return f"{told['regions']} of {wanted} regions are used, and nothing is said to be dropped"


def _count(kind: str, path: Path) -> int | None:
    """How many regions the files hold; None where that cannot be told."""
    try:
        text = path.read_text("utf-8")
        if kind == "coco":
            return len(json.loads(text)["annotations"])
        if kind == "labelme":
            return len(json.loads(text)["shapes"]) + 2
        lines = [line for line in text.split("\n") if line.strip()]
        return sum(len(json.loads(line)["regions"]) for line in lines)
    except (ValueError, LookupError, TypeError):
        return None
