"""Art that composites are made of: cut-outs, photographs and textures under permissive licences.

The table `art.json` beside this file names every archive (address, SHA-256) and, for each file or
kind of files in it, its author, licence and source. Archives are read where they lie, nothing is
unpacked to disk: what is wanted goes into packs, one for each archive and kind.

    python -m grounding.composites.art FOLDER
"""

import argparse
import dataclasses
import fnmatch
import functools
import io
import itertools
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
from tqdm import tqdm

from grounding.composites.archive import fetch_archive, read_archive
from grounding.composites.models import draw_view, read_model, render_model
from grounding.composites.regions import add_regions
from grounding.errors import LavallamaError
from grounding.files import write_files
from grounding.lock import locked

__all__ = ["KINDS", "Art", "Pack", "gather_art", "read_table"]

KINDS: Final = {"cutouts": 4, "models": 5, "photographs": 5, "textures": 3}  # channels of packs
CUTOUT_SIDE = 208  # pixels of the longer side, at most
VIEWS, VIEW_SIDE = 4, 208  # of a model, and pixels of the longer side of each
TEXTURE_SIDES = (160, 512)  # pixels of the shorter side, at least and at most
PHOTOGRAPH_SIDE = 1000  # pixels of the shorter side, at most
MOST_PIXELS, LEAST_PIXELS = 2_000_000, 2_500  # of a cut-out's file; some have a hundred million
MOST_PARTS = 6  # unconnected parts of a cut-out
CLEAR = 20  # alpha below this is nothing

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Pack:
    """Pictures of different sizes in one memory map.

    Attributes:
        pixels: uint8 [all pixels, channels].
        shapes: (height, width) of each.
        starts: Where each begins in `pixels`.
        names: Of each, "archive/path".
    """

    pixels: np.ndarray
    shapes: Sequence[tuple[int, int]]
    starts: Sequence[int]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> np.ndarray:
        """Picture `number`, uint8 [H, W, channels], read-only."""
        (height, width), start = self.shapes[number], self.starts[number]
        return self.pixels[start : start + height * width].reshape(height, width, -1)


@dataclasses.dataclass(frozen=True)
class Art:
    """What composites are made of.

    Attributes:
        cutouts: RGBA uint8 [H, W, 4], not premultiplied, trimmed.
        models: Of each model its views, uint8 [H, W, 5]: RGBA and parts, as
            `models.render_model` gives them.
        photographs: RGB and two region maps uint8 [H, W, 5], of `regions.add_regions`.
        textures: RGB uint8 [H, W, 3]: each shows one surface.
    """

    cutouts: Sequence[np.ndarray]
    models: Sequence[Sequence[np.ndarray]]
    photographs: Sequence[np.ndarray]
    textures: Sequence[np.ndarray]


class _Packed(Sequence[np.ndarray]):
    """Pictures of several packs, given as (pack, number)."""

    def __init__(self, places: Sequence[tuple[Pack, int]]) -> None:
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: Any) -> Any:
        pack, i = self._places[number]
        return pack[i]


def read_table() -> list[dict[str, Any]]:
    """Read the table of all art: archives with their files' authors, licences and sources."""
    return json.loads(
        resources.files("grounding.composites").joinpath("art.json").read_text("utf-8")
    )


def gather_art(folder: Path, table: Sequence[Mapping[str, Any]] | None = None) -> Art:
    """Open the art in a folder, downloading and packing first what is not there yet.

    Args:
        folder: Of the art alone.
        table: As `read_table` gives it, which is the default.

    Raises:
        OfflineError: an archive cannot be had.
        OutputError: there is no room for it.
        LavallamaError: an archive is not what the table says.
    """
    table = read_table() if table is None else table
    for archive in table:
        if not _index_path(folder, archive).exists():
            with locked(folder, wait=True):
                if not _index_path(folder, archive).exists():
                    _pack_archive(folder, archive)
    return _open_art(tuple(_index_path(folder, archive) for archive in table))


@functools.cache
def _open_art(indexes: tuple[Path, ...]) -> Art:
    """Open the packs of archives that have been packed."""
    packs: dict[str, list[Pack]] = {kind: [] for kind in KINDS}
    for index in indexes:
        for kind, entries in json.loads(index.read_text("utf-8")).items():
            packs[kind].append(_open_pack(index.with_suffix(f".{kind}.npy"), entries))
    places = {
        kind: [(pack, i) for pack in some for i in range(len(pack))] for kind, some in packs.items()
    }
    by_model = itertools.groupby(places.pop("models"), lambda place: place[0].names[place[1]])
    models = [_Packed(list(views)) for _, views in by_model]
    return Art(models=models, **{kind: _Packed(some) for kind, some in places.items()})


def _index_path(folder: Path, archive: Mapping[str, Any]) -> Path:
    """Where it is told what an archive's packs hold: elsewhere where the table asks for others."""
    rules = [[rule["pack"], rule["path"], rule.get("except")] for rule in archive["files"]]
    asked = zlib.crc32(json.dumps([archive["sha256"], rules]).encode())
    return folder / f"{archive['name']}-{asked:08x}.json"


def _open_pack(path: Path, entries: Sequence[Mapping[str, Any]]) -> Pack:
    shapes = [tuple(entry["shape"]) for entry in entries]
    starts = np.cumsum([0, *(height * width for height, width in shapes)]).tolist()
    names = [entry["name"] for entry in entries]
    return Pack(np.load(path, mmap_mode="r"), shapes, starts, names)


def _pack_archive(folder: Path, archive: Mapping[str, Any]) -> None:
    path = fetch_archive(folder / "downloads", archive["urls"], archive["sha256"])
    log.info("packing %s", archive["name"])
    pictures: dict[str, list[np.ndarray]] = {}
    entries: dict[str, list[dict[str, Any]]] = {}
    for name, kind, picture in _read_pictures(path, archive["files"]):
        pictures.setdefault(kind, []).append(picture)
        entry = {"name": f"{archive['name']}/{name}", "shape": picture.shape[:2]}
        entries.setdefault(kind, []).append(entry)
    if not pictures:
        raise LavallamaError(f"{path} has no file that the table names; look at its entry's paths")
    contents: dict[Path, Any] = {}
    index = _index_path(folder, archive)
    for kind, some in pictures.items():
        flat = np.concatenate([picture.reshape(-1, KINDS[kind]) for picture in some])
        contents[index.with_suffix(f".{kind}.npy")] = functools.partial(_save, flat)
    contents[index] = json.dumps(entries).encode()
    write_files(contents, last=index)


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _read_pictures(
    path: Path, files: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Read (name, kind, picture) of all files that the table names."""
    for name, data in read_archive(path):
        for rule in files:
            if not fnmatch.fnmatchcase(name, rule["path"]):
                continue
            if name.endswith(".sh3f"):
                yield from _read_catalogue(data(), rule["pack"])
                continue
            if name.endswith(".json"):
                drawn = _draw_icons(data, rule.get("except", ()))
            elif any(fnmatch.fnmatchcase(name, other) for other in rule.get("except", ())):
                continue
            else:
                drawn = [(name, data())]
            for title, content in drawn:
                picture = _read_picture(content, rule["pack"])
                if picture is not None:
                    yield title, rule["pack"], picture


def _draw_icons(data: Any, without: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Draw the SVG bodies of an Iconify collection as PNG."""
    try:
        import resvg_py  # pyright: ignore[reportMissingImports]  # only the extra "art" has it
    except ImportError:
        raise LavallamaError("SVG art needs resvg-py: pip install 'lavallama[art]'") from None
    for name, icon in json.loads(data())["icons"].items():
        if any(fnmatch.fnmatchcase(name, other) for other in without):
            continue
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 128 128">{icon["body"]}</svg>'
        )
        yield name, bytes(resvg_py.svg_to_bytes(svg_string=svg, width=CUTOUT_SIDE))


def _read_catalogue(data: bytes, kind: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Read a catalogue of Sweet Home 3D: views of its models, or their textures."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())

        def read(name: str) -> bytes | None:
            return archive.read(name) if name in names else None

        for name in tqdm(sorted(names), desc=kind, disable=None):
            path = PurePosixPath(name)
            if kind == "textures" and path.suffix == ".jpg" and len(path.parts) > 2:
                texture = _read_picture(archive.read(name), kind)
                if texture is not None and min(texture.shape[:2]) >= TEXTURE_SIDES[0]:
                    yield name, kind, texture
            elif kind == "models" and path.suffix == ".obj":
                materials = read(str(path.with_suffix(".mtl"))) or b""
                model = read_model(
                    archive.read(name).decode("latin-1"),
                    materials.decode("latin-1"),
                    lambda texture, folder=path.parent: read(str(folder / texture)),
                )
                if model is None:
                    continue
                generator = np.random.default_rng(zlib.crc32(name.encode()))
                for _ in range(VIEWS):
                    seen = render_model(model, draw_view(generator), VIEW_SIDE)
                    if seen is not None and min(seen.shape[:2]) >= 16:
                        yield name, kind, seen


def _read_picture(data: bytes, kind: str) -> np.ndarray | None:
    """Decode a picture; None: it is no use."""
    channels = KINDS[kind]
    if channels == 4:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
            if not LEAST_PIXELS <= width * height <= MOST_PIXELS:
                return None
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
            return None
        return _trim(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    most = PHOTOGRAPH_SIDE if kind == "photographs" else TEXTURE_SIDES[1]
    picture = _shrink(picture, most / min(picture.shape[:2]))
    return add_regions(picture) if kind == "photographs" else picture


def _trim(picture: np.ndarray) -> np.ndarray | None:
    """Cut a cut-out to what is opaque; None: it has no outline worth learning."""
    if picture.dtype != np.uint8:
        return None
    seen = picture[..., 3] > CLEAR
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return None
    picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = (picture[..., 3] > 128).mean()
    if not 0.1 < share < 0.985 or min(picture.shape[:2]) < 24:
        return None
    if cv2.connectedComponents((picture[..., 3] > 60).astype(np.uint8))[0] - 1 > MOST_PARTS:
        return None
    return _shrink(picture, CUTOUT_SIDE / max(picture.shape[:2]))


def _shrink(picture: np.ndarray, scale: float) -> np.ndarray:
    """Make a picture smaller; colours of transparent pixels do not bleed into others."""
    if scale >= 1:
        return np.ascontiguousarray(picture)
    values = picture.astype(np.float32)
    if picture.shape[2] == 4:
        values[..., :3] *= values[..., 3:] / 255
    values = cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if picture.shape[2] == 4:
        values[..., :3] /= np.maximum(values[..., 3:] / 255, 1e-3)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def main() -> None:
    """Gather all art into a folder."""
    parser = argparse.ArgumentParser(description=gather_art.__doc__)
    parser.add_argument("folder", type=Path)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    art = gather_art(parser.parse_args().folder)
    print({kind: len(getattr(art, kind)) for kind in KINDS})


if __name__ == "__main__":
    main()
