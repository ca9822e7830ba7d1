"""Companions of the tiny model: random, small, in the layouts that people publish."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.pipelines.conftest import SIDE, WIDTH

RANK = 2
PICTURE_WIDTH = 12  # channels of a picture's embedding
TOKENS = 4  # of a picture, as a plain IP-Adapter makes them


@pytest.fixture(scope="session")
def unet(model_folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(model_folder / "unet")


@pytest.fixture(scope="session")
def text_encoder(model_folder: Path) -> CLIPTextModel:
    return CLIPTextModel.from_pretrained(model_folder / "text_encoder")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("companions")


def layers_of(unet: nn.Module) -> dict[str, nn.Linear]:
    """The projections of attention, by path."""
    ends = ("to_q", "to_k", "to_v", "to_out.0")
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear) and path.endswith(ends)
    }


def text_layers(encoder: nn.Module) -> dict[str, nn.Linear]:
    """The same of the text encoder, as transformers 4 named them."""
    found = {}
    for path, module in encoder.named_modules():
        if path.endswith(("q_proj", "out_proj")) and isinstance(module, nn.Linear):
            found[f"text_model.{path.removeprefix('text_model.')}"] = module
    return found


def low_rank(layer: nn.Linear, seed: int) -> tuple[Tensor, Tensor]:
    """A and B."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(RANK, layer.in_features, generator=generator),
        torch.randn(layer.out_features, RANK, generator=generator),
    )


@pytest.fixture(scope="session")
def lora(shelf: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> Path:
    """In diffusers' layout, of the UNet and the text encoder."""
    state = {}
    layers = {f"unet.{path}": layer for path, layer in layers_of(unet).items()}
    layers |= {f"text_encoder.{path}": layer for path, layer in text_layers(text_encoder).items()}
    for seed, (path, layer) in enumerate(layers.items()):
        a, b = low_rank(layer, seed)
        down, up = ("lora_linear_layer.down", "lora_linear_layer.up")
        if path.startswith("unet."):
            down, up = "lora_A", "lora_B"
        state[f"{path}.{down}.weight"], state[f"{path}.{up}.weight"] = a, b
    save_file(state, shelf / "lora.safetensors")
    return shelf / "lora.safetensors"


@pytest.fixture(scope="session")
def kohya(shelf: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> Path:
    """The same weights in kohya's layout; alpha = rank, so that they count as much."""
    state = {}
    layers = {f"lora_unet_{path}": layer for path, layer in layers_of(unet).items()}
    layers |= {f"lora_te_{path}": layer for path, layer in text_layers(text_encoder).items()}
    for seed, (path, layer) in enumerate(layers.items()):
        name = path.replace(".", "_")
        a, b = low_rank(layer, seed)
        state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"] = a, b
        state[f"{name}.alpha"] = torch.tensor(float(RANK))
    save_file(state, shelf / "kohya.safetensors")
    return shelf / "kohya.safetensors"


@pytest.fixture(scope="session")
def controlnet(shelf: Path, unet: UNet2DConditionModel) -> Path:
    torch.manual_seed(21)
    model = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(shelf / "controlnet")
    return shelf / "controlnet"


def write_ip_adapter(folder: Path, unet: UNet2DConditionModel) -> Path:
    """A plain IP-Adapter, with its image encoder beside it."""
    generator = torch.Generator().manual_seed(31)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    state = {
        "image_proj.proj.weight": random(TOKENS * WIDTH, PICTURE_WIDTH),
        "image_proj.proj.bias": random(TOKENS * WIDTH),
        "image_proj.norm.weight": random(WIDTH),
        "image_proj.norm.bias": random(WIDTH),
    }
    for place, path in enumerate(unet.attn_processors):
        if "attn2" in path:
            layer = unet.get_submodule(path.removesuffix(".processor"))
            for side in "kv":
                state[f"ip_adapter.{place}.to_{side}_ip.weight"] = random(
                    layer.to_k.out_features, WIDTH
                )
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "ip-adapter.safetensors")
    torch.manual_seed(32)
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
            projection_dim=PICTURE_WIDTH,
        )
    ).save_pretrained(folder / "image_encoder")
    return folder / "ip-adapter.safetensors"


@pytest.fixture(scope="session")
def ip_adapter(shelf: Path, unet: UNet2DConditionModel) -> Path:
    return write_ip_adapter(shelf / "ip", unet)


@pytest.fixture(scope="session")
def embedding(shelf: Path) -> Path:
    """A word of two vectors, in diffusers' layout."""
    generator = torch.Generator().manual_seed(41)
    save_file({"<toy>": 3 * torch.randn(2, WIDTH, generator=generator)}, shelf / "toy.safetensors")
    return shelf / "toy.safetensors"


@pytest.fixture(scope="session")
def photo(shelf: Path) -> Path:
    """A picture with edges, and not of the model's size."""
    pixels = np.random.default_rng(0).integers(0, 60, (48, 48, 3), dtype=np.uint8)
    pixels[10:30, 14:40] = (230, 160, 40)
    Image.fromarray(pixels).save(shelf / "photo.png")
    return shelf / "photo.png"


@pytest.fixture(scope="session")
def edges(shelf: Path) -> Path:
    pixels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    pixels[8:24, 8] = pixels[8:24, 24] = pixels[8, 8:24] = 255
    Image.fromarray(pixels).save(shelf / "edges.png")
    return shelf / "edges.png"
