"""What a LoRA, or one of its kin, changes in one layer.

    W  ->  W + weight * dW

| kind | dW                                                                                   |
|------|--------------------------------------------------------------------------------------|
| LoRA | s * B A; of a convolution both are flattened (Hu et al., arXiv 2106.09685, sect. 4.1) |
| CP   | s * B T A: `lora_mid`, a core between the two (LyCORIS, arXiv 2309.14859)             |
| LoHa | s * (B1 A1) o (B2 A2), element by element (FedPara, arXiv 2108.06098)                 |
| LoKr | s * C (x) (B A), a Kronecker product; either factor may be whole (arXiv 2309.14859)   |
| full | `diff` itself, and `diff_b` of the bias; `w_norm` and `b_norm` of a norm              |
| DoRA | m * V / |V| - W, V = W + the above, |V| by row or column (Liu et al., arXiv 2402.09353)|

where s is alpha / rank. The change is made to the parameters, in float32 and rounded once, so a
layer costs what it did before. A weight goes the straight way from W to all of the change: of a
DoRA too, and 0 leaves every bit as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Update", "find_rank", "is_complete"]

LORA = frozenset({"down", "up"})
LOHA = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
LOHA_CORES = frozenset({"hada_t1", "hada_t2"})
LOKR = ("lokr_w1", "lokr_w2")
# What may stand beside any kind that changes a matrix.
MAGNITUDES = frozenset({"dora_scale", "magnitude"})
RANKS = ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")  # whose first axis is the rank


@dataclass(frozen=True, kw_only=True, eq=False)
class Update:
    """The tensors of one layer in a file, by the names of the table in `weights.lora`.

    Attributes:
        tensors: Such as `down` and `up`.
        scale: s above.
    """

    tensors: Mapping[str, Tensor]
    scale: float

    def weight(self, base: Tensor) -> Tensor | None:
        """Compute dW.

        Args:
            base: W, in float32, or on the meta device to learn only whether it fits.

        Returns:
            A tensor of W's shape; None if the weight stays as it is.

        Raises:
            ValueError: It does not fit.
            RuntimeError: The same, said by torch.
        """
        parts = {name: tensor.to(base) for name, tensor in self.tensors.items()}
        change = _product(parts)
        if change is None:
            return None
        if _flat(change).shape != _flat(base).shape:
            raise ValueError(f"expected {tuple(base.shape)}, got {tuple(change.shape)}")
        change = self.scale * change.reshape(base.shape)
        if not MAGNITUDES & parts.keys():
            return change
        return _decomposed(base + change, parts) - base

    def bias(self, base: Tensor) -> Tensor | None:
        """Compute the change of a bias; arguments and errors as for `weight`."""
        change = self.tensors.get("diff_b", self.tensors.get("b_norm"))
        if change is not None and change.shape != base.shape:
            raise ValueError(f"expected {tuple(base.shape)}, got {tuple(change.shape)}")
        return None if change is None else change.to(base)


def is_complete(names: Set[str]) -> bool:
    """Say whether the tensors of a layer are those of one kind: nothing missing, nothing beside."""
    names = names - MAGNITUDES if names - MAGNITUDES else names
    lokr = _lokr_names(names)
    wholes: tuple[tuple[Iterable[str], Iterable[str]], ...] = (
        (LORA, {"mid", "diff_b"}),
        (LOHA, {"diff_b"}),
        (LOHA | LOHA_CORES, {"diff_b"}),
        (lokr, {"lokr_t2", "diff_b"} if "lokr_w2_a" in lokr else {"diff_b"}),
        ({"diff"}, {"diff_b"}),
        ({"diff_b"}, ()),
        ({"w_norm"}, {"b_norm"}),
    )
    return any(set(needed) <= names <= {*needed, *others} for needed, others in wholes)


def find_rank(tensors: Mapping[str, Tensor]) -> int | None:
    """Read the rank of a layer off its tensors; None where none of them has one."""
    return next((tensors[name].shape[0] for name in RANKS if name in tensors), None)


def _product(parts: Mapping[str, Tensor]) -> Tensor | None:
    """Multiply the factors of a change, without its scale."""
    if "down" in parts:
        return _factors(parts["up"].flatten(1), parts["down"].flatten(1), parts.get("mid"))
    if "hada_w1_a" in parts:
        left, right = (
            # With a core the factors are stored with the rank first.
            _factors(_turned(parts[f"hada_w{i}_a"], core), parts[f"hada_w{i}_b"], core)
            for i, core in ((1, parts.get("hada_t1")), (2, parts.get("hada_t2")))
        )
        return left * right
    names = _lokr_names(parts.keys())
    if names & parts.keys():
        core = parts.get("lokr_t2")
        small = parts.get("lokr_w1")
        if small is None:
            small = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
        large = parts.get("lokr_w2")
        if large is None:
            large = _factors(_turned(parts["lokr_w2_a"], core), parts["lokr_w2_b"], core)
        small = small.reshape(*small.shape, *[1] * (large.dim() - 2))
        return torch.kron(small, large.contiguous())
    return parts.get("diff", parts.get("w_norm"))


def _factors(left: Tensor, right: Tensor, core: Tensor | None) -> Tensor:
    """Multiply [O, r] by [r, I], or by a core [r, r', ...] and [r', I]."""
    if core is None:
        return left @ right
    return torch.einsum("or,rs...,si->oi...", left, core, right)


def _turned(factor: Tensor, core: Tensor | None) -> Tensor:
    return factor if core is None else factor.T


def _lokr_names(names: Iterable[str]) -> frozenset[str]:
    """What a LoKr of these tensors consists of: each factor whole, or as two."""
    return frozenset(
        name
        for factor in LOKR
        for name in ((factor,) if factor in names else (f"{factor}_a", f"{factor}_b"))
    )


def _decomposed(whole: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    """Give the rows or columns of a matrix the lengths that a DoRA learnt.

    peft's lengths (`magnitude`) are of rows; LyCORIS' (`dora_scale`) of what their shape says.
    """
    ones = [1] * (whole.dim() - 1)
    lengths = parts.get("dora_scale")
    if lengths is None:
        lengths = parts["magnitude"].reshape(-1, *ones)
    if lengths.shape[0] == whole.shape[0]:
        now = whole.flatten(1).norm(dim=1).reshape(-1, *ones)
    else:
        now = whole.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *ones[1:])
    if lengths.shape != now.shape:
        raise ValueError(f"expected lengths of {tuple(now.shape)}, got {tuple(lengths.shape)}")
    return whole * (lengths / (now + torch.finfo(now.dtype).eps))


def _flat(tensor: Tensor) -> Tensor:
    return tensor.flatten(1) if tensor.dim() > 1 else tensor
