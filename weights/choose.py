"""Which files of a repository or folder make a model: by names, sizes and indices, nothing twice.

A chooser takes a listing (path -> size in bytes; 0: unknown) and returns the files that are needed.
What is needed and not in the listing is returned too, so whoever asks can say what is missing;
nothing at all is returned for a listing that is no such model.

Names are those of diffusers and transformers: `NAME.safetensors`, `NAME.fp16.safetensors`, shards
`NAME-00001-of-00002.safetensors` with an index `NAME.safetensors.index.json`, of a variant
`NAME.safetensors.index.fp16.json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "STEMS",
    "WEIGHT_SUFFIXES",
    "Choice",
    "choose_adapter",
    "choose_any",
    "choose_base",
    "choose_chat",
    "choose_part",
    "choose_segmenter",
    "choose_set",
    "choose_text_encoder",
    "choose_tokenizer",
    "choose_vae",
    "is_half",
]

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # of diffusers and transformers
UNREADABLE = ("open_clip", "openvino", "onnx")  # beside the same weights under a name of STEMS
HALF = ("fp16", "bf16")
FOLDERS = ("unet", "vae", "text_encoder")
SECOND = "text_encoder_2"  # of SDXL
SMALL_FOLDERS = ("scheduler/", "tokenizer/", "tokenizer_2/")
PICTURE_FOLDERS = ("image_encoder", "image_project")  # of GLIGEN's text+image pipelines
OWN_ADAPTER = ("adapter.safetensors", "config.json")
OWN_SEGMENTER = ("config.json", "model.safetensors", "predictor.json")
CHAT_PARTS = ("adapter_model", "non_lora_trainables", "mm_projector")  # of LLaVA
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
WORDS = ("vocab.json", "tokenizer.json")  # transformers 5 writes the latter alone
SIZE_SLACK = 0.03  # headers and alignment; the same tensors differ by less

NAME = re.compile(
    r"(?P<stem>.+?)(?:\.(?P<early>fp16|bf16|fp32|ema|non_ema))?"
    r"(?:-(?P<shard>\d+)-of-(?P<count>\d+))?(?:\.(?P<late>fp16|bf16|fp32|ema|non_ema))?"
    r"(?P<suffix>\.(?:safetensors|bin|ckpt|pt|pth))"
    r"(?P<index>\.index(?:\.(?P<last>fp16|bf16|fp32|ema|non_ema))?\.json)?"
)

Choice = Callable[[Mapping[str, int]], list[str]]


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What the files of one set have in common.

    Attributes:
        stem: Name without variant, shard and suffix.
        suffix: ".safetensors", ".bin", ...
        variant: "fp16", "bf16", "ema", "non_ema", or "" for full precision.
        sharded: Whether it is in more than one file.
    """

    stem: str
    suffix: str
    variant: str
    sharded: bool


def choose_base(files: Iterable[str], *, half: bool = False) -> list[str]:
    """Choose the files of a diffusers pipeline: configs, tokenizer and one set of weights each.

    Args:
        files: The listing.
        half: Take a half-precision variant where there is one; else only where there is no other.
    """
    sizes = _sized(files)
    index = [file for file in ("model_index.json",) if file in sizes]
    if not _under("unet/", sizes) or not (index or "vae/config.json" in sizes):
        return []
    chosen = [*index, *(f for f in sizes if f.startswith(SMALL_FOLDERS))]
    second = [SECOND] if _under(f"{SECOND}/", sizes) else []
    for folder in [*FOLDERS, *second]:
        chosen += _model_in(f"{folder}/", sizes, half=half)
    return chosen


def choose_adapter(files: Iterable[str]) -> list[str]:
    """Choose the files of an adapter: ours, a UNet's, or the only set of weights there is."""
    sizes = _sized(files)
    if set(OWN_ADAPTER) <= sizes.keys():
        return list(OWN_ADAPTER)
    if _under("unet/", sizes):
        return [*_model_in("unet/", sizes), *_picture_parts(sizes)]
    return choose_set({f: size for f, size in sizes.items() if "/" not in f})


def choose_part(files: Iterable[str], folder: str = "") -> list[str]:
    """Choose the config and one set of weights of a single model, such as a ControlNet.

    Args:
        files: The listing.
        folder: Where the model is in it, with a "/" at the end; by default at the root.
    """
    sizes = _sized(files)
    return _model_in(folder, sizes) if f"{folder}config.json" in sizes else []


def choose_vae(files: Iterable[str]) -> list[str]:
    """Choose a VAE: the one of a pipeline, or the one that the repository is."""
    sizes = _sized(files)
    return choose_part(sizes, "vae/") or choose_part(sizes)


def choose_text_encoder(files: Iterable[str]) -> list[str]:
    """Choose text encoders and tokenizers: those of a pipeline, or the one at the root."""
    sizes = _sized(files)
    folders = ("text_encoder/", f"{SECOND}/")
    if chosen := [file for folder in folders for file in choose_part(sizes, folder)]:
        return [*chosen, *(f for f in sizes if f.startswith(("tokenizer/", "tokenizer_2/")))]
    root = choose_part(sizes)
    return [*root, *choose_tokenizer(sizes)] if root else []


def choose_tokenizer(files: Iterable[str]) -> list[str]:
    """Choose CLIP's vocabulary at the root or in the folder `tokenizer`."""
    files = list(files)
    for folder in ("tokenizer/", ""):
        words = next((name for name in WORDS if f"{folder}{name}" in files), None)
        if words is not None:
            wanted = dict.fromkeys((words, *TOKENIZER_FILES))
            return [f"{folder}{name}" for name in wanted if f"{folder}{name}" in files]
    return []


def choose_segmenter(files: Iterable[str]) -> list[str]:
    """Choose the files of our own folder, else the only official file there is."""
    files = list(files)
    if set(OWN_SEGMENTER) <= set(files):
        return [f for f in files if f.endswith((".json", ".txt")) or f == "model.safetensors"]
    weights = [f for f in files if f.endswith((".pt", ".pth")) and "/" not in f]
    return weights if len(weights) == 1 else []


def choose_chat(files: Iterable[str]) -> list[str]:
    """Choose configs, the tokenizer and one set of weights of the root."""
    sizes = {file: size for file, size in _sized(files).items() if "/" not in file}
    if "config.json" not in sizes:
        return []
    chosen: list[str] = []
    for stems in (*((part,) for part in CHAT_PARTS), STEMS):
        chosen += choose_set({f: s for f, s in sizes.items() if _stem(f).startswith(stems)})
    if not chosen:
        return []
    small = [f for f in sizes if f.endswith((".json", ".txt", ".model")) and "index" not in f]
    return [*small, *chosen]


def choose_any(files: Iterable[str], *, half: bool = False) -> list[str]:
    """Choose the files of whatever model a listing is.

    Args:
        files: The listing.
        half: As for `choose_base`.
    """
    sizes = _sized(files)
    if base := choose_base(sizes, half=half):
        return [*base, *_picture_parts(sizes)]
    if segmenter := choose_segmenter(sizes):
        return segmenter
    has_words = any(f in (*WORDS, "tokenizer.model") for f in sizes)
    if has_words or any(f.startswith(CHAT_PARTS) for f in sizes):
        return choose_chat(sizes)
    return (
        choose_adapter(sizes)
        if set(OWN_ADAPTER) <= sizes.keys()
        else (choose_part(sizes) or choose_adapter(sizes))
    )


def choose_set(files: Iterable[str], *, half: bool = False) -> list[str]:
    """Choose one set of weights of one folder: a file, or shards and their index.

    A set of the wanted precision comes before the other precision, safetensors before pickles, a
    whole file before shards. Sets whose sizes say that they hold other tensors than the largest one
    are left out: `gligen/diffusers-generation-text-box` has a UNet with gates in its .bin, and a
    plain one in its .fp16.safetensors.

    Args:
        files: Of that folder, with or without its path.
        half: A half-precision variant is as good as full precision, and smaller.

    Returns:
        The files; of shards all that belong to them, also those that are not there. None if there
        are weights of several models and no telling which is meant.
    """
    sizes = _sized(files)
    groups: dict[_Kind, list[str]] = {}
    for file in sizes:
        match = NAME.fullmatch(file.rpartition("/")[2])
        if match is None or match["stem"].startswith(UNREADABLE):
            continue
        variant = match["early"] or match["late"] or match["last"] or ""
        kind = _Kind(
            stem=match["stem"],
            suffix=match["suffix"],
            variant="" if variant == "fp32" else variant,
            sharded=bool(match["count"] or match["index"]),
        )
        groups.setdefault(kind, []).append(file)
    known = {kind: group for kind, group in groups.items() if kind.stem in STEMS}
    groups = known or groups
    groups = {k: group for k, group in groups.items() if k.variant in ("", *HALF)} or groups
    if not known and len({kind.stem for kind in groups}) > 1:
        return []
    sets = {kind: _all_shards(group) for kind, group in groups.items()}
    sets = {k: group for k, group in sets.items() if sizes.keys() >= set(group)} or sets
    sets = _same_content(sets, sizes)
    if not sets:
        return []

    def rank(kind: _Kind) -> tuple[bool, ...]:
        pickled, reduced = kind.suffix != ".safetensors", kind.variant in HALF
        precision = (pickled, not reduced) if half else (reduced, pickled)
        return (*precision, kind.variant == "bf16", kind.sharded)

    return sets[min(sets, key=rank)]


def is_half(file: str) -> bool:
    """Whether a file's name says that it is a half-precision variant."""
    match = NAME.fullmatch(file.rpartition("/")[2])
    return match is not None and not {match["early"], match["late"], match["last"]}.isdisjoint(HALF)


def _picture_parts(sizes: Mapping[str, int]) -> list[str]:
    """What reads reference pictures in a GLIGEN pipeline; most have none."""
    chosen: list[str] = []
    for folder in PICTURE_FOLDERS:
        inside = _under(f"{folder}/", sizes)
        chosen += [f for f in inside if f == f"{folder}/config.json"]
        chosen += choose_set(inside)
    return chosen


def _model_in(folder: str, sizes: Mapping[str, int], *, half: bool = False) -> list[str]:
    """The config and weights of one model; where it has none, the names that it should have."""
    here = {f: size for f, size in _under(folder, sizes).items() if "/" not in f[len(folder) :]}
    stem = "model" if folder.startswith("text_encoder") else STEMS[0]
    lacking = [f"{folder}{stem}.safetensors"] if here else []
    return [f"{folder}config.json", *(choose_set(here, half=half) or lacking)]


def _all_shards(files: list[str]) -> list[str]:
    """Add the shards that are counted in the others' names."""
    complete = list(files)
    for file in files:
        if match := re.fullmatch(r"(.+-)(\d+)-of-(\d+)(.*)", file):
            head, digits, count, tail = match[1], len(match[2]), match[3], match[4]
            names = (f"{head}{n:0{digits}}-of-{count}{tail}" for n in range(1, int(count) + 1))
            complete += [name for name in names if name not in complete]
    return complete


def _same_content(
    sets: Mapping[_Kind, list[str]], sizes: Mapping[str, int]
) -> dict[_Kind, list[str]]:
    """Leave out sets whose size is neither the largest one's nor half of it."""

    def full(kind: _Kind) -> int:
        known = [sizes.get(f, 0) for f in sets[kind] if not f.endswith(".json")]
        return sum(known) * (2 if kind.variant in HALF else 1) if all(known) else 0

    largest = max(map(full, sets), default=0)

    def alike(kind: _Kind) -> bool:
        share = full(kind) / largest if largest else 0
        return not share or any(abs(share / whole - 1) <= SIZE_SLACK for whole in (0.5, 1))

    return {kind: group for kind, group in sets.items() if alike(kind)}


def _under(folder: str, sizes: Mapping[str, int]) -> dict[str, int]:
    return {file: size for file, size in sizes.items() if file.startswith(folder)}


def _stem(file: str) -> str:
    match = NAME.fullmatch(file)
    return match["stem"] if match else ""


def _sized(files: Iterable[str]) -> dict[str, int]:
    return dict(files) if isinstance(files, Mapping) else dict.fromkeys(files, 0)
