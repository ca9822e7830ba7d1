"""Public models on this machine: what there is, downloads, checks: ``python -m pipelines.models``.

The cache is the one of huggingface_hub, which other programs use too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.console import EXIT_ERROR, Parser, guarded, quiet_libraries

if TYPE_CHECKING:
    from weights.hub_place import HubPlace

__all__ = ["ModelRow", "list_models", "main"]

PROG = "lavallama models"
ACTIONS = {
    "list": "what has a short name, and what the cache has of it (no network)",
    "download": "get models by short name, hub id or URL, to use them offline",
    "check": "compare what the cache has with the hub's hashes (no network)",
    "remove": "remove models from the cache (no network)",
}
HEAD = ("name", "size", "licence", "here", "where")
TITLES = {
    "base": "to draw with: lavallama generate --model NAME",
    "adapter": "to draw into boxes: lavallama generate --model sd14 --adapter NAME",
    "vae": "in place of a base model's autoencoder: lavallama generate --model NAME --vae NAME",
    "segment": "to find objects: lavallama segment PICTURE --model NAME",
    "chat": "to ask about pictures: lavallama chat PICTURE --model NAME",
    "other": "what else is in the cache",
}


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One line of the table.

    Attributes:
        name: Short name; of other repositories in the cache the hub id.
        kind: What it is for.
        source: `owner/name` or `owner/name/file`.
        size: Bytes of a download in full precision; None: not known.
        licence: As its page names it; None: not known.
        gated: Whether its licence must be accepted on the page; None: not known.
        here: Whether it can be used offline, with what it stands on.
        bytes: What the cache has of it.
    """

    name: str
    kind: Literal["base", "adapter", "vae", "segment", "chat", "other"]
    source: str
    size: float | None
    licence: str | None
    gated: bool | None
    here: Literal["yes", "part", "no"]
    bytes: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(PROG, lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    actions = "\n".join(f"  {name:10} {what}" for name, what in ACTIONS.items())
    parser = Parser(
        prog=PROG,
        description="List, download, check and remove public models.",
        epilog=f"actions:\n{actions}",
    )
    parser.add_argument(
        "action", nargs="?", default="list", choices=ACTIONS, metavar="ACTION", help="see below"
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="short names, hub ids or URLs")
    parser.add_argument("--json", action="store_true", help="write JSON, for machines")
    parser.add_argument(
        "--half", action="store_true", help="download: prefer half precision where there are both"
    )
    parser.add_argument(
        "--repair", action="store_true", help="check: remove what is broken, to be downloaded again"
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from grounding.errors import LavallamaError

    action, models = arguments.action, arguments.models
    if action == "list" and models:
        raise LavallamaError(f"list takes no model; got {models[0]!r}")
    if action != "list" and not models:
        raise LavallamaError(f"{action} takes at least one model: a short name, hub id or URL")
    for option, of in (("half", "download"), ("repair", "check")):
        if getattr(arguments, option) and action != of:
            raise LavallamaError(f"--{option} is for {of}")
    if action == "list":
        return _list(as_json=arguments.json)
    if action == "download":
        return _download(models, half=arguments.half, as_json=arguments.json)
    if action == "check":
        return _check(models, repair=arguments.repair, as_json=arguments.json)
    return _remove(models, as_json=arguments.json)


def list_models() -> list[ModelRow]:
    """List all models that have a short name, then what else the cache has; asks no hub."""
    from weights.hub_cache import cached_repos, cached_size
    from weights.registry import CHATS, KNOWN, SEGMENTERS, VAES

    rows = []
    tables = (KNOWN, VAES, SEGMENTERS, CHATS)
    for table in tables:
        for name, known in table.items():
            size = cached_size(known.repo, known.file or "")
            here = "no" if not size else "yes" if _is_whole(name) else "part"
            rows.append(
                ModelRow(
                    name=name,
                    kind=_kind(name),
                    source=known.source,
                    size=known.size,
                    licence=known.licence,
                    gated=known.gated,
                    here=here,
                    bytes=size,
                )
            )
    named = {known.repo for table in tables for known in table.values()}
    for repo in cached_repos():
        if repo not in named:
            size = cached_size(repo)
            rows.append(
                ModelRow(
                    name=repo,
                    kind="other",
                    source=repo,
                    size=None,
                    licence=None,
                    gated=None,
                    here="yes" if size else "no",
                    bytes=size,
                )
            )
    return rows


def _kind(name: str) -> Literal["base", "adapter", "vae", "segment", "chat"]:
    from weights.registry import KNOWN, SEGMENTERS, VAES

    if name in KNOWN:
        return "adapter" if KNOWN[name].use == "adapter" else "base"
    if name in VAES:
        return "vae"
    return "segment" if name in SEGMENTERS else "chat"


def _fetch(model: str, *, offline: bool, half: bool) -> Path:
    """Get a model, and what it stands on: a LLaVA's vision tower, a LoRA's language model."""
    from weights import hub
    from weights.llava_parts import name_parts

    path = _fetch_one(model, offline=offline, half=half)
    for part in name_parts(path):
        if not Path(part).exists():
            hub.fetch_chat(part, offline=offline)
    return path


def _fetch_one(model: str, *, offline: bool, half: bool) -> Path:
    """Get a model as what its name says that it is."""
    from weights import hub
    from weights.choose import choose_any
    from weights.registry import CHATS, KNOWN, SEGMENTERS, VAES

    name = model.partition("@")[0]
    if name in SEGMENTERS:
        return hub.fetch_segmenter(model, offline=offline)
    if name in CHATS:
        return hub.fetch_chat(model, offline=offline)
    if name in VAES:
        return hub.fetch_vae(model, offline=offline)
    if name in KNOWN:
        if KNOWN[name].use == "adapter":
            return hub.fetch_adapter(model, offline=offline)
        return hub.fetch_base(model, offline=offline, half=half)
    return hub.fetch_files(model, lambda files: choose_any(files, half=half), offline=offline)


def _is_whole(name: str) -> bool:
    from grounding.errors import LavallamaError

    try:
        _fetch(name, offline=True, half=True)
    except LavallamaError:
        return False
    return True


def _list(*, as_json: bool) -> int:
    from huggingface_hub import constants

    from weights.hub_cache import describe_size

    cache = Path(constants.HF_HUB_CACHE)
    free = free_space(cache)
    rows = list_models()
    if as_json:
        print(json.dumps({"cache": str(cache), "free": free, "models": list(map(asdict, rows))}))
        return 0
    table = {row: _cells(row) for row in rows}
    widths = [max(map(len, column)) for column in zip(HEAD, *table.values(), strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for kind, title in TITLES.items():
        lines = [cells for row, cells in table.items() if row.kind == kind]
        if lines:
            print("\n".join([title, *(_line(cells, widths, room) for cells in (HEAD, *lines)), ""]))
    print(f"cache: {cache}, {describe_size(free)} free (HF_HOME moves it). ?: not known")
    return 0


def _cells(row: ModelRow) -> tuple[str, ...]:
    from weights.hub_cache import describe_size

    gate = ", to be accepted" if row.gated else ""
    here = f"{row.here}, {describe_size(row.bytes)}" if row.bytes else "no"
    size = f"~{describe_size(row.size)}" if row.size else "?"
    return row.name, size, f"{row.licence or '?'}{gate}", here, row.source


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    """Write cells in columns; the last one only where the widest of all fits into a terminal."""
    if room is not None and 2 + sum(widths) + 2 * len(widths) > room:
        cells = cells[:-1]
    return "  " + "  ".join(f"{x:{w}}" for x, w in zip(cells, widths, strict=False)).rstrip()


def _download(models: list[str], *, half: bool, as_json: bool) -> int:
    quiet_libraries()
    for model in models:
        path = _fetch(model, offline=False, half=half)
        print(json.dumps({"model": model, "path": str(path)}) if as_json else path)
    return 0


def _check(models: list[str], *, repair: bool, as_json: bool) -> int:
    from tqdm import tqdm

    from weights.hub_cache import cached_size, find_broken, remove_files

    code = 0
    for model, place in _cached(models):
        with tqdm(
            total=cached_size(place.repo, place.inside),
            desc=model,
            unit="B",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
        ) as bar:
            broken, hashed = find_broken(place.repo, place.inside, report=bar.update)
        if repair:
            remove_files(list(broken))
        elif broken:
            code = EXIT_ERROR
        if as_json:
            found = {"model": model, "hashed": hashed, "broken": broken, "removed": repair}
            print(json.dumps(found))
            continue
        for path, wrong in broken.items():
            print(f"{model}: {path}: {wrong}{'; removed' if repair else ''}")
        if not broken:
            print(f"{model}: nothing is broken ({hashed} files have the hub's hashes)")
        elif repair:
            print(f"{model}: `lavallama models download {model}` gets it again")
        else:
            print(f"{model}: `lavallama models check {model} --repair` removes what is broken")
    return code


def _remove(models: list[str], *, as_json: bool) -> int:
    from huggingface_hub import constants

    from weights.hub_cache import describe_size, remove_files, remove_repo, repo_folder

    for model, place in _cached(models):
        if place.inside:
            found = repo_folder(place.repo).glob(f"snapshots/*/{place.inside}")
            freed = remove_files([str(f) for path in found for f in _files_in(path)])
        else:
            freed = remove_repo(place.repo)
        if as_json:
            print(json.dumps({"model": model, "freed": freed}))
        else:
            print(f"{model}: {describe_size(freed)} removed from {constants.HF_HUB_CACHE}")
    return 0


def _files_in(path: Path) -> list[Path]:
    return [path] if not path.is_dir() else [file for file in path.rglob("*") if not file.is_dir()]


def _cached(models: list[str]) -> Iterator[tuple[str, HubPlace]]:
    """Where the models are on the hub; each of them must be in the cache."""
    from grounding.errors import CheckpointError
    from weights.hub import find_place
    from weights.hub_cache import cached_size
    from weights.registry import CHATS, KNOWN, SEGMENTERS, VAES

    places = []
    for model in models:
        place = find_place(model, {**KNOWN, **VAES, **SEGMENTERS, **CHATS})
        if not cached_size(place.repo, place.inside):
            raise CheckpointError(
                f"{model}: nothing of it is in the cache: `lavallama models` lists what is"
            )
        places.append((model, place))
    yield from places


def free_space(folder: Path) -> int:
    """Count the bytes that are free where a folder is, or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


if __name__ == "__main__":
    sys.exit(main())
