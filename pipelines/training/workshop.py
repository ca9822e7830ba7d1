"""The workshop of the embedded models: what each stage of `lavallama train` does.

Each stage reads what the one before left in the recipe's folder, keeps a checkpoint, a log and
sample grids there, and goes on where it stopped. The export writes the finished models in
diffusers' and transformers' formats.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

    from gligen.adapter import GligenAdapter
    from gligen.patch_autoencoder import PatchAutoencoder
    from gligen.train.base import TextToLatents
    from gligen.train.field import FieldToLatents
    from gligen.train.recipes import Recipe
    from gligen.train.scenes import Scenes
    from grounding.loop import Task

__all__ = ["STAGES", "Workshop"]

ENCODER_SCENES = 1000  # enough for stable principal components
# What the embedded model looks best with; pipelines.generation.defaults reads it.
GENERATION = {"scheduler": "dpm++", "steps": 20, "guidance": 3.0, "schedule": [1.0, 0.0, 0.0]}
HELD_OUT = ("held-out", "held-out pairs")


@dataclasses.dataclass
class Workshop:
    """The stages of one recipe, in one folder.

    Attributes:
        recipe: What to make.
        folder: Where its runs are kept.
        device: Where the networks are trained.
    """

    recipe: "Recipe"
    folder: Path
    device: str = "cpu"

    def scenes(self) -> "Scenes":
        """The training scenes, rendered on first use."""
        from gligen.train.scenes import rendered

        return rendered(self.folder / "scenes", self.recipe.preset, self.recipe.scenes)

    def autoencoder(self) -> "PatchAutoencoder":
        """The autoencoder: linear pair fitted, the way back as far as it is trained."""
        import numpy as np

        from gligen.patch_autoencoder import PatchAutoencoder
        from gligen.train.autoencoder import build_autoencoder, fit_patches

        folder = self.folder / "autoencoder"
        if not (folder / "config.json").exists():
            model = seeded(
                lambda: build_autoencoder(
                    width=self.recipe.decoder_width, latent_channels=self.recipe.latent_channels
                )
            )
            fit_patches(model, np.asarray(self.scenes().images[:ENCODER_SCENES]))
            model.save_pretrained(folder)
        model = PatchAutoencoder.from_pretrained(folder)
        load_average(self.folder / "decoder", model)
        return model

    def text_to_latents(self) -> "TextToLatents":
        """Tokenizer aside, what stage 2 trains, as far as it is trained."""
        from gligen.train.base import TextToLatents, build_unet
        from gligen.train.words import PhraseNamer, build_text_encoder, learn_words
        from grounding.stickers.tokenizer import build_tokenizer
        from grounding.stickers.world import PRESETS

        tokenizer, world = build_tokenizer(), PRESETS[self.recipe.preset]

        def build() -> TextToLatents:
            encoder = build_text_encoder(tokenizer, width=self.recipe.width)
            namer = PhraseNamer(tokenizer, world, self.recipe.width)
            unet = build_unet(
                latent_channels=self.recipe.latent_channels,
                width=self.recipe.width,
                cells=world.size[0] // 16,
            )
            return TextToLatents(unet, encoder, namer)

        model = seeded(build)
        if not load_average(self.folder / "base", model):
            learn_words(model.text_encoder, model.namer, steps=self.recipe.words, seed=0)
        return model

    def _train(self, stage: str, task: "Task") -> None:
        """Train a stage to its last step, on the record of what it was begun with."""
        from grounding.loop import train
        from pipelines.run_record import RECORD, open_run
        from pipelines.training.progress import progress

        with open_run(self.folder / stage / RECORD) as record:
            record.settle(self._settings(stage))
            loop = getattr(self.recipe, stage)
            train(task, loop, self.folder / stage, writers=progress(loop.steps))

    def _settings(self, stage: str) -> dict[str, Any]:
        """What a stage is: the recipe but for other stages' numbers."""
        recipe = dataclasses.asdict(self.recipe)
        others = {*STAGES, *(f"{name}_batch" for name in STAGES)}
        shared = {name: value for name, value in recipe.items() if name not in others}
        return {
            **shared,
            **recipe[stage],
            "global_batch": recipe[f"{stage}_batch"],
            "data_digest": f"{self.recipe.preset}, {self.recipe.scenes} scenes",
        }

    def train_decoder(self) -> None:
        """Stage 1."""
        from gligen.train.autoencoder import DecoderTask

        model: Any = self.autoencoder()
        model.to(self.device)
        task = DecoderTask(model, self.scenes(), batch=self.recipe.decoder_batch)
        self._train("decoder", task)

    def train_base(self) -> None:
        """Stage 2."""
        import torch

        from gligen.train.base import BaseTask, build_scheduler
        from gligen.train.latents import encoded
        from grounding.stickers.tokenizer import build_tokenizer

        autoencoder, scenes = self.autoencoder(), self.scenes()
        model = self.text_to_latents().to(self.device)
        model.unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        task = BaseTask(
            model=model,
            tokenizer=build_tokenizer(),
            autoencoder=autoencoder,
            scheduler=build_scheduler(),
            latents=encoded(self.folder / "latents.npy", autoencoder, scenes),
            captions=[record.caption for record in scenes.records],
            batch=self.recipe.base_batch,
        )
        self._train("base", task)

    def adapter(self, model: "TextToLatents") -> "GligenAdapter":
        """A fresh adapter for the base, its gates open on silent branches."""
        from gligen.adapter import AdapterConfig, GligenAdapter
        from gligen.train.attention_teacher import spread_tokens

        width = self.recipe.width
        config = AdapterConfig(
            phrase_dim=width, context_dim=width, position_features=True, field_dim=2 * width
        )

        def build() -> GligenAdapter:
            adapter = GligenAdapter.for_unet(model.unet, config, init="residual")
            spread_tokens(adapter)
            return adapter

        return seeded(build)

    def field_to_latents(self, adapter: "GligenAdapter") -> "FieldToLatents":
        """The adapter's box field with a way out to latents, as far as it is trained."""
        from gligen.train.field import FieldToLatents

        field = adapter.box_field
        assert field is not None
        model = seeded(lambda: FieldToLatents(field, self.recipe.latent_channels))
        load_average(self.folder / "field", model)
        return model

    def train_field(self) -> None:
        """Stage 3a."""
        from gligen.train.field import FieldTask
        from gligen.train.latents import encoded
        from gligen.train.layouts import Layouts
        from gligen.train.scenes import rendered
        from grounding.stickers.tokenizer import build_tokenizer

        autoencoder, scenes = self.autoencoder(), self.scenes()
        base = self.text_to_latents().eval()
        held_out = rendered(self.folder / "scenes", self.recipe.preset, 16, "held-out pairs")
        adapter = self.adapter(base).to(self.device)
        records = [*scenes.records, *held_out.records]
        task = FieldTask(
            model=self.field_to_latents(adapter).to(self.device),
            adapter=adapter,
            autoencoder=autoencoder,
            layouts=Layouts.of(records, base.text_encoder, build_tokenizer()),
            latents=encoded(self.folder / "latents.npy", autoencoder, scenes),
            records=scenes.records,
            held_out=held_out.records,
            batch=self.recipe.field_batch,
        )
        self._train("field", task)

    def train_gates(self) -> None:
        """Stage 3."""
        import torch

        from gligen.train.base import build_scheduler
        from gligen.train.gates import GatesConfig, GatesTask
        from gligen.train.latents import encoded
        from gligen.train.layouts import Layouts
        from gligen.train.scene_examples import SceneExamples, SceneSamples
        from gligen.train.scenes import rendered
        from grounding.stickers.tokenizer import build_tokenizer

        autoencoder, scenes = self.autoencoder(), self.scenes()
        model = self.text_to_latents().to(self.device).eval()
        model.unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        held_out = rendered(self.folder / "scenes", self.recipe.preset, 16, "held-out pairs")
        tokenizer, scheduler, adapter = build_tokenizer(), build_scheduler(), self.adapter(model)
        records = [*scenes.records, *held_out.records]
        layouts = Layouts.of(records, model.text_encoder, tokenizer)
        self.field_to_latents(adapter)
        task = GatesTask(
            unet=model.unet,
            adapter=adapter.to(self.device),
            scheduler=scheduler,
            examples=SceneExamples(
                model=model,
                tokenizer=tokenizer,
                latents=encoded(self.folder / "latents.npy", autoencoder, scenes),
                records=scenes.records,
                layouts=layouts,
            ),
            config=GatesConfig(batch=self.recipe.gates_batch),
            show=SceneSamples(
                model=model,
                tokenizer=tokenizer,
                adapter=adapter,
                autoencoder=autoencoder,
                scheduler=scheduler,
                records=held_out.records,
                layouts=layouts,
            ),
        )
        self._train("gates", task)

    def train_judge(self) -> None:
        """The judge of ``pipelines.evaluate``, with its accuracy on held-out crops.

        It learns every pair, those held out from the others too: it is what measures.
        """
        from gligen.train.judge import JudgeTask, accuracy
        from gligen.train.scenes import rendered

        judge, cache = self.judge(), self.folder / "scenes"
        scenes = rendered(cache, *self.recipe.judged, "any pair")
        task = JudgeTask(judge, scenes, batch=self.recipe.judge_batch)
        self._train("judge", task)
        load_average(self.folder / "judge", judge)
        for split in HELD_OUT:
            scenes = rendered(cache, self.recipe.preset, 500, split)
            concept, material = accuracy(judge, scenes)
            print(f"judge on {split}: concept {concept:.4f}, material {material:.4f}")

    def judge(self) -> Any:
        """The judge as far as it is trained."""
        from grounding.stickers.judge import StickerJudge
        from grounding.stickers.world import PRESETS

        world = PRESETS[self.recipe.preset]
        judge = seeded(lambda: StickerJudge(world.concepts, world.materials))
        load_average(self.folder / "judge", judge)
        return judge

    def _phrase_length(self, model: "TextToLatents") -> float:
        """The mean length of the embeddings of the world's concepts."""
        import torch

        from gligen.train.words import PHRASE_TOKENS, tokenized
        from grounding.stickers.tokenizer import build_tokenizer
        from grounding.stickers.world import PRESETS

        concepts = list(PRESETS[self.recipe.preset].concepts)
        ids = tokenized(build_tokenizer(), concepts, PHRASE_TOKENS)
        with torch.no_grad():
            said = model.text_encoder.eval()(input_ids=ids).pooler_output
        return said.norm(dim=1).mean().item()

    def train_vision(self) -> None:
        """The image encoder of reference pictures, with its accuracy on held-out crops."""
        from gligen.train.image_encoder import ImageEncoderTask, accuracy
        from gligen.train.layouts import Layouts
        from gligen.train.scenes import rendered
        from grounding.stickers.tokenizer import build_tokenizer

        scenes = self.scenes()
        tests = [
            rendered(self.folder / "scenes", self.recipe.preset, 500, split) for split in HELD_OUT
        ]
        records = [record for some in (scenes, *tests) for record in some.records]
        text_encoder = self.text_to_latents().text_encoder.eval()
        phrases = Layouts.of(records, text_encoder, build_tokenizer()).phrases
        encoder: Any = self.image_encoder()
        encoder.to(self.device)
        task = ImageEncoderTask(encoder, scenes, phrases, batch=self.recipe.vision_batch)
        self._train("vision", task)
        encoder = self.image_encoder().eval()
        for split, held_out in zip(HELD_OUT, tests, strict=True):
            right, cosine = accuracy(encoder, held_out, phrases)
            print(f"image encoder on {split}: phrase {right:.4f}, cosine {cosine:.4f}")

    def image_encoder(self) -> "CLIPVisionModelWithProjection":
        """The image encoder as far as it is trained."""
        from gligen.train.image_encoder import build_image_encoder

        encoder = seeded(lambda: build_image_encoder(self.recipe.width))
        load_average(self.folder / "vision", encoder)
        return encoder

    def export(self, out: Path) -> None:
        """Write base, adapter, image encoder and judge as float16 safetensors."""
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
            StableDiffusionPipeline,
        )

        from gligen.patch_autoencoder import PatchAutoencoder
        from gligen.train.base import build_scheduler
        from grounding.errors import CheckpointError
        from grounding.stickers.tokenizer import build_tokenizer
        from weights.gligen import save_pretrained
        from weights.image_encoder import save_phrase_encoder

        for stage in STAGES:
            if not (self.folder / stage / "checkpoint.pt").exists():
                raise CheckpointError(
                    f"stage {stage!r} has no checkpoint in {self.folder}; train it first"
                )
        model = self.text_to_latents()
        adapter = self.adapter(model)
        load_average(self.folder / "gates", adapter)
        phrase_length = self._phrase_length(model)
        scheduler = build_scheduler()
        scheduler.register_to_config(generation=GENERATION)
        pipeline = StableDiffusionPipeline(
            vae=self.autoencoder().half(),  # pyright: ignore[reportArgumentType]
            text_encoder=model.text_encoder.half(),
            tokenizer=build_tokenizer(),
            unet=model.unet.half(),
            scheduler=scheduler,  # pyright: ignore[reportArgumentType]
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(out / "base")
        # diffusers notes our class by its package alone; it looks it up where it is written here.
        index = out / "base" / "model_index.json"
        entries = json.loads(index.read_text("utf-8"))
        entries["vae"] = [PatchAutoencoder.__module__, PatchAutoencoder.__name__]
        index.write_text(json.dumps(entries, indent=2) + "\n", "utf-8")
        save_pretrained(adapter.half(), out / "gligen")
        encoder = self.image_encoder().half()
        save_phrase_encoder(encoder, out / "gligen", length=phrase_length)
        self.judge().save_pretrained(out / "judge")


def seeded(build: Callable[[], Any]) -> Any:
    """Build with initial weights that depend on nothing but the architecture."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def load_average(folder: Path, module: Any) -> bool:
    """Load the averaged weights of a stage's checkpoint; False if there is none yet."""
    from grounding.checkpoint import LAST, load_trained, read_checkpoint

    path = folder / LAST
    if not path.exists():
        return False
    load_trained(module, read_checkpoint(path)["average"], path)
    return True


STAGES: dict[str, tuple[Callable[[Workshop], None], str]] = {
    "decoder": (Workshop.train_decoder, "1: the autoencoder (its linear part is fitted first)"),
    "base": (Workshop.train_base, "2: text encoder and UNet, on captions alone"),
    "field": (Workshop.train_field, "3a: what phrases look like in their boxes, by regression"),
    "gates": (Workshop.train_gates, "3b: GLIGEN's gates on the frozen base"),
    "vision": (Workshop.train_vision, "the image encoder of reference pictures"),
    "judge": (Workshop.train_judge, "the classifier that evaluation uses"),
}
