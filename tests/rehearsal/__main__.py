"""`python -m tests.rehearsal sd14|sdxl|seem|llava`: public checkpoints, rehearsed at full size.

Random weights, the same in each layout, are written as people share them, loaded and used for a
small job, each in a process of its own. Prints a table and, at the end, one line of JSON. Files are
removed as soon as they are not needed; --keep keeps them. --tiny does the same with models of a few
thousand parameters.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.rehearsal.job import run as job_here
from tests.rehearsal.llava import rehearse_llava
from tests.rehearsal.seem import rehearse_seem
from tests.rehearsal.stable_diffusion import rehearse_sd14, rehearse_sdxl

__all__ = ["main", "rehearse"]

Layouts = Callable[[Path, bool], Iterator[tuple[str, Callable[[], dict[str, Any]]]]]
REHEARSALS: dict[str, Layouts] = {
    "sd14": rehearse_sd14,
    "sdxl": rehearse_sdxl,
    "seem": rehearse_seem,
    "llava": rehearse_llava,
}


ROUNDING = 1.0  # of 255: kernels of a CPU round by where in memory a mapped file's tensors begin


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all that was loaded gave the same, but for rounding."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.rehearsal")
    parser.add_argument("name", choices=REHEARSALS)
    parser.add_argument("--folder", type=Path, help="where files are written; default: temporary")
    parser.add_argument("--keep", action="store_true", help="keep them")
    parser.add_argument("--tiny", action="store_true", help="models of a few thousand parameters")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = rehearse(options.name, folder.resolve(), tiny=options.tiny, keep=options.keep)
    same = all(row["difference"] <= ROUNDING for row in rows)
    print(json.dumps({"rehearsal": options.name, "tiny": options.tiny, "same": same, "rows": rows}))
    return 0 if same else 1


def rehearse(
    name: str, folder: Path, *, tiny: bool, keep: bool = False, apart: bool = True
) -> list[dict[str, Any]]:
    """Write, load and use each layout of a checkpoint.

    Args:
        name: Of `REHEARSALS`.
        folder: Where files are written.
        tiny: A few thousand parameters in place of all.
        keep: Leave the files there.
        apart: Do each job in a process of its own, so that its memory is its own.

    Returns:
        One row for each layout, as they are printed.
    """
    heads = ["checkpoint", "layout", "GB", "load, s", "job, s", "own memory, MB"]
    heads += ["with mapped files, MB", "differs by"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    rows = []
    for layout, write in REHEARSALS[name](folder, tiny):
        job = {**write(), "result": folder / f"{len(rows)}.npy"}
        size = sum(f.stat().st_size for f in _files(job)) / 1e9
        row = {"layout": layout, "gb": round(size, 2), **(_run(job) if apart else job_here(job))}
        first, now = (np.load(folder / f"{n}.npy").astype(float) for n in (0, len(rows)))
        row["difference"] = float(np.abs(now - first).max())
        rows.append(row)
        told = (row[key] for key in ("gb", "load_s", "job_s", "own_mb", "rss_mb", "difference"))
        print(f"| {name} | {layout} | {' | '.join(map(str, told))} |", flush=True)
        if "gone" in job and not keep:
            _remove(folder / job["gone"])
    if not keep:
        for path in folder.iterdir():
            _remove(path)
    return rows


def _files(job: dict[str, Any]) -> list[Path]:
    """The files of weights that a job reads."""
    places = [Path(job[key]) for key in ("model", "adapter", "vae", "tower") if job.get(key)]
    found = [f for place in places for f in ([place] if place.is_file() else place.rglob("*"))]
    return [
        f for f in found if f.is_file() and f.suffix in (".safetensors", ".bin", ".ckpt", ".pt")
    ]


def _run(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.rehearsal.job", json.dumps(job, default=str)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job['model']}: {done.stderr.strip() or 'no word'}")
    return json.loads(done.stdout.splitlines()[-1])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
