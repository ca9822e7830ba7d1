"""GLIGEN adapters (gates and grounding tokenizer) in and out of every layout people share.

| layout      | file                                        | names                                |
|-------------|---------------------------------------------|--------------------------------------|
| `lavallama` | folder: `adapter.safetensors`, `config.json`| canonical: diffusers', adapter only  |
| `official`  | `.bin`: `{"model": ...}`                    | official; with a base, the whole UNet|
| `comfyui`   | `.safetensors`                              | official, adapter only               |
| `diffusers` | `.safetensors`; with a base, a UNet folder  | diffusers'                           |

Official files hold any modality, diffusers' those of boxes, ComfyUI's text boxes. Layouts and
modalities are recognised by keys, never by file names; canny and depth have the same keys, there
the configuration in the file tells. Tensors keep their type and bits in both directions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from gligen.adapter import GligenAdapter
from gligen.config import AdapterConfig, MapConfig, Modality
from grounding.errors import CheckpointError, LavallamaError, OutputError
from grounding.files import write_files
from weights import adapter_check, keymap
from weights.adapter_names import CONFIG_DICT, canonical_names, said_modality
from weights.choose import WEIGHT_SUFFIXES, choose_set
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
ATTENTION_TYPES = {"text": "gated", "text_image": "gated-text-image"}  # of diffusers' UNet config
GROUNDING_TARGET = "grounding_input.{}_grounding_tokinzer_input.GroundingNetInput"  # as spelt there


def read_adapter(
    source: str | Path, *, offline: bool = False, modality: Modality | None = None
) -> tuple[dict[str, Tensor], AdapterConfig]:
    """Read an adapter of any modality from any layout.

    Args:
        source: A file, a folder, a hub id, a name in `weights.registry`, or "embedded".
        offline: Never use the network; files that were downloaded before are found.
        modality: "canny" or "depth" where a file does not say which; else what the adapter must be.

    Returns:
        The state dict in canonical names (on the CPU, types as stored) and its config.

    Raises:
        CheckpointError: Not an adapter, not of that modality, incomplete, or damaged.
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
    said = modality or said_modality(file)
    return state, AdapterConfig(**adapter_check.infer_config(state, str(path), modality=said))


def find_adapter_file(path: Path) -> Path:
    """Find the file of weights in a folder: ours, a diffusers UNet, or the only one there is.

    Raises:
        CheckpointError: There is none, or no telling which.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder")
    if (path / WEIGHTS_NAME).is_file():
        return path / WEIGHTS_NAME
    weights: dict[str, int] = {}
    for folder in (path / "unet", path):
        files = [file for file in sorted(folder.glob("*")) if file.is_file()]
        weights = {
            f.name: f.stat().st_size for f in files if set(WEIGHT_SUFFIXES) & set(f.suffixes)
        }
        if chosen := choose_set(weights):
            return folder / next((name for name in chosen if name.endswith(".json")), chosen[0])
    found = f"found {name_some(weights)}" if weights else "found no weights"
    raise CheckpointError(
        f"{path}: expected {WEIGHTS_NAME}, unet/diffusion_pytorch_model.safetensors or a single "
        f"checkpoint, {found}: name the file itself"
    )


def _read_own(path: Path) -> tuple[dict[str, Tensor], AdapterConfig]:
    """Read our own folder and check it against its config."""
    where = path.parent / CONFIG_NAME
    document = read_document(where, FORMAT, FORMAT_VERSION)
    try:
        values = document.get("config")
        said = AdapterConfig.from_dict(values if isinstance(values, dict) else {"config": values})
    except (LavallamaError, TypeError) as error:
        raise CheckpointError(f"{where}: {error}") from None
    state = TensorFile(path).read()
    depths = MapConfig().depths if said.map is None else said.map.depths
    inferred = adapter_check.infer_config(state, str(path), modality=said.modality, depths=depths)
    assert isinstance(values, dict)
    for name, value in inferred.items():
        if name in values and getattr(said, name) != value:
            raise CheckpointError(
                f"{where}: {name} is {getattr(said, name)!r}, the weights have {value!r}: "
                "the two files do not belong together"
            )
    if document.get("sha256") != state_digest(state):
        raise CheckpointError(f"{path}: its sha256 is not the one in {CONFIG_NAME}: copy it again")
    return state, AdapterConfig.from_dict({**inferred, **values})


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
    depths = MapConfig().depths if config.map is None else config.map.depths
    inferred = adapter_check.infer_config(
        state, "the adapter", modality=config.modality, depths=depths
    )
    if layout == "lavallama":
        return _write_own(state, config, path)
    _check_layout(AdapterConfig(**inferred), layout, base)
    if layout == "diffusers":
        return _write_diffusers(state, config, path, base)
    unet = keymap.UNetLayout.of(base.config) if base is not None else keymap.SD1
    official = {keymap.official_adapter_key(k, unet.layers): v for k, v in state.items()}
    if layout == "comfyui":
        return write_safetensors(official, path)
    if base is not None:
        back = {ours: theirs for theirs, ours in keymap.unet_table(unet).items()}
        renamed = {keymap.rename(k, back, "the base UNet"): v for k, v in base.state_dict().items()}
        plain = {key: value for key, value in renamed.items() if key is not None}
        official = {**plain, **official}  # a widened first convolution replaces the plain one
    content: dict[str, Any] = {
        "model": {key: value.detach().to("cpu").clone() for key, value in official.items()}
    }
    if config.map is not None:
        target = GROUNDING_TARGET.format(config.modality)
        content[CONFIG_DICT] = {"grounding_tokenizer_input": {"target": target}}
    write_files({path: lambda partial: torch.save(content, partial)})
    return path


def _check_layout(config: AdapterConfig, layout: str, base: UNet2DConditionModel | None) -> None:
    """Check that a layout other than ours has a place for all of an adapter.

    Raises:
        CheckpointError: It has not.
    """
    if config.position_features or config.field_dim:
        raise CheckpointError(
            f"layout {layout!r} has no position features and no box field (*.fuser.position.*, "
            "box_field.*): use 'lavallama'"
        )
    if base is not None and base.config["in_channels"] != base.config["out_channels"]:
        raise CheckpointError(
            f"layout {layout!r} cannot tell a base that inpaints by itself from gates that widen "
            "theirs: write the adapter without the base"
        )
    if layout == "comfyui" and (config.modality != "text" or config.inpainting):
        raise CheckpointError(
            f"ComfyUI reads adapters for text boxes; this one is for {_kind(config)}: use layout "
            "'official' or 'lavallama'"
        )
    depths, custom = (MapConfig() if config.map is None else config.map).depths, MapConfig().depths
    if layout == "official" and depths != custom:
        raise CheckpointError(
            f"layout {layout!r} reads maps with a ConvNeXt of {custom} blocks, the adapter's has "
            f"{depths}: use 'lavallama'"
        )


def _kind(config: AdapterConfig) -> str:
    return f"inpainting with {config.modality}" if config.inpainting else config.modality


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
    if config.modality not in ATTENTION_TYPES:
        raise CheckpointError(
            f"diffusers has gates for text and text+image boxes; this adapter is for "
            f"{config.modality}: use layout 'official' or 'lavallama'"
        )
    if base is None:
        return write_safetensors(state, path)
    width = base.config.get("cross_attention_dim")
    fixed = (DIFFUSERS_HIDDEN, DIFFUSERS_FREQUENCIES, width, width)
    got = (config.hidden_dim, config.frequencies, config.phrase_dim, config.context_dim)
    if got != fixed or (config.modality == "text_image" and config.image_dim != width):
        raise CheckpointError(
            "diffusers' gated UNet has hidden, frequencies, phrase and token widths "
            f"{fixed}, the adapter {got}: use layout 'lavallama'"
        )
    document = {
        **base.config,
        "_class_name": "UNet2DConditionModel",
        "attention_type": ATTENTION_TYPES[config.modality],
    }
    if "conv_in.weight" in state:
        document["in_channels"] = state["conv_in.weight"].shape[1]
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
