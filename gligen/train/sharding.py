"""A frozen base and its adapter shared out among processes.

Each holds a share of every block and gate, and gathers what it needs when it needs it (fully
sharded data parallelism, arXiv 2304.11277): memory for processes' time. Blocks are gathered on the
way forward and again on the way back; gates stay gathered in between, since a gate is used twice.
"""

from typing import Any

from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from gligen.adapter import GligenAdapter
from gligen.inject import transformer_blocks

__all__ = ["shard"]


def shard(unet: nn.Module, adapter: GligenAdapter, device: str, processes: int) -> None:
    """Leave each process a share of the UNet and of the gates, in place.

    The rest of the adapter (tokenizer, downsampler, first convolution, both alphas of each gate)
    stays whole.

    Args:
        unet: Frozen; the same in every process.
        adapter: The same in every process.
        device: The kind of device that both are on: "cpu" or "cuda".
        processes: Their number; torch.distributed knows them.
    """
    mesh = init_device_mesh(device, (processes,))
    blocks: list[nn.Module] = [m for m in unet.modules() if isinstance(m, ResnetBlock2D)]
    for module in (*blocks, *transformer_blocks(unet).values(), unet):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for gate in adapter.gates.values():
        whole: Any = {alpha for alpha in gate.parameters() if alpha.ndim == 0}
        fully_shard(gate, mesh=mesh, reshard_after_forward=False, ignored_params=whole)
        register_fsdp_forward_method(gate, "remember")
