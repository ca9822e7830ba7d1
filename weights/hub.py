"""Downloads from the Hugging Face hub: only the files that are needed, resumed, or found again.

One quick question (five seconds at most) says which files a repository has, and how large they
are; `weights.choose` says which of them are needed, and `huggingface_hub` downloads these, with its
progress bars and its cache. Whenever the hub does not give them - no network, offline mode, an
error, a repository that is gone - what was downloaded before is used, if it is all there.
"""

from __future__ import annotations

import glob
import importlib.util
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from errno import EACCES, ENOSPC, EROFS
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import HfApi, constants, get_token, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from grounding.errors import CheckpointError, LavallamaError, OfflineError, OutputError
from weights.choose import (
    STEMS,
    WEIGHT_SUFFIXES,
    Choice,
    choose_adapter,
    choose_base,
    choose_chat,
    choose_segmenter,
    choose_tokenizer,
    choose_vae,
    is_half,
)
from weights.hub_cache import describe_size, repo_folder, sweep_partials
from weights.hub_place import HubPlace, parse_place
from weights.registry import CHATS, KNOWN, SEGMENTERS, VAES, KnownRepo

__all__ = [
    "HUB_TIMEOUT",
    "Check",
    "fetch_adapter",
    "fetch_base",
    "fetch_chat",
    "fetch_files",
    "fetch_segmenter",
    "fetch_tokenizer",
    "fetch_vae",
    "find_place",
]

logger = logging.getLogger(__name__)

HUB_TIMEOUT = 5.0  # seconds to wait for the hub before it counts as out of reach
NAMED = 4  # files of a repository that one line names
NOT_STORED = (ENOSPC, EACCES, EROFS)

Table = Mapping[str, KnownRepo]
Check = Callable[[Path], object]


def fetch_base(
    source: str, *, offline: bool = False, half: bool = False, check: Check = lambda _: None
) -> Path:
    """Get a base model: a diffusers repository, or one file or folder of any repository.

    Args:
        source: A short name of the registry, or a place on the hub (`weights.hub_place`).
        offline: Use only what was downloaded before.
        half: Prefer a half-precision variant where a repository has both.
        check: Is shown the folder before gigabytes of weights are downloaded into it, and raises
            a CheckpointError if by its configs it cannot be used.

    Returns:
        The folder or file on this machine.

    Raises:
        CheckpointError: No such repository or file; or the name cannot be one.
        OfflineError: It must be downloaded and cannot be.
        OutputError: There is no room for it.
    """

    def choose(files: Mapping[str, int]) -> list[str]:
        return choose_base(files, half=half)

    return _fetch(source, choose, offline=offline, table=KNOWN, half=half, check=check)


def fetch_adapter(source: str, *, offline: bool = False) -> Path:
    """Get an adapter: our own folder, a gated diffusers UNet, or one file.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_adapter, offline=offline, table=KNOWN)


def fetch_tokenizer(source: str, *, offline: bool = False) -> Path:
    """Get a CLIP tokenizer's files from the root or the `tokenizer` folder of a repository."""
    path = _fetch(source, choose_tokenizer, offline=offline, table=KNOWN)
    return path / "tokenizer" if (path / "tokenizer").is_dir() else path


def fetch_vae(source: str, *, offline: bool = False) -> Path:
    """Get a VAE: a repository of one, the one of a pipeline, or one file.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_vae, offline=offline, table=VAES)


def fetch_segmenter(source: str, *, offline: bool = False) -> Path:
    """Get a SEEM: one official file, or a repository with a folder of ours.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_segmenter, offline=offline, table=SEGMENTERS)


def fetch_chat(source: str, *, offline: bool = False, check: Check = lambda _: None) -> Path:
    """Get a LLaVA, a part of one, or the language model or vision tower that it stands on.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_chat, offline=offline, table=CHATS, check=check)


def fetch_files(
    source: str, choose: Choice, *, offline: bool = False, check: Check = lambda _: None
) -> Path:
    """Get the chosen files of a repository or of a folder in it, or the one file that is named.

    Args:
        source: A place on the hub (`weights.hub_place`).
        choose: Which of a repository's files are needed; none: it is not what was asked for.
        offline: Use only what was downloaded before.
        check: As for `fetch_base`.

    Returns and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose, offline=offline, table={}, check=check)


def find_place(source: str, table: Table) -> HubPlace:
    """Say where on the hub a model is.

    Args:
        source: A short name of the table, with or without `@revision`, or a place on the hub.
        table: Of `weights.registry`; it may be empty.

    Raises:
        CheckpointError: It is neither.
    """
    name, at, revision = source.partition("@")
    known = table.get(source) or table.get(name)
    if known is not None:
        repo = f"{known.repo}@{revision}" if at and source not in table else known.repo
        source = f"{repo}{known.source.removeprefix(known.repo)}"
    place = parse_place(source, endpoint=constants.ENDPOINT)
    if place is None or _names_other_file(place.inside):
        own = " 'embedded'," if _has_own(table) else ""
        names = f",{own} or one of {', '.join(table)}" if table else ""
        raise CheckpointError(
            f"{source}: no such file or folder, and not the name of a model: expected a path, "
            f"a hub id (owner/name, owner/name@revision, owner/name/file), a hub URL{names}"
        )
    return place


def _has_own(table: Table) -> bool:
    """Whether a model that ships with lavallama does in place of a table's."""
    return table is KNOWN or table is SEGMENTERS


def _names_other_file(inside: str) -> bool:
    """Whether the last name has the suffix of a file that is no weights; "v1.5" has none."""
    return bool(re.search(r"\.[A-Za-z]+$", inside)) and not inside.endswith(WEIGHT_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """What a repository has.

    Attributes:
        commit: Of the revision that was asked for.
        files: Path -> size in bytes; 0: not known.
        hashes: Path -> the hash that names its blob in the cache.
    """

    commit: str
    files: dict[str, int]
    hashes: dict[str, str]


def _fetch(
    source: str,
    choose: Choice,
    *,
    offline: bool,
    table: Table,
    half: bool = False,
    check: Check = lambda _: None,
) -> Path:
    """Get what a source names; see `fetch_base`."""
    place = find_place(source, table)
    choose = _inside(place.inside, choose)
    try:
        if offline:
            raise _missing(place, "offline mode is on", table)
        if constants.HF_HUB_OFFLINE:
            raise _missing(place, "HF_HUB_OFFLINE is set", table)
        found = _ask(place, table)
        folder, chosen = _download(place, found, choose, table, half=half, check=check)
    except LavallamaError as error:
        folder, chosen = _find(place, choose, error)
    reduced = [file for file in chosen if is_half(file) and place.inside != file]
    if reduced and not half:
        logger.warning("%s: there in half precision only: %s", place, _some(reduced))
    return folder / place.inside


def _inside(inside: str, choose: Choice) -> Choice:
    """Choose one file, or in a folder of a repository."""
    if not inside:
        return choose

    def choose_inside(files: Mapping[str, int]) -> list[str]:
        head = f"{inside}/"
        here = {file[len(head) :]: size for file, size in files.items() if file.startswith(head)}
        return [f"{head}{file}" for file in choose(here)] if here else [inside]

    return choose_inside


def _ask(place: HubPlace, table: Table) -> _Listing:
    """Ask the hub what a repository has.

    Raises:
        CheckpointError: It has no such repository or revision, or does not give it.
        OfflineError: It does not answer.
    """
    try:
        info = HfApi().model_info(
            place.repo, revision=place.revision, timeout=HUB_TIMEOUT, files_metadata=True
        )
    except Exception as error:
        raise _explain(place, error, table) from error
    siblings = info.siblings or []
    return _Listing(
        commit=info.sha or "",
        files={file.rfilename: file.size or 0 for file in siblings},
        hashes={f.rfilename: f.lfs.sha256 if f.lfs else f.blob_id or "" for f in siblings},
    )


def _download(
    place: HubPlace, listing: _Listing, choose: Choice, table: Table, *, half: bool, check: Check
) -> tuple[Path, list[str]]:
    """Get the chosen files that are not here yet; return their folder and their names.

    With `half`, full precision that is here already does as well.
    """
    chosen = choose(listing.files)
    if not chosen:
        raise CheckpointError(_name_choices(place, listing.files))
    if lacking := [file for file in chosen if file not in listing.files]:
        raise CheckpointError(
            f"{place}: {place.repo} on the hub has no {_some(lacking)}; it has "
            f"{_some([f for f in listing.files if f.endswith(WEIGHT_SUFFIXES)]) or 'no weights'}"
        )
    folder = _snapshot(place)
    if folder is not None and folder.name == listing.commit:
        if not _absent(folder, chosen):
            return folder, chosen
        found, lacking = _choose_here(place, folder, choose)
        if half and found and not lacking:
            return folder, found
    known = None if folder is None else folder.parent / listing.commit
    absent = chosen if known is None else _absent(known, chosen)
    _check_readers(place, chosen)
    _check_room(place, _missing_bytes(place, listing, absent))
    logger.info("%s: downloading %s", place, _some(absent))
    try:
        _transfer(place, chosen, check)
    except CheckpointError:
        raise
    except Exception as error:
        raise _explain(place, error, table) from error
    folder = _snapshot(place)
    if folder is None or _absent(folder, chosen):
        raise CheckpointError(f"{place}: was changed on the hub during the download: run it again")
    return folder, chosen


def _transfer(place: HubPlace, files: list[str], check: Check) -> None:
    """Download files into the cache; its client raises many kinds of errors."""
    sweep_partials(place.repo)
    small = [glob.escape(file) for file in files if not file.endswith(WEIGHT_SUFFIXES)]
    told: dict[str, Any] = {"revision": place.revision, "etag_timeout": HUB_TIMEOUT}
    if small:
        check(Path(snapshot_download(place.repo, allow_patterns=small, **told)) / place.inside)
    # One after the other and in this thread: only so does Ctrl-C end a download at once.
    for file in files:
        if file.endswith(WEIGHT_SUFFIXES):
            hf_hub_download(place.repo, file, **told)


def _find(place: HubPlace, choose: Choice, reason: LavallamaError) -> tuple[Path, list[str]]:
    """Find what was downloaded before.

    Args:
        place: What is asked for.
        choose: Which of its files.
        reason: Why the hub does not give them; raised if nothing is here.
    """
    try:
        newest = _snapshot(place)
    except HFValidationError:
        newest = None
    if newest is None:
        raise reason
    incomplete: list[str] = []
    others = newest.parent.iterdir() if place.revision is None else ()
    for folder in (newest, *(other for other in others if other != newest)):
        chosen, absent = _choose_here(place, folder, choose)
        if chosen and not absent:
            if folder != newest or not isinstance(reason, OfflineError):
                logger.warning("%s; uses what was downloaded before: %s", reason, folder)
            return folder, chosen
        if not incomplete and len(absent) < len(chosen):
            incomplete = absent
    if not incomplete or not isinstance(reason, OfflineError):
        raise reason
    raise OfflineError(
        f"{place}: only a part of it was downloaded before: {_some(incomplete)} is missing. "
        f"{reason}"
    ) from reason


def _choose_here(place: HubPlace, folder: Path, choose: Choice) -> tuple[list[str], list[str]]:
    """Choose from what the cache has of one revision; return the files, and the absent ones."""
    here = {f.relative_to(folder).as_posix(): f.stat().st_size for f in _files(folder)}
    first: tuple[list[str], list[str]] = ([], [])
    for files in filter(None, (_known_tree(place, folder.name), here)):
        chosen = choose(files)
        absent = _absent(folder, chosen)
        if chosen and not absent:
            return chosen, absent
        first = first if first[0] else (chosen, absent)
        if any(not _is_weights(file) for file in absent):
            break  # other weights may do in place of these, but nothing does for a config
    return first


def _is_weights(file: str) -> bool:
    return file.endswith(WEIGHT_SUFFIXES) or ".index." in file


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())


def _absent(folder: Path, files: list[str]) -> list[str]:
    return [file for file in files if not (folder / file).is_file()]


def _snapshot(place: HubPlace) -> Path | None:
    """The folder of a revision in the cache, whatever is in it; None if there is none."""
    try:
        # No patterns, no files that must be there: newer versions refuse a part otherwise.
        found = snapshot_download(
            place.repo, revision=place.revision, local_files_only=True, allow_patterns=[]
        )
    except (OSError, LocalEntryNotFoundError):
        return None
    return Path(found)


def _known_tree(place: HubPlace, commit: str) -> dict[str, int]:
    """The listing of a repository that newer versions of huggingface_hub keep; else nothing."""
    read = getattr(huggingface_hub, "get_cached_repo_tree", None)
    if read is None:
        return {}
    try:
        return {file.path: file.size for file in read(place.repo, revision=commit)}
    except Exception:  # not kept, or kept in another form: what is here still says enough
        return {}


def _check_readers(place: HubPlace, chosen: list[str]) -> None:
    """Refuse what could not be read after it has been downloaded."""
    if not any(file.rpartition("/")[2] == "tokenizer.model" for file in chosen):
        return
    if any(file.rpartition("/")[2] == "tokenizer.json" for file in chosen):
        return
    packages = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
    lacking = [name for module, name in packages.items() if not _importable(module)]
    if lacking:
        raise LavallamaError(
            f"{place}: its tokenizer.model is read by {' and '.join(packages.values())}: "
            f"pip install {' '.join(lacking)}"
        )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _missing_bytes(place: HubPlace, listing: _Listing, absent: list[str]) -> int:
    """Count what must be downloaded: files that another revision has too are here already."""
    blobs = repo_folder(place.repo) / "blobs"
    hashes = {listing.hashes[file]: listing.files[file] for file in absent}
    return sum(size for key, size in hashes.items() if not key or not (blobs / key).exists())


def _check_room(place: HubPlace, needed: int) -> None:
    """Refuse a download that the cache cannot hold."""
    cache = Path(constants.HF_HUB_CACHE)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
    except OSError as error:
        raise OutputError(
            f"{cache}: the folder for downloads cannot be made ({error.strerror or error}): set "
            "HF_HOME to a folder that can be written"
        ) from error
    if needed > free:
        raise OutputError(
            f"{place}: needs {describe_size(needed)}, {cache} has {describe_size(free)} free: make "
            "room (`lavallama models` lists what is there), or set HF_HOME to another disk's folder"
        )


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _name_choices(place: HubPlace, files: Mapping[str, int]) -> str:
    """Say what a repository has that may be asked for by its name."""
    head = f"{place.inside}/" if place.inside else ""
    below = [f for f in files if f.startswith(head) and f.endswith(WEIGHT_SUFFIXES)]
    weights = [f for f in below if "/" not in f[len(head) :]]
    # Of folders, files with names of their own first: `model.safetensors` is a part of something.
    weights = weights or sorted(below, key=lambda f: f.rpartition("/")[2].split(".")[0] in STEMS)
    if not weights:
        return f"{place}: the hub has it, but no model of a known layout in it"
    sized = [f"{f} ({describe_size(files[f])})" if files[f] else f for f in weights]
    at = f"@{place.revision}" if place.revision else ""
    return (
        f"{place}: the hub has it, but no telling which of its files is meant: {_some(sized)}; "
        f"name one, as {place.repo}{at}/{weights[0]}"
    )


def _missing(place: HubPlace, reason: str, table: Table) -> OfflineError:
    cure = "connect once, or give the path of a local copy"
    if _has_own(table):
        cure = (
            "connect once, give the path of a local copy, or use 'embedded', the model that ships "
            "with lavallama"
        )
    return OfflineError(
        f"{place} is not on this machine and cannot be downloaded ({reason}): {cure}"
    )


def _explain(place: HubPlace, error: BaseException, table: Table) -> LavallamaError:
    """Say why the hub did not give something; its client hides the reason in causes."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    # That nothing is in the cache is what the client says in the end, not why.
    causes = [c for c in causes if not isinstance(c, LocalEntryNotFoundError)] or [error]
    for cause in causes:
        for kind, explain in EXPLAINED:
            if isinstance(cause, kind):
                return CheckpointError(f"{place}: {explain(place)}")
        if isinstance(cause, OSError) and cause.errno in NOT_STORED:
            return OutputError(f"{place}: the download cannot be stored ({cause})")
        if isinstance(cause, OfflineModeIsEnabled):
            return _missing(place, "HF_HUB_OFFLINE is set", table)
        if isinstance(cause, HfHubHTTPError):
            status = getattr(cause.response, "status_code", "with an error")
            asks = "; is your token still valid? `hf auth login`" if status == 401 else ""
            return _missing(place, f"the hub answered {status}{asks}", table)
    # Whichever HTTP library the hub's client is built on (requests, httpx, httpx2) raises its own
    # errors when there is no network; all of them mean: not reachable now.
    return _missing(place, f"no connection to the hub: {type(causes[0]).__name__}", table)


def _explain_gate(place: HubPlace) -> str:
    page = f"{constants.ENDPOINT}/{place.repo}"
    if get_token():
        return f"you are logged in, but have not been let in: accept its licence at {page}"
    return f"is gated: accept its licence at {page}, then log in with `hf auth login`"


def _explain_absence(place: HubPlace) -> str:
    absent = "no such file or folder here, and the hub has no such model"
    if get_token():
        return f"{absent} (or a private one that you may not see)"
    return f"{absent} (or a private one: log in with `hf auth login`)"


EXPLAINED: tuple[tuple[type[Exception], Callable[[HubPlace], str]], ...] = (
    (HFValidationError, lambda _: "not the name of a repository on the hub"),
    (GatedRepoError, _explain_gate),
    (DisabledRepoError, lambda _: "the hub has closed this repository to everybody"),
    (RepositoryNotFoundError, _explain_absence),
    (RevisionNotFoundError, lambda place: f"the hub has no revision {place.revision!r} of it"),
    (
        EntryNotFoundError,
        lambda _: "the hub lists a file of it that it does not give (404): try again later",
    ),
)
