"""Train a SEEM for photographs: ``python -m pipelines.train seem --recipe photographs``.

From nothing but a frozen backbone that was pretrained as a detector, on composites of permissive
art (`grounding.composites`), which it gathers and renders first. A run goes on where it stopped.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weights.registry import PHOTOGRAPHS

if TYPE_CHECKING:
    from seem.model import Seem
    from seem.train.recipes import PhotographsRecipe
    from seem.train.segment_scenes import CompositeScenes

__all__ = ["PhotographsRun", "ask_recipe"]

SIDE = 320  # pixels of the longer side at which the whole picture is seen
LEAST_PROBABILITY = 0.5  # of a panoptic segment: as often right as wrong


def ask_recipe(options: argparse.Namespace) -> "PhotographsRecipe":
    """Take the recipe with what is asked for on the command line.

    Raises:
        LavallamaError: a number is out of range.
    """
    from grounding.errors import LavallamaError
    from seem.train.recipes import PHOTOGRAPHS

    for name in ("steps", "batch", "size", "scenes"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise LavallamaError(f"--{name} must be at least 1; got {value}")
    if options.size is not None and options.size % 32:
        raise LavallamaError(f"--size must be a multiple of 32; got {options.size}")
    loop = {"steps": options.steps, "learning_rate": options.learning_rate}
    loop = {name: value for name, value in loop.items() if value is not None}
    own = {"batch": options.batch, "size": options.size, "composites": options.scenes}
    own = {name: value for name, value in own.items() if value is not None}
    changed = dataclasses.replace(PHOTOGRAPHS.loop, **loop)
    return dataclasses.replace(PHOTOGRAPHS, loop=changed, **own)


@dataclasses.dataclass(frozen=True)
class PhotographsRun:
    """One training run.

    Attributes:
        recipe: How.
        folder: Where it is kept; art and composites lie beside it.
    """

    recipe: "PhotographsRecipe"
    folder: Path

    def train(self, on_cpu: bool) -> None:
        """Train to the last step, on the CPU or where accelerate puts this process."""
        import torch
        from accelerate import Accelerator

        from grounding.loop import train
        from pipelines.run_record import RECORD, open_run
        from pipelines.training.progress import progress
        from seem.train.prompt_task import PromptTask

        accelerator = Accelerator(cpu=on_cpu)
        is_main = accelerator.is_main_process
        with open_run(self.folder / RECORD, writes=is_main) as record:
            record.settle(self._settings(accelerator.num_processes))
            learned, held_out = self._scenes()
            model = self.start()[0].train().to(accelerator.device)
            for part in ("backbone", "text_encoder"):
                model.get_submodule(part).requires_grad_(False)
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            task = PromptTask(
                model=model,
                scenes=learned,
                held_out=held_out,
                size=self.recipe.size,
                batch=self.recipe.batch,
                prompts=self.recipe.prompts,
            )
            loop = self.recipe.loop
            train(task, loop, self.folder, accelerator, progress(loop.steps, is_main=is_main))

    def export(self, out: Path) -> None:
        """Write the model as far as it is trained, in float16."""
        from grounding.checkpoint import LAST, load_trained, read_checkpoint, trained_tensors
        from seem.coco_classes import COCO_CLASSES
        from seem.encoded_image import Resizing
        from seem.refined_predictor import RefinedPredictor
        from seem.vocabulary import Vocabulary
        from weights.predictor import save_predictor

        path = self.folder / LAST
        found = trained_tensors(read_checkpoint(path, "cpu"))
        model, tokenizer = self.start()
        load_trained(model, found, path)
        predictor = RefinedPredictor(
            model,
            tokenizer,
            vocabulary=Vocabulary(things=COCO_CLASSES.things, stuff=(), templates=("{}",)),
            resizing=Resizing(short_side=SIDE, long_side=SIDE),
            object_threshold=LEAST_PROBABILITY,
        )
        predictor.model.half()
        save_predictor(predictor, out)

    def start(self) -> "tuple[Seem, Any]":
        """The model before its first step, and its tokenizer.

        The backbone is pretrained, the text encoder has learned to tell the names of COCO's things
        and the sticker world's words apart, and all else is from nothing.
        """
        import torch

        from grounding.stickers.tokenizer import build_tokenizer
        from grounding.stickers.world import PRESETS
        from seem.coco_classes import COCO_CLASSES
        from seem.config import CONFIGS
        from seem.model import build_seem
        from seem.train.scenes import Lexicon
        from seem.train.words import learn_words
        from weights.nanodet import load_nanodet
        from weights.new_words import add_words

        config, things = CONFIGS[self.recipe.config], COCO_CLASSES.things
        world = PRESETS["crowd"]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_seem(config)
        tokenizer = add_words(model, build_tokenizer(), things).tokenizer
        lexicon = Lexicon(
            concepts=(*things, *(name for name in world.concepts if name not in things)),
            materials=world.materials,
            backgrounds=world.backgrounds,
        )
        learn_words(model.text_encoder, tokenizer, lexicon, steps=self.recipe.words)
        model.backbone.load_state_dict(load_nanodet(self.folder.parent / "nanodet"))
        return model, tokenizer

    def _scenes(self) -> "tuple[CompositeScenes, CompositeScenes]":
        """Composites to learn from, and those that are held out."""
        from grounding.composites.store import open_composites
        from seem.train.segment_scenes import CompositeScenes

        place = self.folder.parent
        count = self.recipe.composites
        store = open_composites(place / f"composites-{count}", place / "art", count)
        numbers = range(count)
        held = [n for n in numbers if n % self.recipe.held_out == 0]
        learned = [n for n in numbers if n % self.recipe.held_out]
        return CompositeScenes(*store, learned), CompositeScenes(*store, held)

    def _settings(self, processes: int) -> dict[str, Any]:
        """What the run is."""
        recipe = dataclasses.asdict(self.recipe)
        loop = recipe.pop("loop")
        return {
            "recipe": PHOTOGRAPHS,
            **recipe,
            **loop,
            "global_batch": self.recipe.batch * processes,
            "data_digest": f"{self.recipe.composites} composites",
        }
