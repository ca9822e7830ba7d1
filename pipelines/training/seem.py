"""Train SEEM: ``python -m pipelines.train seem``.

From nothing on the sticker world, as the embedded model is made; or any model, the official ones
included, on pictures with COCO panoptic annotations, with parts of it frozen. A run keeps its
checkpoint, its log and sample grids in its folder and goes on where it stopped. ``--export`` writes
what is trained so far as a model that `lavallama segment --model` takes.
"""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag

if TYPE_CHECKING:
    import numpy as np

    from seem.model import Seem
    from seem.predictor import Predictor
    from seem.train.recipes import Recipe
    from seem.train.scenes import Scenes
    from seem.vocabulary import Vocabulary

__all__ = ["main"]

PROG = "lavallama train seem"
PARTS = ("backbone", "pixel_decoder", "text_encoder", "decoder")
SHOWN = 8  # pictures of a sample grid
FOCAL_START = 0.5  # FocalNet's layer scales, for models that start from nothing
SCALE_START = 3.0  # logarithm of the first scale of cosines
LEAST_PROBABILITY = 0.4  # of a panoptic segment; the best of 0.3 to 0.8 on training layouts
LONGEST = 2  # times the shorter side: how long images are seen at most


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Train SEEM on the sticker world, or on pictures with COCO panoptic maps.",
        epilog=(
            "The embedded model:\n"
            "  lavallama train seem\n"
            "  lavallama train seem --export weights/embedded/seem\n"
            "Fine-tune the decoder of an official model on your own pictures:\n"
            "  lavallama train seem --recipe coco --data panoptic_mine.json --runs runs/mine \\\n"
            "    --init seem-focalt --freeze backbone,pixel_decoder,text_encoder --steps 2000"
        ),
    )
    add = parser.add_argument
    add("--recipe", default="stickers", help="stickers (CPU) or coco (GPU)")
    add("--data", default="stickers", help="stickers, or a COCO panoptic JSON file")
    add("--init", help="a model to start from, as `segment --model` takes; default: from nothing")
    add("--freeze", default="", help=f"parts to leave as they are: {','.join(PARTS)}")
    add("--runs", type=Path, help="the run's folder; default runs/seem/RECIPE")
    add("--steps", type=int, help="default: the recipe's")
    add("--batch", type=int, help="pictures in a step; default: the recipe's")
    add("--size", type=int, help="pixels of a picture's side; default: the recipe's")
    add("--learning-rate", type=float, help="at its peak; default: the recipe's")
    add("--scenes", type=int, help="sticker scenes to render; default: the recipe's")
    add("--collages", type=int, help="collages to render; default: the recipe's")
    device_flag(parser)
    add("--export", type=Path, metavar="DIR", help="write the model so far to DIR; train nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, given what follows "seem"; returns the exit code."""
    options = _parser().parse_args(argv)
    return guarded(PROG, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    for name in ("grounding", "seem"):
        logging.getLogger(name).setLevel(logging.INFO)
    from grounding.errors import LavallamaError
    from pipelines.device import choose_device
    from seem.train.recipes import RECIPES

    if options.recipe not in RECIPES:
        raise LavallamaError(f"no recipe {options.recipe!r}; choose from {', '.join(RECIPES)}")
    recipe = _asked(RECIPES[options.recipe], options)
    frozen = tuple(filter(None, options.freeze.split(",")))
    if unknown := [part for part in frozen if part not in PARTS]:
        raise LavallamaError(f"--freeze takes {', '.join(PARTS)}; got {', '.join(unknown)}")
    if len(frozen) == len(PARTS):
        raise LavallamaError("--freeze names every part: nothing is left to train")
    folder = options.runs or Path("runs") / "seem" / options.recipe
    run = _Run(recipe, folder, options.data, options.init, frozen)
    if options.export:
        run.export(options.export)
    else:
        run.train(choose_device(options.device).type == "cpu")
    return 0


def _asked(recipe: "Recipe", options: argparse.Namespace) -> "Recipe":
    """The recipe with what is asked for on the command line."""
    from grounding.errors import LavallamaError

    for name in ("steps", "batch", "size", "scenes"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise LavallamaError(f"--{name} must be at least 1; got {value}")
    if options.size is not None and options.size % 32:
        raise LavallamaError(f"--size must be a multiple of 32; got {options.size}")
    loop = {"steps": options.steps, "learning_rate": options.learning_rate}
    loop = {name: value for name, value in loop.items() if value is not None}
    top = {name: getattr(options, name) for name in ("batch", "scenes", "collages")}
    changes: dict[str, Any] = {name: value for name, value in top.items() if value is not None}
    if options.size is not None:
        changes["sizes"] = {0: options.size}
    return dataclasses.replace(recipe, loop=dataclasses.replace(recipe.loop, **loop), **changes)


@dataclasses.dataclass(frozen=True)
class _Run:
    """One training run.

    Attributes:
        recipe: How.
        folder: Where it is kept.
        data: "stickers" or a file.
        init: What it starts from; None: nothing.
        frozen: Parts that stay as they are.
    """

    recipe: "Recipe"
    folder: Path
    data: str
    init: str | None
    frozen: tuple[str, ...]

    @property
    def size(self) -> int:
        """Pixels of a picture's side in the end."""
        return list(self.recipe.sizes.values())[-1]

    def train(self, on_cpu: bool) -> None:
        """Train to the last step, on the CPU or where accelerate puts this process."""
        from accelerate import Accelerator

        from grounding.loop import train
        from seem.train.batch import BatchMaker
        from seem.train.task import SeemTask

        accelerator = Accelerator(cpu=on_cpu)
        scenes, vocabulary, shown = self._data()
        predictor = self._start(scenes, vocabulary)
        model = predictor.model.train().requires_grad_(True).to(accelerator.device)
        for part in {*self.frozen, *(() if self.init else ("text_encoder",))}:
            model.get_submodule(part).requires_grad_(False)
        task = SeemTask(
            model=model,
            tokenizer=predictor.words.tokenizer,  # pyright: ignore[reportArgumentType]
            vocabulary=vocabulary,
            maker=BatchMaker(scenes, self.recipe.pasted),
            shown=shown,
            batch=self.recipe.batch,
            objects=self.recipe.objects,
            points=self.recipe.points,
            sizes=self.recipe.sizes,
            features_first=self.recipe.features_first,
        )
        train(task, self.recipe.loop, self.folder, accelerator)

    def export(self, out: Path) -> None:
        """Write the model as far as it is trained, in float16."""
        import torch

        from grounding.errors import CheckpointError
        from weights.predictor import save_predictor

        path = self.folder / "checkpoint.pt"
        if not path.exists():
            raise CheckpointError(f"{path} does not exist; train first")
        scenes, vocabulary, _ = self._data()
        predictor = self._start(scenes, vocabulary)
        state = torch.load(path, weights_only=True, map_location="cpu")
        found = state["average"] or state["parameters"]
        ours = {k.removeprefix("model."): v for k, v in found.items() if k.startswith("model.")}
        strange = predictor.model.load_state_dict(ours, strict=False).unexpected_keys
        if strange:
            raise CheckpointError(f"{path} is of another model (first difference: {strange[0]})")
        predictor.model.half()
        save_predictor(predictor, out)

    def _data(self) -> tuple["Scenes", "Vocabulary", "list[np.ndarray]"]:
        """Scenes, their classes, and pictures for the sample grids."""
        if self.data == "stickers":
            return self._stickers()
        import numpy as np

        from seem.train.coco_scenes import open_coco

        scenes = open_coco(Path(self.data), self.size)
        chance = np.random.default_rng(0)
        count = min(SHOWN, len(scenes.records))
        return scenes, scenes.vocabulary, [scenes.read(i, chance)[0] for i in range(count)]

    def _stickers(self) -> tuple["Scenes", "Vocabulary", "list[np.ndarray]"]:
        from grounding.stickers.scene import render
        from grounding.stickers.world import PRESETS
        from seem.train.scenes import rendered
        from seem.vocabulary import Vocabulary

        recipe, world = self.recipe, PRESETS[self.recipe.preset]
        scenes = rendered(
            self.folder.parent / "scenes", recipe.preset, recipe.scenes, recipe.collages
        )
        vocabulary = Vocabulary(things=world.concepts, stuff=world.backgrounds, templates=("{}",))
        shown = [render(world.scene(seed, "held-out")).image for seed in range(SHOWN)]
        return scenes, vocabulary, shown

    def _start(self, scenes: "Scenes", vocabulary: "Vocabulary") -> "Predictor":
        """The model before its first step, with its words."""
        from seem.encoded_image import Resizing
        from seem.mask_rules import MaskRules
        from seem.predictor import Predictor

        resizing = Resizing(short_side=self.size, long_side=LONGEST * self.size)
        if self.init is None:
            model, tokenizer = self._fresh(scenes)
            return Predictor(
                model,
                tokenizer,
                vocabulary=vocabulary,
                resizing=resizing,
                box_mode="outline",
                object_threshold=LEAST_PROBABILITY,
                rules=MaskRules(connected=True, corrected=True, wholes=True),
            )
        from grounding.errors import CheckpointError
        from pipelines.segmentation.segmenter import open_predictor

        opened = open_predictor(self.init, device="cpu")
        if opened.words.tokenizer is None:
            raise CheckpointError(f"{self.init}: training needs the model's tokenizer")
        templates = opened.words.templates
        return Predictor(
            opened.model,
            opened.words.tokenizer,
            vocabulary=dataclasses.replace(vocabulary, templates=templates),
            resizing=resizing,
            box_mode="outline",
            object_threshold=opened.object_threshold,
            rules=opened.rules,
        )

    def _fresh(self, scenes: "Scenes") -> tuple["Seem", Any]:
        """A model from nothing but for its text encoder, which knows its words and is done."""
        import torch

        from grounding.stickers.tokenizer import build_tokenizer
        from seem.config import CONFIGS
        from seem.model import build_seem
        from seem.train.words import learn_words

        config = CONFIGS[self.recipe.config]
        tokenizer = build_tokenizer()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_seem(
                dataclasses.replace(
                    config,
                    vocabulary=len(tokenizer),
                    text_context=tokenizer.model_max_length,
                )
            )
        for name, parameter in model.backbone.named_parameters():
            if ".gamma_" in name:
                torch.nn.init.constant_(parameter, FOCAL_START)
        learn_words(model.text_encoder, tokenizer, scenes.lexicon, steps=self.recipe.words)
        torch.nn.init.constant_(model.text_encoder.logit_scale, SCALE_START)
        return model, tokenizer
