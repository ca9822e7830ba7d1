"""SEEM Focal-T: the official file, as trainers wrap it, and as ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from seem.model import build_seem
from tests.rehearsal.material import Entry, entries, map_tensors, parameter, write_stream
from tests.weights.test_seem import small
from weights.seem import read_seem, write_seem
from weights.seem_keys import official_key

__all__ = ["rehearse_seem"]

KEYS = Path(__file__).parents[1] / "golden" / "seem_keys.json"


def rehearse_seem(folder: Path, tiny: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Write SEEM in one layout after the other; see `rehearse_sd14`."""
    job = {"kind": "mask"}
    source, official = folder / "seem.safetensors", folder / "seem_focalt_v1.pt"

    def write_official() -> dict[str, Any]:
        write_stream(source, (tiny_entries() if tiny else published_entries()))
        torch.save(map_tensors(source), official)
        return {**job, "model": official}

    def write_wrapped() -> dict[str, Any]:
        wrapped = {f"module.{key}": value for key, value in map_tensors(source).items()}
        torch.save({"model": wrapped, "iteration": 3}, folder / "wrapped.pt")
        return {**job, "model": folder / "wrapped.pt", "gone": "wrapped.pt"}

    def write_own() -> dict[str, Any]:
        state, config = read_seem(official)
        return {**job, "model": write_seem(state, config, folder / "own"), "gone": "own"}

    yield "official .pt", write_official
    yield '{"model": ...} with module. before all names', write_wrapped
    yield "our folder", write_own


def published_entries() -> list[Entry]:
    shapes = json.loads(KEYS.read_text())["focalt_v1"]
    return [entry(key, tuple(shape)) for key, shape in shapes.items()]


def tiny_entries() -> list[Entry]:
    with torch.device("cpu"):
        model = build_seem(small())
    return [one.named(official_key(key)) for key, one in entries(model, torch.float32, "").items()]


def entry(key: str, shape: tuple[int, ...]) -> Entry:
    def make() -> torch.Tensor:
        return parameter(key, shape, torch.float32)

    return Entry(name=key, shape=shape, dtype=torch.float32, make=make)
