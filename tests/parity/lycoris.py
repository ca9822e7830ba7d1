"""What LyCORIS' own layers compute, for `tests/weights/test_lora_update.py`.

    pip install lycoris-lora==4.1.3
    python -m tests.parity.lycoris tests/golden/lycoris.safetensors

A case is a file's tensors for a random layer, and the output of that layer with LyCORIS' module
upon it.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

INPUTS = {"linear": (3, 12), "conv": (1, 12, 4, 3), "norm": (3, 12)}


def layers() -> dict[str, nn.Module]:
    """The layers that are changed."""
    return {
        "linear": nn.Linear(12, 16),
        "conv": nn.Conv2d(12, 16, 3, padding=1),
        "norm": nn.LayerNorm(12),
    }


def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Layer and name -> LyCORIS' module and its options."""
    found: dict[str, tuple[str, dict[str, Any]]] = {"norm": ("NormModule", {})}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "lora": ("LoConModule", {"lora_dim": 4, "alpha": 2.0}),
        "loha": ("LohaModule", {"lora_dim": 4, "alpha": 2.0}),
        "lokr": ("LokrModule", {"lora_dim": 2, "alpha": 1.0, "factor": 2}),
    }
    for layer in ("linear", "conv"):
        for name, (kind, options) in kinds.items():
            found[f"{layer} {name}"] = (kind, options)
            if layer == "conv":
                found[f"{layer} {name} cp"] = (kind, {**options, "use_tucker": True})
            for side, rows in (("rows", True), ("columns", False)):
                decomposed = {**options, "weight_decompose": True, "wd_on_out": rows}
                found[f"{layer} {name} {side}"] = (kind, decomposed)
        both = {"lora_dim": 1, "alpha": 0.5, "decompose_both": True, "factor": 4}
        found[f"{layer} lokr factored"] = ("LokrModule", both)
        found[f"{layer} lokr whole"] = ("LokrModule", {"alpha": 2.0, "full_matrix": True})
        found[f"{layer} full"] = ("FullModule", {})
    return found


def make(layer: Any, x: Tensor, kind: str, options: dict[str, Any]) -> dict[str, Tensor]:
    """Compute one case."""
    import lycoris.modules as kinds  # pyright: ignore[reportMissingImports]

    module = getattr(kinds, kind)("layer", layer, **options).eval()
    own = {id(parameter) for parameter in layer.parameters()}
    for parameter in module.parameters():
        if id(parameter) not in own:
            nn.init.normal_(parameter)
    if hasattr(module, "dora_scale"):
        module.dora_scale.data.abs_().add_(0.5)
    state = module.state_dict()
    if kind == "FullModule":
        state = {"diff": module.weight, "diff_b": module.bias}
    if kind == "NormModule":
        y = nn.functional.layer_norm(x, (12,), *module.make_weight())
    else:
        module.org_forward = layer.forward
        y = module(x)
    return {**state, "y": y}


@torch.no_grad()
def main(path: str) -> None:
    """Write all cases."""
    torch.manual_seed(0)
    golden: dict[str, Tensor] = {}
    made = layers()
    for name, layer in made.items():
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
        golden |= {f"{name}|base.{key}": value for key, value in layer.state_dict().items()}
        golden[f"{name}|x"] = torch.randn(INPUTS[name])
    for name, (kind, options) in cases().items():
        layer = name.split()[0]
        found = make(made[layer], golden[f"{layer}|x"], kind, options)
        golden |= {f"{name}||{key}": value for key, value in found.items()}
    save_file({key: value.detach().clone() for key, value in golden.items()}, Path(path))


if __name__ == "__main__":
    main(sys.argv[1])
