"""The peer of `benchmarks.segment`: transformers' SAM (ViT-B), parameters random too."""

from typing import Any

import torch
from transformers import SamConfig, SamModel

SEED = 7
TINY: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 32,
        "output_channels": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "mlp_dim": 32,
        "global_attn_indexes": [1],
        "window_size": 2,
        "num_pos_feats": 16,
    },
    "prompt_encoder_config": {
        "hidden_size": 32,
        "image_size": 64,
        "patch_size": 16,
        "mask_input_channels": 4,
        "image_embedding_size": 4,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    },
}


class SamPeer:
    """SAM with an image that is encoded once, asked as often as one likes."""

    def __init__(self, *, tiny: bool, device: str) -> None:
        """Build SAM ViT-B, or a tiny one for tests, the same in every run."""
        config = SamConfig(**(TINY if tiny else {}))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model: Any = SamModel(config).eval().requires_grad_(False)
        self.model = model.to(device)
        vision: Any = config.vision_config
        self.side = vision.image_size
        self.pixels = torch.zeros(1, 3, self.side, self.side, device=device)
        self.memory = torch.empty(0)

    @torch.no_grad()
    def encode(self) -> None:
        """What depends on the image alone; SAM sees every image as a square of its own size."""
        memory = self.model.get_image_embeddings(self.pixels)
        assert isinstance(memory, torch.Tensor), "embeddings come as a tensor"
        self.memory = memory

    @torch.no_grad()
    def click(self) -> None:
        """Prompt encoder and mask decoder for one click, three masks."""
        place = torch.full((1, 1, 1, 2), self.side / 2, device=self.pixels.device)
        self.model(image_embeddings=self.memory, input_points=place)

    @torch.no_grad()
    def box(self) -> None:
        """The same for one box."""
        quarter = self.side / 4
        box = torch.tensor([[[quarter, quarter, 3 * quarter, 3 * quarter]]])
        self.model(image_embeddings=self.memory, input_boxes=box.to(self.pixels.device))
