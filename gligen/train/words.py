"""The sticker world's text side: a small text encoder, in transformers' format.

Everything that expects Stable Diffusion's text encoder works with it. It first learns, from words
alone, to tell in its pooled output what a phrase names; the base model's training goes on from
there.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from grounding.stickers.tokenizer import BOS, EOS, MAX_TOKENS
from grounding.stickers.world import World

PHRASE_TOKENS = 8  # enough for "a grass sunflower"


def build_text_encoder(
    tokenizer: CLIPTokenizer, *, width: int = 192, layers: int = 3
) -> CLIPTextModel:
    """An untrained CLIP text encoder of the given width."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.convert_tokens_to_ids(BOS),  # pyright: ignore[reportArgumentType]
            eos_token_id=tokenizer.convert_tokens_to_ids(EOS),  # pyright: ignore[reportArgumentType]
            pad_token_id=tokenizer.convert_tokens_to_ids(EOS),  # pyright: ignore[reportArgumentType]
        )
    )


def tokenized(tokenizer: CLIPTokenizer, texts: list[str], length: int = MAX_TOKENS) -> Tensor:
    """Token ids, int64 [len(texts), length], padded with the end token."""
    encoded = tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return encoded["input_ids"]  # pyright: ignore[reportReturnType]


class PhraseNamer(nn.Module):
    """Linear probes on the pooled output: which concept and which material does a phrase name?"""

    def __init__(self, tokenizer: CLIPTokenizer, world: World, width: int) -> None:
        super().__init__()
        self.materials = (None, *world.materials)
        pairs = list(itertools.product(range(len(self.materials)), range(len(world.concepts))))
        texts = [
            f"{self.materials[m]} {world.concepts[c]}" if m else world.concepts[c] for m, c in pairs
        ]
        self.ids = tokenized(tokenizer, texts, PHRASE_TOKENS)
        self.material_of = torch.tensor([m for m, _ in pairs])
        self.concept_of = torch.tensor([c for _, c in pairs])
        self.to_material = nn.Linear(width, len(self.materials))
        self.to_concept = nn.Linear(width, len(world.concepts))

    def loss(self, encoder: CLIPTextModel, generator: torch.Generator, batch: int) -> Tensor:
        """Cross-entropy of both names over a batch of random phrases."""
        which = torch.randint(len(self.ids), (batch,), generator=generator)
        pooled = encoder(input_ids=self.ids[which]).pooler_output
        return F.cross_entropy(self.to_concept(pooled), self.concept_of[which]) + F.cross_entropy(
            self.to_material(pooled), self.material_of[which]
        )


def learn_words(encoder: CLIPTextModel, namer: PhraseNamer, *, steps: int, seed: int) -> float:
    """Train the encoder, from words alone, to name what phrases name; returns the last loss."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *namer.parameters()], lr=1e-3)
    loss = torch.zeros(())
    for _ in tqdm(range(steps), desc="words", disable=None):
        loss = namer.loss(encoder, generator, 64)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return loss.item()
