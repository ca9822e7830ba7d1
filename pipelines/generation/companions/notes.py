"""What a provenance says of companions, in single values: "lora", "lora 2", ..., "control", ..."""

from collections.abc import Iterable, Mapping

__all__ = [
    "CONTROL",
    "IP_IMAGE",
    "KINDS",
    "LORA",
    "EMBEDDING",
    "CONTROLNET",
    "IP_ADAPTER",
    "PARTS",
    "STRENGTH",
    "TILED",
    "listed",
    "numbered",
]

# What was loaded: LoRA, words, ControlNets, the IP-Adapter.
KINDS = LORA, EMBEDDING, CONTROLNET, IP_ADAPTER = "lora", "embedding", "controlnet", "ip_adapter"
# What stands in for the model's own.
PARTS = "vae", "text_encoder"
# What they were given, and how the picture was drawn.
CONTROL, IP_IMAGE, STRENGTH, TILED = "control", "ip_image", "strength", "tile_vae"


def numbered(kind: str, names: Iterable[object]) -> dict[str, str]:
    """Write several names under one kind."""
    return {_key(kind, place): str(name) for place, name in enumerate(names)}


def listed(kind: str, settings: Mapping[str, object]) -> tuple[str, ...]:
    """Read them again, in order."""
    names = []
    while (key := _key(kind, len(names))) in settings:
        names.append(str(settings[key]))
    return tuple(names)


def _key(kind: str, place: int) -> str:
    return kind if place == 0 else f"{kind} {place + 1}"
