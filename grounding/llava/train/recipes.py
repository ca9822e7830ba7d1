"""Recipes: the numbers of both papers, and those of the embedded model.

| recipe      | trains               | rate | batch | epochs | source                            |
|-------------|----------------------|------|-------|--------|-----------------------------------|
| v1-stage1   | projector            | 2e-3 | 128   | 1      | arXiv 2304.08485, section 5       |
| v1-stage2   | projector, language  | 2e-5 | 32    | 3      | arXiv 2304.08485, section 5       |
| v1.5-stage1 | projector            | 1e-3 | 256   | 1      | arXiv 2310.03744, appendix        |
| v1.5-stage2 | projector, language  | 2e-5 | 128   | 1      | arXiv 2310.03744, appendix        |
| v1.5-lora   | projector, LoRA      | 2e-4 | 128   | 1      | haotian-liu/LLaVA, finetune_lora  |

All with a warm-up over 3 % of the steps, cosine decay (here to a twentieth of the peak, there to
zero) and no weight decay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from grounding.loop import LoopConfig

__all__ = ["RECIPES", "STICKERS", "Lora", "Recipe", "StickerRecipe"]


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank updates of every linear layer of the language model (arXiv 2106.09685).

    Attributes:
        rank: Of the updates.
        alpha: Their scale times the rank.
        dropout: Share of their input that is dropped.
    """

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a LLaVA is trained on records.

    Attributes:
        trains: The projector alone, the language model too, or LoRA upon it.
        rate: Peak of the learning rate.
        batch: Records in a step, all processes and accumulated batches together.
        epochs: Passes over the records.
        template: How the model is spoken to; None: as the model says.
        projector: Of a model that is put together from a vision tower and a language model.
        projector_rate: The projector's own peak; None: the same.
        grouped: Whether a batch has either pictures or words alone, and records of like length.
        max_tokens: Of a record; what is longer is cut off.
        warmup: Share of the steps.
        lora: Of `trains == "lora"`.
    """

    trains: Literal["projector", "all", "lora"]
    rate: float
    batch: int
    epochs: int = 1
    template: str | None = None
    projector: str = "mlp2x_gelu"
    projector_rate: float | None = None
    grouped: bool = False
    max_tokens: int = 2048
    warmup: float = 0.03
    lora: Lora | None = None


RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "v1-stage1": Recipe(
            trains="projector", rate=2e-3, batch=128, template="plain", projector="linear"
        ),
        "v1-stage2": Recipe(
            trains="all", rate=2e-5, batch=32, epochs=3, template="llava_v1", projector="linear"
        ),
        "v1.5-stage1": Recipe(trains="projector", rate=1e-3, batch=256, template="plain"),
        "v1.5-stage2": Recipe(trains="all", rate=2e-5, batch=128, grouped=True),
        "v1.5-lora": Recipe(
            trains="lora", rate=2e-4, batch=128, projector_rate=2e-5, grouped=True, lora=Lora()
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class StickerRecipe:
    """How the embedded LLaVA is made.

    Attributes:
        preset: Of the sticker world.
        scenes: Training scenes of the preset.
        shown: Of them, how many the tower is measured on rather than trained.
        depths: Blocks of the tower's stages.
        width: Channels of the tower's first stage.
        hidden: Channels of a word.
        feed_forward: Hidden channels of the language model's layers.
        layers: Of the language model.
        heads: Of its attention.
        template: How it is spoken to.
        tower_batch: Pictures in a step of the tower.
        align_batch: Pictures in a step of "align".
        batch: Rows of questions in a step.
        questions: Of a row.
        objects: In "words", from which step on scenes have how many objects at most.
        tower: What patches show, from pictures.
        words: Questions about patches that are spelled out.
        align: The projector says what is spelled out.
        stage1: The projector alone, on captions.
        stage2: Projector and language model, on everything.
    """

    preset: str
    scenes: int
    shown: int
    depths: tuple[int, ...]
    width: int
    hidden: int
    feed_forward: int
    layers: int
    heads: int
    template: str
    tower_batch: int
    align_batch: int
    batch: int
    questions: int
    objects: Mapping[int, int]
    tower: LoopConfig
    words: LoopConfig
    align: LoopConfig
    stage1: LoopConfig
    stage2: LoopConfig


def _loop(steps: int, learning_rate: float, **other) -> LoopConfig:
    return LoopConfig(
        steps=steps,
        learning_rate=learning_rate,
        **{
            "warmup": 60,
            "weight_decay": 0.02,
            "betas": (0.9, 0.98),
            "ema": 0.995,
            "save_every": 200,
            "sample_every": 1000,
            "log_every": 20,
            **other,
        },
    )


# Two CPU cores.
STICKERS: Final = StickerRecipe(
    preset="crowd",
    scenes=40_000,
    shown=200,
    depths=(1, 2, 6),
    width=40,
    hidden=192,
    feed_forward=512,
    layers=5,
    heads=4,
    template="mistral_instruct",
    tower_batch=8,
    align_batch=16,
    batch=3,
    questions=20,
    objects=MappingProxyType({0: 2, 800: 3, 1600: 5}),
    tower=_loop(4000, 6e-4, rates={"heads.": 4.0}),
    words=_loop(14_000, 7e-4, warmup=100, ema=0.98, rates={"language.model.embed_tokens": 0.1}),
    align=_loop(600, 3e-3),
    stage1=_loop(100, 5e-4, warmup=10),
    stage2=_loop(5000, 5e-4, warmup=50, ema=0.99, rates={"language.model.embed_tokens": 0.1}),
)
