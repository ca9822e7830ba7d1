"""Downloads from the Hugging Face hub: only the files that are needed, resumed, or found again.

One quick question (five seconds at most) says which files a repository has; the ones that are
needed are then downloaded by `huggingface_hub`, with its progress bars, its cache and its resuming.
Without a network what was downloaded before is used; if that is nothing, `OfflineError` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from errno import EACCES, ENOSPC, EROFS
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from grounding.errors import CheckpointError, OfflineError, OutputError
from weights.registry import CHATS, KNOWN, SEGMENTERS, KnownChat, KnownModel, KnownSegmenter

__all__ = [
    "HUB_TIMEOUT",
    "choose_part",
    "fetch_adapter",
    "fetch_base",
    "fetch_files",
    "fetch_segmenter",
    "fetch_tokenizer",
]

HUB_TIMEOUT = 5.0  # seconds to wait for the hub before it counts as out of reach
NAME = r"[A-Za-z0-9_][\w.-]*"
HUB_ID = re.compile(
    rf"^(?P<repo>{NAME}/{NAME})(?:/(?P<file>[\w./-]+\.(?:safetensors|bin|ckpt|pt|pth)))?$"
)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
FOLDERS = ("unet", "vae", "text_encoder", "text_encoder_2")
SMALL_FOLDERS = ("scheduler/", "tokenizer/", "tokenizer_2/")
PICTURE_FOLDERS = ("image_encoder", "image_project")  # of GLIGEN's text+image pipelines
OWN_SEGMENTER = ("config.json", "model.safetensors", "predictor.json")
CHAT_WEIGHTS = ("adapter_model", "non_lora_trainables", "mm_projector")  # of LLaVA, in parts
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")

Choice = Callable[[list[str]], list[str]]


def fetch_base(source: str, *, offline: bool = False, half: bool = False) -> Path:
    """Get a base model: a diffusers repository, or one file of any repository.

    Args:
        source: A short name of the registry, `owner/name`, or `owner/name/file.safetensors`.
        offline: Use only what was downloaded before.
        half: Prefer the fp16 variant where a repository has both.

    Returns:
        The folder or file on this machine.

    Raises:
        CheckpointError: No such repository or file; or the name cannot be one.
        OfflineError: It must be downloaded and cannot be.
    """
    return _fetch(source, lambda files: choose_base(files, half=half), offline=offline)


def fetch_adapter(source: str, *, offline: bool = False) -> Path:
    """Get an adapter: our own folder, a gated diffusers UNet, or one file.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_adapter, offline=offline)


def fetch_tokenizer(source: str, *, offline: bool = False) -> Path:
    """Get a CLIP tokenizer's files from the root or the `tokenizer` folder of a repository."""

    def choose(files: list[str]) -> list[str]:
        folder = "tokenizer/" if "tokenizer/vocab.json" in files else ""
        return [f"{folder}{name}" for name in TOKENIZER_FILES if f"{folder}{name}" in files]

    path = _fetch(source, choose, offline=offline)
    return path / "tokenizer" if (path / "tokenizer").is_dir() else path


def fetch_segmenter(source: str, *, offline: bool = False) -> Path:
    """Get a SEEM: one official file, or a repository with a folder of ours.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_segmenter, offline=offline, table=SEGMENTERS)


def fetch_files(source: str, choose: Choice, *, offline: bool = False) -> Path:
    """Get the chosen files of a repository, or the one file that is named.

    Args:
        source: `owner/name`, or `owner/name/file.safetensors`.
        choose: Which of a repository's files are needed; none: it is not what was asked for.
        offline: Use only what was downloaded before.

    Returns and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose, offline=offline, table={})


def choose_part(files: Iterable[str], folder: str = "") -> list[str]:
    """Choose the config and one set of weights of a single model, such as a ControlNet.

    Args:
        files: Of the repository.
        folder: Where the model is in it, with a "/" at the end; by default at the root.
    """
    here = [file for file in files if file.startswith(folder) and "/" not in file[len(folder) :]]
    weights = _one_set(here, half=False)
    return [f"{folder}config.json", *weights] if f"{folder}config.json" in here else []


def fetch_chat(source: str, *, offline: bool = False) -> Path:
    """Get a LLaVA, a part of one, or the language model or vision tower that it stands on.

    Args and Raises: as for `fetch_base`.
    """
    return _fetch(source, choose_chat, offline=offline, table=CHATS)


def choose_base(files: Iterable[str], *, half: bool = False) -> list[str]:
    """Choose the files of a diffusers pipeline: configs, tokenizer and one set of weights each."""
    files = list(files)
    if "model_index.json" not in files:
        return []
    chosen = ["model_index.json"]
    chosen += [f for f in files if f.startswith(SMALL_FOLDERS)]
    for folder in FOLDERS:
        chosen += [f for f in files if f == f"{folder}/config.json"]
        chosen += _one_set([f for f in files if f.startswith(f"{folder}/")], half=half)
    return chosen


def choose_adapter(files: Iterable[str]) -> list[str]:
    """Choose the files of an adapter: ours, a UNet's, or the only file of weights there is."""
    files = list(files)
    if {"adapter.safetensors", "config.json"} <= set(files):
        return ["adapter.safetensors", "config.json"]
    if "unet/config.json" in files:
        chosen = ["unet/config.json", *_one_set(_under("unet", files), half=False)]
        for folder in PICTURE_FOLDERS:
            chosen += [f for f in files if f == f"{folder}/config.json"]
            chosen += _one_set(_under(folder, files), half=False)
        return chosen
    weights = [f for f in files if f.endswith(WEIGHT_SUFFIXES) and "/" not in f]
    return _one_set(weights, half=False) if len(weights) <= 2 else []


def choose_segmenter(files: Iterable[str]) -> list[str]:
    """Choose the files of our own folder, else the only official file there is."""
    files = list(files)
    if set(OWN_SEGMENTER) <= set(files):
        return [f for f in files if f.endswith((".json", ".txt")) or f == "model.safetensors"]
    weights = [f for f in files if f.endswith((".pt", ".pth")) and "/" not in f]
    return weights if len(weights) == 1 else []


def choose_chat(files: Iterable[str]) -> list[str]:
    """Choose configs, the tokenizer and one set of weights of the root."""
    files = [file for file in files if "/" not in file]
    parts = [file for file in files if file.startswith(CHAT_WEIGHTS) and "." in file]
    weights = [file for file in files if file.startswith(("model", "pytorch_model"))]
    words = [f for f in files if f.endswith((".json", ".txt", ".model")) and "index" not in f]
    return [*words, *parts, *_one_set(weights, half=False)] if "config.json" in files else []


def _under(folder: str, files: Iterable[str]) -> list[str]:
    return [file for file in files if file.startswith(f"{folder}/")]


def _one_set(files: list[str], *, half: bool) -> list[str]:
    """Choose safetensors before pickles, and the wanted variant before the other."""
    groups: dict[tuple[bool, bool], list[str]] = {}
    for file in files:
        name = file.removesuffix(".index.json")
        if not name.endswith((".safetensors", ".bin")) or "non_ema" in name or "openvino" in name:
            continue
        is_half = ".fp16" in name
        groups.setdefault((name.endswith(".bin"), is_half != half), []).append(file)
    return groups[min(groups)] if groups else []


def _fetch(
    source: str,
    choose: Choice,
    *,
    offline: bool,
    table: Mapping[str, KnownModel | KnownSegmenter | KnownChat] = KNOWN,
) -> Path:
    known = table.get(source)
    match = HUB_ID.match(known.source if known else source)
    if match is None or ".." in source:
        own = "" if table is CHATS else " 'embedded',"
        names = f",{own} or one of {', '.join(table)}" if table else ""
        raise CheckpointError(
            f"{source}: no such file or folder, and not the name of a model: expected a path, "
            f"a hub id (owner/name){names}"
        )
    repo, file = match["repo"], match["file"]
    if file is not None:
        folder = _get(repo, lambda files: [f for f in files if f == file], offline=offline)
        if not (folder / file).is_file():
            raise _missing(f"{repo}/{file}", "only other files of it were downloaded before")
        return folder / file
    return _get(repo, choose, offline=offline, own=table is not CHATS)


def _get(repo: str, choose: Choice, *, offline: bool, own: bool = True) -> Path:
    """Download the chosen files of a repository, or find them in the cache.

    Args:
        repo: Hub id.
        choose: Which of its files.
        offline: Use only what was downloaded before.
        own: Whether a model of this kind ships with lavallama, to name it where this one is not.
    """
    reason = "offline mode is on"
    try:
        if not offline:
            try:
                return _download(repo, choose)
            except _UnreachableError as error:
                reason = str(error)
        folder = Path(snapshot_download(repo, local_files_only=True))
    except HFValidationError as error:
        raise CheckpointError(f"{repo}: not the name of a repository on the hub") from error
    except OSError as error:
        raise _missing(repo, reason, own=own) from error
    files = [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]
    if not choose(files):
        raise _missing(repo, reason, own=own)
    return folder


class _UnreachableError(Exception):
    """The hub did not answer; what was downloaded before may still do."""


def _download(repo: str, choose: Choice) -> Path:
    try:
        info = HfApi().model_info(repo, timeout=HUB_TIMEOUT)
        chosen = choose([sibling.rfilename for sibling in info.siblings or []])
        if not chosen:
            raise CheckpointError(f"{repo}: the hub has it, but no model of a known layout in it")
        return Path(
            # By branch, not by info.sha: only then can the cache be found again offline.
            snapshot_download(repo, allow_patterns=chosen, etag_timeout=HUB_TIMEOUT)
        )
    except (CheckpointError, HFValidationError):
        raise
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{repo}: the hub has no such model (or it asks who you are: `hf auth login`)"
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "with an error")
        raise _UnreachableError(f"the hub answered {status}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (ENOSPC, EACCES, EROFS):
            raise OutputError(f"{repo}: the download cannot be stored ({error})") from error
        # Whichever HTTP library the hub's client is built on (requests, httpx, httpx2) raises
        # its own errors when there is no network; all of them mean: not reachable now.
        raise _UnreachableError(f"no connection to the hub: {type(error).__name__}") from error


def _missing(what: str, reason: str, *, own: bool = True) -> OfflineError:
    cure = "connect once, or give the path of a local copy"
    if own:
        cure = (
            "connect once, give the path of a local copy, or use the model that ships with "
            "lavallama: --model embedded"
        )
    return OfflineError(
        f"{what} is not on this machine and cannot be downloaded ({reason}): {cure}"
    )
