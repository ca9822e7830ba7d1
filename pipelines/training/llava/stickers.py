"""The embedded LLaVA, stage by stage, in one folder; each stage goes on where it stopped.

    tower    the vision tower, from the embedded SEEM's backbone: what patches show
    words    the language model: questions about scenes whose patches are spelled out
    align    the projector: says of the tower's features what would be spelled out
    stage1   the projector alone, on captions          (arXiv 2304.08485, section 4.2)
    stage2   projector and language model, on everything

The tower is frozen after its stage. "words" needs no tower, so the two can be trained at once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from grounding.checkpoint import LAST, load_trained, read_checkpoint, trained_tensors
from grounding.errors import CheckpointError
from grounding.llava.train.cells import Cells, cells_of
from grounding.llava.train.tower import normalized
from grounding.loop import LoopConfig, Task, train
from grounding.stickers.scene import Rendered, Scene, render
from pipelines.run_record import RECORD, open_run
from pipelines.training.progress import progress
from seem.train.scenes import owners

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from grounding.llava.model import Llava
    from grounding.llava.train.recipes import StickerRecipe

__all__ = ["STAGES", "StickerLlava"]

STAGES = ("tower", "words", "align", "stage1", "stage2")
LOOKED = 32  # pictures by which a fresh projector is evened out
ROTATIONS = 1e5  # of positions: slower than LLaMA's, so that more of them compare words
WORD_SCALE = 0.05  # deviation of fresh embeddings


@dataclasses.dataclass
class StickerLlava:
    """The stages of a recipe.

    Attributes:
        recipe: What to make.
        folder: Where its runs are kept.
        scenes: The folder of rendered scenes; they are rendered if it lacks them.
        accelerator: Where it is trained; None: not needed, nothing is.
    """

    recipe: StickerRecipe
    folder: Path
    scenes: Path
    accelerator: Accelerator | None = None

    def run(self, stage: str) -> None:
        """Train a stage to its end.

        Raises:
            CheckpointError: The stage before it was not trained.
        """
        task = {
            "tower": self._tower_task,
            "words": self._words_task,
            "align": self._align_task,
            "stage1": functools.partial(self._talk_task, "stage1"),
            "stage2": functools.partial(self._talk_task, "stage2"),
        }[stage]()
        loop: LoopConfig = getattr(self.recipe, stage)
        main = self.accelerator is None or self.accelerator.is_main_process
        with open_run(self.folder / stage / RECORD, writes=main) as record:
            record.settle(self._settings(stage))
            writers = progress(loop.steps, is_main=main)
            train(task, loop, self.folder / stage, self.accelerator, writers)

    def export(self, out: Path) -> None:
        """Write the model as far as it is trained, in float16.

        Raises:
            CheckpointError: The stages before it were not trained.
        """
        from weights.llava import llava_state, write_llava

        model = self.model()
        state = {key: tensor.half().contiguous() for key, tensor in llava_state(model).items()}
        write_llava(state, model.config, out, tokenizer=self.tokenizer)

    def model(self) -> Llava:
        """The model as far as it is trained."""
        from grounding.llava.config import LlavaConfig
        from grounding.llava.model import Llava

        tower, language, projector = self._tower(), self._language(), self._projector()
        self._load("tower", {"tower": tower})
        done = next((s for s in ("stage2", "stage1", "align") if self._is_there(s)), None)
        if done != "stage2":  # before it, the language model is as "words" left it
            self._load("words", {"language": language})
        if done == "align":
            self._load("align", {"": projector})
        elif done == "stage1":
            self._load("stage1", {"before": projector})
        elif done == "stage2":
            self._load("stage2", {"language": language, "before": projector})
        config = LlavaConfig(
            vision=tower.config,
            text=language.config,
            layer=-1,
            feature="patch",
            template=self.recipe.template,
        )
        return Llava(config, tower, projector, language)

    def _settings(self, stage: str) -> dict[str, Any]:
        """What a stage is: the recipe but for other stages' numbers."""
        own = {one.name: getattr(self.recipe, one.name) for one in dataclasses.fields(self.recipe)}
        loop = dataclasses.asdict(own[stage])
        shared = {name: value for name, value in own.items() if name not in STAGES}
        processes = 1 if self.accelerator is None else self.accelerator.num_processes
        return {
            **shared,
            **loop,
            "objects": dict(self.recipe.objects),
            "global_batch": self.recipe.batch * processes,
            "data_digest": f"{self.recipe.preset}, {self.recipe.scenes} scenes",
        }

    # what is there

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The sticker world's words."""
        from grounding.stickers.chat_tokenizer import build_chat_tokenizer

        return build_chat_tokenizer()

    @functools.cached_property
    def world(self) -> Any:
        """The recipe's preset."""
        from grounding.stickers.world import PRESETS

        return PRESETS[self.recipe.preset]

    @functools.cached_property
    def rendered(self) -> Any:
        """Pictures of the scenes, and whose each pixel is."""
        from seem.train.scenes import rendered

        return rendered(self.scenes, self.recipe.preset, self.recipe.scenes, 0)

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.world.size[0] // (4 * 2 ** (len(self.recipe.depths) - 1))

    def _tower(self) -> Any:
        """The vision tower before its first step: the embedded SEEM's backbone, up to its third."""
        from weights.llava_tower import build_tower, start_tower, tower_config
        from weights.registry import embedded
        from weights.tensor_file import TensorFile

        recipe, inside = self.recipe, "backbone."
        tower = build_tower(
            tower_config(side=self.world.size[0], width=recipe.width, depths=recipe.depths)
        )
        file = TensorFile(embedded("seem") / "model.safetensors")
        start = file.read([key for key in file.shapes if key.startswith(inside)])
        start_tower(tower, {key.removeprefix(inside): t for key, t in start.items()})
        return tower

    def _language(self) -> Any:
        from transformers import AutoModelForCausalLM, LlamaConfig

        from grounding.llava.train.begin import attend_to_alike
        from grounding.stickers.chat_tokenizer import MAX_TOKENS, place_numbers

        recipe = self.recipe
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.feed_forward,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=MAX_TOKENS,
            rope_parameters={"rope_type": "default", "rope_theta": ROTATIONS},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config)
            table = model.get_input_embeddings().weight
            table.normal_(0, WORD_SCALE)
            place_numbers(table, self.tokenizer)
        attend_to_alike(model)
        return model

    def _projector(self) -> nn.Module:
        from grounding.llava.projector import build_projector

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            width = self.recipe.width * 2 ** (len(self.recipe.depths) - 1)
            return build_projector("mlp2x_gelu", width, self.recipe.hidden)

    def _spelled(self, language: nn.Module) -> Any:
        from grounding.llava.train.spelled import SpelledPatches

        words: Any = language
        return SpelledPatches(words.get_input_embeddings(), self.tokenizer, self.world)

    # the stages

    def _tower_task(self) -> Task:
        from grounding.llava.train.tower import TowerTask

        tower = self._tower().train()
        for part in (tower.embeddings, tower.encoder.stages[0], tower.layernorm):
            part.requires_grad_(False)
        recipe, scenes = self.recipe, self.rendered
        return TowerTask(
            tower=self._moved(tower),
            world=self.world,
            images=scenes.images[: recipe.scenes],
            ids=scenes.ids[: recipe.scenes],
            batch=recipe.tower_batch,
            shown=recipe.shown,
        )

    def _words_task(self) -> Task:
        language = self._moved(self._language().train())
        language.get_decoder().layers[0].self_attn.requires_grad_(False)  # the search, as begun
        spelled = self._moved(self._spelled(language))
        return self._talk(
            language,
            spelled,
            lambda scenes: [spelled.briefly(scene) for scene in scenes],
            objects=self.recipe.objects,
        )

    def _align_task(self) -> Task:
        from grounding.llava.train.align import AlignTask, even_out

        language, projector = self._language(), self._projector()
        spelled = self._spelled(language)
        self._load("words", {"language": language, "before": spelled})
        for part in (language, spelled):
            self._moved(part)

        def look(numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
            scenes = [self.world.scene(number) for number in numbers]
            rendered = [render(scene) for scene in scenes]
            return self._seen(rendered), spelled(self._cells(scenes, rendered))

        even_out(projector, look(range(LOOKED))[0].cpu())
        return AlignTask(
            projector=self._moved(projector),
            look=look,
            scenes=self.recipe.scenes,
            batch=self.recipe.align_batch,
        )

    def _talk_task(self, stage: str) -> Task:
        model = self.model()
        language, projector = self._moved(model.language_model), self._moved(model.projector)
        language.train().requires_grad_(stage == "stage2")
        return self._talk(
            language,
            projector,
            lambda scenes: projector(self._seen([render(scene) for scene in scenes])),
            captions_only=stage == "stage1",
        )

    def _talk(self, language: Any, before: Any, look: Any, **more: Any) -> Task:
        from grounding.llava.template import find_template
        from grounding.llava.train.sticker_talk import StickerTalk

        return StickerTalk(
            language_model=language,
            before=before,
            look=look,
            tokenizer=self.tokenizer,
            template=find_template(self.recipe.template),
            world=self.world,
            scenes=self.recipe.scenes,
            batch=self.recipe.batch,
            questions=self.recipe.questions,
            **more,
        )

    # what is looked at

    def _cells(self, scenes: Sequence[Scene], rendered: Sequence[Rendered]) -> Cells:
        """What the patches of scenes show."""
        ids = np.stack([owners(picture.masks) for picture in rendered])
        cells = cells_of(scenes, ids, self.world, self.grid)
        return Cells(**{name: value.to(self._device) for name, value in vars(cells).items()})

    @functools.cached_property
    def _watching(self) -> Any:
        """The tower as it was trained."""
        tower = self._tower().eval().requires_grad_(False)
        self._load("tower", {"tower": tower})
        return self._moved(tower)

    def _seen(self, rendered: Sequence[Rendered]) -> Tensor:
        """What the tower sees of pictures, [B, N, C]."""
        pixels = normalized(np.stack([picture.image for picture in rendered]), self._device)
        with torch.no_grad():
            return self._watching(pixels, output_hidden_states=True).hidden_states[-1]

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.accelerator is None else self.accelerator.device

    def _moved(self, part: Any) -> Any:
        return part.to(self._device)

    def _is_there(self, stage: str) -> bool:
        return (self.folder / stage / LAST).exists()

    def _load(self, stage: str, parts: dict[str, Any]) -> None:
        """Load what a stage trained: the moving average. What it left alone stays as it is."""
        path = self.folder / stage / LAST
        if not path.exists():
            raise CheckpointError(f"{path} does not exist; train the stage {stage!r} first")
        trained = trained_tensors(read_checkpoint(path, "cpu"))
        for name, part in parts.items():
            prefix = f"{name}." if name else ""
            own = {k.removeprefix(prefix): v for k, v in trained.items() if k.startswith(prefix)}
            load_trained(part, own, path)
