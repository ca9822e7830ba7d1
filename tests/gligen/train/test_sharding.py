"""A base and its adapter shared out among two processes."""

import os
import subprocess
import sys

import pytest

SHARED_OUT = """
import sys
import torch
import torch.distributed as dist
from gligen.train.sharding import shard
from grounding.sharding import gathered, is_share
from tests.gligen.tiny import inputs, layout, open_adapter, unet

family = sys.argv[1]
dist.init_process_group("gloo")
base = unet(family)
base.enable_gradient_checkpointing()
base.train()
adapter = open_adapter(base)
adapter.inject(base)

def run():
    with adapter.grounded(adapter.tokens(*layout())):
        told = base(**inputs(family)).sample
        told.square().mean().backward()
    gradients = {n: gathered(p.grad) for n, p in adapter.named_parameters() if p.grad is not None}
    adapter.zero_grad()
    return told.detach(), gradients

def held(module):
    own = (p.to_local() if is_share(p) else p for p in module.parameters())
    return sum(p.numel() for p in own)

before, all_of_it = run(), (held(base), held(adapter))
shard(base, adapter, "cpu", 2)
after = run()
assert torch.allclose(before[0], after[0], atol=1e-5)
assert before[1].keys() == after[1].keys()
assert all(torch.allclose(g, after[1][n], atol=1e-5) for n, g in before[1].items())
assert held(base) < 0.52 * all_of_it[0], held(base) / all_of_it[0]
assert held(adapter) < 0.8 * all_of_it[1], held(adapter) / all_of_it[1]
dist.destroy_process_group()
"""


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_each_process_holds_half_and_computes_the_same(family, tmp_path):
    script = tmp_path / "shared_out.py"
    script.write_text(SHARED_OUT)
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), family]
    done = subprocess.run(
        [sys.executable, "-m", *launch],
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
