"""LLaVA in and out of folders.

| layout         | what opens it                        | vision tower                         |
|----------------|--------------------------------------|--------------------------------------|
| `original`     | haotian-liu/LLaVA                    | in the weights, or `mm_vision_tower` |
| `transformers` | LlavaForConditionalGeneration, -Next | in the weights                       |

Read are also the stage-1 projector (`mm_projector.bin`) and LoRA folders, put upon a base. Layouts
are recognised by configs and keys, never by names of files. Reading is strict: every parameter is
there, of the right shape, and nothing else is. Tensors keep their type and bits in both directions;
the places that transformers wants for `<image>` and padding in the vocabulary are added on the way
out and taken off on the way back.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from accelerate import init_empty_weights
from torch import Tensor

try:
    from transformers.initialization import no_init_weights
except ImportError:  # transformers 4
    from transformers.modeling_utils import (
        no_init_weights,  # pyright: ignore[reportAttributeAccessIssue]
    )

from grounding.errors import CheckpointError, LavallamaError, OutputError
from grounding.files import write_files
from grounding.llava.config import LlavaConfig
from grounding.llava.model import Llava, build_llava
from weights import llava_config as configs
from weights.hub import Check, fetch_chat
from weights.keymap import name_some
from weights.llava_keys import IGNORED, Layout, layout_of_keys, original_key, our_key
from weights.llava_lora import ADAPTER_CONFIG, adapter_base, is_adapter, merge_adapter
from weights.llava_projector import fold_projector
from weights.llava_transformers import HEAD, TABLES, for_transformers
from weights.tensor_file import TensorFile, write_safetensors

__all__ = ["LlavaFiles", "fill_llava", "llava_state", "local_folder", "read_llava", "write_llava"]

CONFIG, PROJECTOR, WEIGHTS = "config.json", "mm_projector.bin", "model.safetensors"
WEIGHT_FILES = (
    "model.safetensors.index.json",
    WEIGHTS,
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
INNER = "vision_tower.vision_model."  # of CLIP's names in transformers 4


@dataclass(frozen=True, kw_only=True, eq=False)
class LlavaFiles:
    """What a folder holds.

    Attributes:
        state: Parameters by our names, on the CPU, types as stored.
        config: Of the model.
        folder: Where the tokenizer is.
    """

    state: dict[str, Tensor]
    config: LlavaConfig
    folder: Path


def read_llava(
    source: str | Path,
    *,
    base: str | Path | None = None,
    vision_tower: str | Path | None = None,
    offline: bool = False,
) -> LlavaFiles:
    """Read a LLaVA.

    Args:
        source: A folder, an `mm_projector.bin` in one, a short name or a hub id.
        base: What a LoRA or a projector alone is put upon; None: what a LoRA says itself.
        vision_tower: Where an original model has its tower from; None: as its config says.
        offline: Never use the network.

    Raises:
        CheckpointError: No LLaVA, incomplete, damaged, or with unknown parameters.
        OfflineError: Something must be downloaded and cannot be.
    """
    folder = local_folder(source, offline=offline, check=_check_kind)
    under, tokens = None, folder
    if not (is_adapter(folder) or _weights_of(folder) or (folder / PROJECTOR).is_file()):
        raise CheckpointError(
            f"{folder}: expected a model ({', '.join(WEIGHT_FILES)}), a LoRA ({ADAPTER_CONFIG}) or "
            f"a projector ({PROJECTOR}) in it"
        )
    if is_adapter(folder) or not _weights_of(folder):
        under = base or (adapter_base(folder) if is_adapter(folder) else None)
        if under is None:
            raise CheckpointError(
                f"{folder}: holds {'a LoRA' if is_adapter(folder) else 'no language model'}: name "
                "what it was trained on as its base"
            )
        tokens = local_folder(under, offline=offline)
    at = folder / CONFIG if (folder / CONFIG).is_file() else tokens / CONFIG
    values = _read_json(at)
    layout, config = _config(values, vision_tower, at, offline=offline)
    state = _translated(tokens, layout)
    if is_adapter(folder):
        state = merge_adapter(state, folder, layout)
    elif under is not None:
        state |= _translated_file(TensorFile(folder / PROJECTOR), layout)
    if layout == "transformers":
        state = _cut(fold_projector(state, config.projector, str(folder)), config)
    elif not any(key.startswith("vision_tower.") for key in state):
        where = vision_tower or values.get("mm_vision_tower")
        state |= _tower_state(str(where), offline=offline)
    return LlavaFiles(
        state=_checked(state, config, str(folder)),
        config=config,
        folder=folder if (folder / "tokenizer_config.json").is_file() else tokens,
    )


def fill_llava(
    files: LlavaFiles, *, dtype: torch.dtype | Callable[[int], torch.dtype] | None = None
) -> Llava:
    """Build the model that files describe, on the CPU.

    Args:
        files: Of `read_llava`.
        dtype: Of its parameters, or what says it of their number; None: as stored.
    """
    if dtype is not None and not isinstance(dtype, torch.dtype):
        dtype = dtype(sum(tensor.numel() for tensor in files.state.values()))
    model = _empty(files.config)
    inner = _inner(model)
    model.load_state_dict(
        {
            key.replace("vision_tower.", inner, 1) if key.startswith("vision_tower.") else key: (
                tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
            )
            for key, tensor in files.state.items()
        },
        assign=True,
    )
    if getattr(files.config.text, "tie_word_embeddings", False):
        head: Any = model.language_model
        head.get_output_embeddings().weight = head.get_input_embeddings().weight
    return model.eval().requires_grad_(False)


def llava_state(model: Llava) -> dict[str, Tensor]:
    """Return a model's parameters by our names, which are the same for all transformers."""
    inner = _inner(model)
    return {
        key.replace(inner, "vision_tower.", 1) if key.startswith(inner) else key: tensor
        for key, tensor in model.state_dict().items()
    }


def write_llava(
    state: Mapping[str, Tensor],
    config: LlavaConfig,
    folder: str | Path,
    *,
    layout: Layout = "transformers",
    tokenizer: Any = None,
) -> Path:
    """Write a LLaVA, completely.

    Args:
        state: Our key -> tensor, all of `llava_state`.
        config: Of the model.
        folder: Where to.
        layout: See the table in this file's head.
        tokenizer: Of the language model; None: it is not written.

    Raises:
        CheckpointError: The state is not the config's, or the layout cannot express it.
        OutputError: The place cannot be written.
    """
    folder = Path(folder)
    if layout not in get_args(Layout):
        raise CheckpointError(f"expected a layout of {', '.join(get_args(Layout))}, got {layout!r}")
    if folder.is_file():
        raise OutputError(f"{folder}: expected a folder to write to, it is a file")
    state = _checked(state, config, "the model")
    if getattr(config.text, "tie_word_embeddings", False):
        state.pop(HEAD, None)
    if layout == "original":
        inside = [key for key in state if key.startswith("language_model.") and key != HEAD]
        base = inside[0].split(".")[1]
        ready = {original_key(key, base): tensor for key, tensor in state.items()}
        documents = {CONFIG: configs.original_config(config)}
    else:
        ready, documents, tokenizer = for_transformers(state, config, tokenizer)
    contents = {
        folder / name: (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
        for name, document in documents.items()
    }
    write_safetensors(ready, folder / WEIGHTS)
    write_files({**_tokenizer_files(tokenizer, folder), **contents})
    return folder


def local_folder(
    source: str | Path, *, offline: bool = False, check: Check = lambda _: None
) -> Path:
    """Find a LLaVA, or a language model, on this machine, or download it.

    Args:
        source: A folder, a file in one, a short name or a hub id.
        offline: Never use the network.
        check: As for `weights.hub.fetch_chat`.

    Raises:
        CheckpointError: There is no such folder or name.
        OfflineError: It must be downloaded and cannot be.
    """
    path = Path(source)
    if not path.exists():
        path = fetch_chat(str(source), offline=offline, check=check)
    return path if path.is_dir() else path.parent


def _check_kind(place: Path) -> None:
    """Refuse what is no LLaVA by its config; a file, or a part of one, is let through."""
    at = place / CONFIG
    if not at.is_file() or is_adapter(place):
        return
    values = _read_json(at)
    if configs.layout_of_config(values) == "original":
        return  # its tower's config may have to be asked for
    _config(values, None, at, offline=True)


def _weights_of(folder: Path) -> Path | None:
    """The file, or the index, of a folder's weights."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def _translated(folder: Path, layout: Layout) -> dict[str, Tensor]:
    path = _weights_of(folder)
    if path is None:
        raise CheckpointError(f"{folder}: expected one of {', '.join(WEIGHT_FILES)} in it")
    return _translated_file(TensorFile(path), layout)


def _translated_file(file: TensorFile, layout: Layout) -> dict[str, Tensor]:
    """A file's parameters by our names."""
    found = layout_of_keys(file.shapes)
    if found not in (None, layout):
        raise CheckpointError(
            f"{file.path}: its parameters have the names of layout {found!r}, its config is of "
            f"layout {layout!r}: the two files do not belong together"
        )
    names = {key: our_key(key, layout) for key in file.shapes if not IGNORED.search(key)}
    unknown = [key for key, ours in names.items() if ours is None]
    if unknown:
        raise CheckpointError(f"{file.path}: unknown parameters {name_some(unknown)}")
    return {str(names[key]): tensor for key, tensor in file.read(names).items()}


def _config(
    values: Mapping[str, Any], vision_tower: str | Path | None, path: Path, *, offline: bool
) -> tuple[Layout, LlavaConfig]:
    """The layout, and what the model is made of."""
    where = str(path)
    try:
        layout = configs.layout_of_config(values)
        if layout is None:
            raise CheckpointError(
                f"{where}: expected a LLaVA: neither the original's keys (mm_*) nor transformers' "
                "(vision_config, text_config) are in it"
            )
        if layout == "transformers":
            return layout, configs.read_transformers(values, where)
        vision = _vision(values, vision_tower, where, offline=offline)
        return layout, configs.read_original(values, vision, where)
    except LavallamaError:
        raise
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{where}: a value in it is of the wrong kind ({error})") from error


def _vision(
    values: Mapping[str, Any], vision_tower: str | Path | None, where: str, *, offline: bool
) -> Any:
    """The config of an original model's vision tower."""
    own = values.get(configs.OUR_VISION)
    tower = vision_tower or values.get("mm_vision_tower")
    if isinstance(own, Mapping) and vision_tower is None:
        vision = own
    elif tower is None:
        raise CheckpointError(f"{where}: names no vision tower (mm_vision_tower): name one")
    elif str(tower) in configs.KNOWN_TOWERS and not Path(tower).exists():
        vision = configs.KNOWN_TOWERS[str(tower)]
    else:
        vision = _read_json(local_folder(tower, offline=offline) / CONFIG)
    return configs.vision_config(vision, where)


def _tower_state(source: str, *, offline: bool) -> dict[str, Tensor]:
    """A vision tower's parameters; of a whole CLIP, only these."""
    path = _weights_of(local_folder(source, offline=offline))
    if path is None:
        raise CheckpointError(f"{source}: expected one of {', '.join(WEIGHT_FILES)} in it")
    file = TensorFile(path)
    inner = "vision_model."
    prefix = inner if any(key.startswith(inner) for key in file.shapes) else ""
    keys = [key for key in file.shapes if key.startswith(prefix) and not IGNORED.search(key)]
    state = file.read(keys)
    return {f"vision_tower.{key.removeprefix(prefix)}": tensor for key, tensor in state.items()}


def _cut(state: Mapping[str, Tensor], config: LlavaConfig) -> dict[str, Tensor]:
    """Take off the rows that were added to the tables of words."""
    words = int(config.text.vocab_size)
    if config.image_token is not None:
        return dict(state)
    return {key: t[:words].clone() if key in TABLES else t for key, t in state.items()}


def _checked(state: Mapping[str, Tensor], config: LlavaConfig, source: str) -> dict[str, Tensor]:
    """Compare names and shapes with those of the config's model; a tied head is filled in."""
    model = _empty(config)
    expected = {key: tuple(tensor.shape) for key, tensor in llava_state(model).items()}
    ready = dict(state)
    words = next(f"{name}.weight" for name, m in model.named_modules() if m is model.embedding)
    if getattr(config.text, "tie_word_embeddings", False) and words in ready:
        ready.setdefault(HEAD, ready[words])
    problems = [
        f"{what} {name_some(keys)}"
        for what, keys in (
            ("missing", expected.keys() - ready.keys()),
            ("unknown", ready.keys() - expected.keys()),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(f"{source}: not a complete LLaVA: {'; '.join(problems)}")
    for key in sorted(expected):
        if tuple(ready[key].shape) != expected[key]:
            raise CheckpointError(
                f"{source}: {key} has shape {tuple(ready[key].shape)}, expected {expected[key]}"
            )
    return ready


def _empty(config: LlavaConfig) -> Llava:
    """A model without parameters, not even fresh ones."""
    try:
        with init_empty_weights(include_buffers=False), no_init_weights():
            return build_llava(config)
    except LavallamaError:
        raise
    except Exception as error:  # what transformers says of impossible sizes has no common kind
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"no LLaVA can be made of its config: {reason}") from error


def _inner(model: Llava) -> str:
    """What the vision tower's names begin with in the installed transformers."""
    keys = model.vision_tower.state_dict()
    return INNER if all(key.startswith("vision_model.") for key in keys) else "vision_tower."


def _tokenizer_files(tokenizer: Any, folder: Path) -> dict[Path, bytes]:
    if tokenizer is None:
        return {}
    with tempfile.TemporaryDirectory() as place:
        tokenizer.save_pretrained(place)
        return {folder / file.name: file.read_bytes() for file in Path(place).iterdir()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; expected the folder of a model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a JSON object ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return values
