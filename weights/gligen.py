"""GLIGEN adapters (gates and grounding tokenizer) in and out of every layout people share.

| layout      | file                                        | names                                |
|-------------|---------------------------------------------|--------------------------------------|
| `lavallama` | folder: `adapter.safetensors`, `config.json`| canonical: diffusers', adapter only  |
| `official`  | `.bin`: `{"model": ...}`                    | official; with a base, the whole UNet|
| `comfyui`   | `.safetensors`                              | official, adapter only               |
| `diffusers` | `.safetensors`; with a base, a UNet folder  | diffusers'                           |

Layouts and modalities are recognised by keys, never by file names. Text boxes only, for now:
other modalities are recognised and refused. Tensors keep their type and bits in both directions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from gligen.adapter import AdapterConfig, GligenAdapter
from grounding.errors import CheckpointError, OutputError
from grounding.files import write_files
from weights import adapter_check, keymap
from weights.hub import fetch_adapter
from weights.keymap import name_some
from weights.own_folder import read_document, state_digest
from weights.registry import EMBEDDED, embedded
from weights.tensor_file import TensorFile, write_safetensors

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import Tensor, nn

__all__ = [
    "Layout",
    "find_adapter_file",
    "load_adapter",
    "read_adapter",
    "save_pretrained",
    "write_adapter",
]

logger = logging.getLogger(__name__)

Layout = Literal["lavallama", "official", "comfyui", "diffusers"]
FORMAT = "lavallama-gligen-adapter"
FORMAT_VERSION = 1
WEIGHTS_NAME = "adapter.safetensors"
CONFIG_NAME = "config.json"
DIFFUSERS_HIDDEN = 512  # diffusers, GLIGENTextBoundingboxProjection
DIFFUSERS_FREQUENCIES = 8

# What full checkpoints hold beside the UNet. None of it belongs to an adapter.
IGNORED_WITH_ADAPTER = (
    "autoencoder.",
    "text_encoder.",
    "diffusion.",
    "opt.",
    "scheduler.",
    "ema.",
    "first_stage_model.",
    "cond_stage_model.",
    "model_ema.",
)


def read_adapter(
    source: str | Path, *, offline: bool = False
) -> tuple[dict[str, Tensor], AdapterConfig]:
    """Read a text-box adapter from any layout.

    Args:
        source: A file, a folder, a hub id, a name in `weights.registry`, or "embedded".
        offline: Never use the network; files that were downloaded before are found.

    Returns:
        The state dict in canonical names (on the CPU, types as stored) and its config.

    Raises:
        CheckpointError: Not an adapter, not a text-box adapter, incomplete, or damaged.
        OfflineError: It must be downloaded and cannot be.
    """
    if str(source) == EMBEDDED:
        path = embedded("gligen")
    elif Path(source).exists():
        path = Path(source)
    else:
        path = fetch_adapter(str(source), offline=offline)
    path = find_adapter_file(path)
    if path.name == WEIGHTS_NAME and (path.parent / CONFIG_NAME).is_file():
        return _read_own(path)
    file = TensorFile(path)
    names = canonical_names(file)
    state = {names[key]: tensor for key, tensor in file.read(names).items()}
    return state, AdapterConfig(**adapter_check.infer_config(state, str(path)))


def find_adapter_file(path: Path) -> Path:
    """Find the file of weights in a folder: ours, a diffusers UNet, or the only one there is.

    Raises:
        CheckpointError: There is none, or no telling which.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder")
    stems = ("diffusion_pytorch_model", "diffusion_pytorch_model.fp16")
    names = [f"{stem}{end}" for end in (".safetensors", ".bin") for stem in stems]
    names += [f"{name}.index.json" for name in names]
    candidates = [path / WEIGHTS_NAME]
    candidates += [folder / name for folder in (path / "unet", path) for name in names]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    weights = [
        file for file in sorted(path.iterdir()) if file.suffix in (".safetensors", ".bin", ".pth")
    ]
    if len(weights) == 1:
        return weights[0]
    found = f"found {name_some(file.name for file in weights)}" if weights else "found no weights"
    raise CheckpointError(
        f"{path}: expected {WEIGHTS_NAME}, unet/{names[0]} or a single checkpoint, {found}: "
        "name the file itself"
    )


def canonical_names(file: TensorFile) -> dict[str, str]:
    """Map every adapter key of a file to its canonical name; account for every other key.

    Returns:
        Key in the file -> canonical name.

    Raises:
        CheckpointError: No text-box adapter is in there, or keys are unknown or missing.
    """
    prefix = _unet_prefix(file)
    inner = {
        key[len(prefix) :]: key
        for key in file.shapes
        if key.startswith(prefix) and not key.startswith(IGNORED_WITH_ADAPTER)
    }
    adapter_check.refuse_other_modalities({k: file.shapes[v] for k, v in inner.items()}, file.path)
    layers = _layers(inner)
    names, unknown = {}, []
    for key, whole in inner.items():
        if key.startswith("position_net.") or ".fuser." in key:
            official = key.startswith(("input_blocks.", "middle_block.", "output_blocks."))
            names[whole] = keymap.canonical_adapter_key(key, layers) if official else key
        elif key not in keymap.SCHEDULE_BUFFERS and not keymap.is_base_key(key, layers):
            unknown.append(whole)
    unknown += [
        key
        for key in file.shapes
        if not key.startswith((prefix, *IGNORED_WITH_ADAPTER))
        and key not in keymap.SCHEDULE_BUFFERS
    ]
    if unknown:
        raise CheckpointError(f"{file.path}: unknown parameters {name_some(unknown)}")
    ungated = {key.split(".attn1.")[0] for key in inner if ".attn1." in key} - {
        key.split(".fuser.")[0] for key in inner if ".fuser." in key
    }
    if ungated:
        raise CheckpointError(f"{file.path}: no gates in {name_some(ungated)}")
    if any(key.startswith(("input_blocks.", "output_blocks.")) for key in inner):
        adapter_check.check_levels(names.values(), layers, str(file.path))
    return names


def _unet_prefix(file: TensorFile) -> str:
    """Find what stands before the UNet's names: `model.`, `model.diffusion_model.` or nothing."""
    for prefix in keymap.OFFICIAL_PREFIXES:
        if any(key.startswith(f"{prefix}position_net.") for key in file.shapes):
            return prefix
    fusers = any(".fuser." in key for key in file.shapes)
    missing = "position_net.*" if fusers else "GLIGEN's gates (*.fuser.*) and position_net.*"
    raise CheckpointError(f"{file.path}: not a GLIGEN adapter: {missing} missing")


def _layers(keys: Mapping[str, str]) -> int:
    """Layers per level, from where the first downsampler of an official UNet stands."""
    downs = [int(key.split(".")[1]) for key in keys if key.endswith(".0.op.weight")]
    return min(downs) - 1 if downs else keymap.SD1.layers


def _read_own(path: Path) -> tuple[dict[str, Tensor], AdapterConfig]:
    """Read our own folder and check it against its config."""
    where = path.parent / CONFIG_NAME
    document = read_document(where, FORMAT, FORMAT_VERSION)
    values = document.get("config")
    known = {field.name for field in fields(AdapterConfig)}
    if not isinstance(values, dict) or set(values) - known:
        raise CheckpointError(f"{where}: expected a config of {', '.join(sorted(known))}")
    state = TensorFile(path).read()
    inferred = adapter_check.infer_config(state, str(path))
    for name, value in inferred.items():
        if values.get(name, value) != value:
            raise CheckpointError(
                f"{where}: {name} is {values[name]!r}, the weights have {value!r}: "
                "the two files do not belong together"
            )
    if document.get("sha256") != state_digest(state):
        raise CheckpointError(f"{path}: its sha256 is not the one in {CONFIG_NAME}: copy it again")
    return state, AdapterConfig(**{**inferred, **values})


def write_adapter(
    state: Mapping[str, Tensor],
    config: AdapterConfig,
    path: str | Path,
    *,
    layout: Layout = "lavallama",
    base: UNet2DConditionModel | None = None,
) -> Path:
    """Write an adapter in one of the layouts.

    What official and diffusers loaders read in one piece is a whole UNet with gates. Given the
    base UNet, that is written; without, only the adapter's own parameters are, under the same
    names (official: `load_state_dict(ckpt["model"], strict=False)` on a model that already has
    its Stable Diffusion weights).

    Args:
        state: Canonical names -> tensors.
        config: The adapter's config.
        path: Folder for `lavallama` and for `diffusers` with a base; else the file.
        layout: See the table in this file's head.
        base: The plain UNet that the adapter is for; used by `official` and `diffusers`.

    Returns:
        What was written: the folder or file.

    Raises:
        CheckpointError: The state is not a complete adapter, or the layout cannot express it.
        OutputError: The place cannot be written.
    """
    path = Path(path)
    if layout not in get_args(Layout):
        raise CheckpointError(f"expected a layout of {', '.join(get_args(Layout))}, got {layout!r}")
    inferred = adapter_check.infer_config(state, "the adapter")
    if layout == "lavallama":
        return _write_own(state, config, path)
    if inferred["position_features"] or inferred["field_dim"]:
        raise CheckpointError(
            f"layout {layout!r} has no position features and no box field (*.fuser.position.*, "
            "box_field.*): use 'lavallama'"
        )
    if layout == "diffusers":
        return _write_diffusers(state, config, path, base)
    unet = keymap.UNetLayout.of(base.config) if base is not None else keymap.SD1
    official = {keymap.official_adapter_key(k, unet.layers): v for k, v in state.items()}
    if layout == "comfyui":
        return write_safetensors(official, path)
    if base is not None:
        back = {ours: theirs for theirs, ours in keymap.unet_table(unet).items()}
        renamed = {keymap.rename(k, back, "the base UNet"): v for k, v in base.state_dict().items()}
        official.update({key: value for key, value in renamed.items() if key is not None})
    ready = {key: value.detach().to("cpu").clone() for key, value in official.items()}
    write_files({path: lambda partial: torch.save({"model": ready}, partial)})
    return path


def _write_own(state: Mapping[str, Tensor], config: AdapterConfig, folder: Path) -> Path:
    if folder.is_file():
        raise OutputError(f"{folder}: expected a folder to write to, it is a file")
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sha256": state_digest(state),
        "config": asdict(config),
    }
    write_safetensors(state, folder / WEIGHTS_NAME)
    _write_json(document, folder / CONFIG_NAME)
    return folder


def _write_diffusers(
    state: Mapping[str, Tensor],
    config: AdapterConfig,
    path: Path,
    base: UNet2DConditionModel | None,
) -> Path:
    if base is None:
        return write_safetensors(state, path)
    width = base.config.get("cross_attention_dim")
    fixed = (DIFFUSERS_HIDDEN, DIFFUSERS_FREQUENCIES, width, width)
    got = (config.hidden_dim, config.frequencies, config.phrase_dim, config.context_dim)
    if got != fixed:
        raise CheckpointError(
            "diffusers' gated UNet has hidden, frequencies, phrase and token widths "
            f"{fixed}, the adapter {got}: use layout 'lavallama'"
        )
    document = {
        **base.config,
        "_class_name": "UNet2DConditionModel",
        "attention_type": "gated",
    }
    document = {key: value for key, value in document.items() if key != "_name_or_path"}
    write_safetensors({**base.state_dict(), **state}, path / "diffusion_pytorch_model.safetensors")
    _write_json(document, path / CONFIG_NAME)
    return path


def _write_json(document: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    write_files({path: text.encode()})


def save_pretrained(adapter: GligenAdapter, folder: str | Path) -> Path:
    """Save an adapter as our own folder (`adapter.safetensors`, `config.json`).

    Raises:
        OutputError: The folder cannot be written.
    """
    return write_adapter(adapter.state_dict(), adapter.config, folder)


def load_adapter(
    source: str | Path,
    unet: nn.Module,
    *,
    offline: bool = False,
    dtype: torch.dtype | None = None,
) -> GligenAdapter:
    """Read an adapter and build it for a UNet, strictly; it is not injected yet.

    Args:
        source: As for `read_adapter`.
        unet: The plain base UNet that the gates are for.
        offline: Never use the network.
        dtype: Type of the parameters; the UNet's when not given.

    Raises:
        CheckpointError: The adapter does not fit the UNet.
        OfflineError: It must be downloaded and cannot be.
    """
    state, config = read_adapter(source, offline=offline)
    adapter = GligenAdapter.for_unet(unet, config)
    adapter_check.compare(state, adapter.state_dict(), f"{source} for this UNet")
    adapter.load_state_dict(state)
    parameter = next(unet.parameters())
    return adapter.to(device=parameter.device, dtype=dtype or parameter.dtype)
