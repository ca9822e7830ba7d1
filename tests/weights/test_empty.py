import subprocess
import sys

import torch
from torch import nn

from weights.empty import empty_parameters

CODE = """
import sys
from pipelines.segmentation.segmenter import open_predictor
predictor = open_predictor("embedded", device="cpu")
heavy = {"transformers", "diffusers", "torch._dynamo"}
print(sorted(heavy & set(sys.modules)))
"""


def test_nothing_is_drawn_at_random():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with empty_parameters():
        model = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4), nn.Conv2d(4, 4, 3))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    state = {key: torch.ones(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    assert all((parameter == 1).all() for parameter in model.parameters())


def test_a_segmenter_opens_without_libraries_that_it_does_not_need():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
