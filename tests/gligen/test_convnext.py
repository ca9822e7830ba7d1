import torch
from transformers import ConvNextConfig, ConvNextModel

from gligen.convnext import ConvNextTrunk
from tests.gligen.tiny import randomise

DIMS, DEPTHS = (8, 12, 16), (1, 2, 1)
NAMES = {  # ours -> transformers'
    "dwconv": "dwconv",
    "norm": "layernorm",
    "pwconv1": "pwconv1",
    "pwconv2": "pwconv2",
    "gamma": "layer_scale_parameter",
}


def theirs(key: str) -> str:
    """The name that transformers gives a parameter of ours."""
    part, stage, block, *rest = key.split(".")
    if part == "downsample_layers":
        if stage == "0":
            layer = ("patch_embeddings", "layernorm")[int(block)]
            return ".".join(["embeddings", layer, *rest])
        return ".".join(["encoder.stages", stage, "downsampling_layer", block, *rest])
    return ".".join(["encoder.stages", stage, "layers", block, NAMES[rest[0]], *rest[1:]])


def test_the_trunk_is_that_of_transformers():
    torch.manual_seed(0)
    ours = ConvNextTrunk(DIMS, DEPTHS).eval()
    randomise(ours)
    config = ConvNextConfig(
        num_stages=len(DIMS), hidden_sizes=list(DIMS), depths=list(DEPTHS), layer_norm_eps=1e-12
    )
    reference = ConvNextModel(config).eval()
    state = {theirs(key): value for key, value in ours.state_dict().items()}
    missing, unknown = reference.load_state_dict(state, strict=False)
    assert set(missing) <= {"layernorm.weight", "layernorm.bias"}
    assert not unknown
    seen = []
    reference.encoder.register_forward_hook(lambda *call: seen.append(call[2][0]))
    picture = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        reference(picture)
        features = ours(picture)
    assert features.shape == (2, DIMS[-1], 32 // ours.stride, 48 // ours.stride)
    assert torch.allclose(features, seen[0], atol=1e-5)
