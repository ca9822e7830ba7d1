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
from pipelines.flags import device_flag, strict_flag

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from grounding.broken import Broken
    from seem.model import Seem
    from seem.predictor import Predictor
    from seem.train.batch import BatchMaker
    from seem.train.recipes import Recipe
    from seem.train.scenes import Lexicon, Scenes
    from seem.vocabulary import Vocabulary

__all__ = ["main"]

Words = tuple["Lexicon", "Vocabulary"]

STICKERS = "stickers"  # a recipe, and its data
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
    add("--recipe", help="stickers (CPU, the default) or coco (GPU)")
    add("--data", help="stickers (the default), or a COCO panoptic JSON file")
    add("--init", help="a model to start from, as `segment --model` takes; default: from nothing")
    add("--freeze", help=f"parts to leave as they are: {','.join(PARTS)}")
    add("--runs", type=Path, help="the run's folder; default runs/seem/RECIPE")
    add("--steps", type=int, help="default: the recipe's")
    add("--batch", type=int, help="pictures in a step; default: the recipe's")
    add("--size", type=int, help="pixels of a picture's side; default: the recipe's")
    add("--learning-rate", type=float, help="at its peak; default: the recipe's")
    add("--scenes", type=int, help="sticker scenes to render; default: the recipe's")
    add("--collages", type=int, help="collages to render; default: the recipe's")
    device_flag(parser)
    strict_flag(parser)
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

    if options.freeze is not None:
        options.freeze = ",".join(sorted(filter(None, options.freeze.split(","))))
    folder = options.runs or Path("runs") / "seem" / (options.recipe or STICKERS)
    words = _recorded(options, folder) if options.export else None
    name = options.recipe or STICKERS
    if name not in RECIPES:
        raise LavallamaError(f"no recipe {name!r}; choose from {', '.join(RECIPES)}")
    recipe = _asked(RECIPES[name], options)
    frozen = tuple(sorted(filter(None, (options.freeze or "").split(","))))
    if unknown := [part for part in frozen if part not in PARTS]:
        raise LavallamaError(f"--freeze takes {', '.join(PARTS)}; got {', '.join(unknown)}")
    if len(frozen) == len(PARTS):
        raise LavallamaError("--freeze names every part: nothing is left to train")
    data = options.data or STICKERS
    run = _Run(name, recipe, folder, data, options.init, frozen, options.strict)
    if options.export:
        run.export(options.export, words)
    else:
        run.train(choose_device(options.device).type == "cpu")
    return 0


def _recorded(options: argparse.Namespace, folder: Path) -> "Words | None":
    """Take the options of an export, and the words, from the record of the run.

    Returns:
        What the run learned to name; None: its data must tell, since there is no record.

    Raises:
        LavallamaError: the run was begun with other options, or does not tell of its data.
    """
    from grounding.checkpoint import LAST
    from grounding.errors import CheckpointError
    from pipelines.run_record import RECORD, file_digest, read_record, take_recorded
    from seem.train.scenes import Lexicon
    from seem.vocabulary import Vocabulary

    record = read_record(folder / RECORD)
    if record is None:
        if (folder / LAST).exists() and options.data is None:
            raise CheckpointError(
                f"{folder} was begun without a record of its classes; name its data with --data"
            )
        return None
    options.data_digest = None
    if options.data == STICKERS:
        options.data_digest = record["data_digest"] if record["data"] == STICKERS else STICKERS
    elif options.data is not None:
        options.data_digest = file_digest(options.data)
    names = ("recipe", "init", "freeze", "size", "data_digest")
    take_recorded(options, record, names, folder)
    lexicon, vocabulary = (
        {name: tuple(value) for name, value in record[part].items()}
        for part in ("lexicon", "vocabulary")
    )
    return Lexicon(**lexicon), Vocabulary(**vocabulary)


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
        name: Of the recipe.
        recipe: How.
        folder: Where it is kept.
        data: "stickers" or a file.
        init: What it starts from; None: nothing.
        frozen: Parts that stay as they are.
        strict: Whether data that cannot be read is refused rather than passed over.
    """

    name: str
    recipe: "Recipe"
    folder: Path
    data: str
    init: str | None
    frozen: tuple[str, ...]
    strict: bool

    @property
    def size(self) -> int:
        """Pixels of a picture's side in the end."""
        return list(self.recipe.sizes.values())[-1]

    def train(self, on_cpu: bool) -> None:
        """Train to the last step, on the CPU or where accelerate puts this process."""
        from accelerate import Accelerator

        from grounding.broken import Broken
        from grounding.drops import DROPPED
        from pipelines.run_record import RECORD, open_run
        from seem.train.batch import BatchMaker

        accelerator = Accelerator(cpu=on_cpu)
        path = self.folder / RECORD
        with open_run(path, writes=accelerator.is_main_process) as record:
            settings = self._settings(accelerator.num_processes)
            record.check(settings)
            report = self.folder / DROPPED if accelerator.is_main_process else None
            broken = Broken(strict=self.strict, report=report)
            scenes, vocabulary, shown = self._data(broken)
            words = {"vocabulary": vocabulary, "lexicon": scenes.lexicon}
            words = {name: dataclasses.asdict(value) for name, value in words.items()}
            predictor = self._start(scenes.lexicon, vocabulary)
            record.settle(settings | words)
            maker = BatchMaker(scenes, self.recipe.pasted, broken)
            self._train(accelerator, maker, vocabulary, shown, predictor)

    def _train(
        self,
        accelerator: "Accelerator",
        maker: "BatchMaker",
        vocabulary: "Vocabulary",
        shown: "list[np.ndarray]",
        predictor: "Predictor",
    ) -> None:
        from grounding.loop import train
        from pipelines.training.progress import progress
        from seem.train.task import SeemTask

        model = predictor.model.train().requires_grad_(True).to(accelerator.device)
        for part in {*self.frozen, *(() if self.init else ("text_encoder",))}:
            model.get_submodule(part).requires_grad_(False)
        task = SeemTask(
            model=model,
            tokenizer=predictor.words.tokenizer,  # pyright: ignore[reportArgumentType]
            vocabulary=vocabulary,
            maker=maker,
            shown=shown,
            batch=self.recipe.batch,
            objects=self.recipe.objects,
            points=self.recipe.points,
            sizes=self.recipe.sizes,
            features_first=self.recipe.features_first,
        )
        writers = progress(self.recipe.loop.steps, is_main=accelerator.is_main_process)
        train(task, self.recipe.loop, self.folder, accelerator, writers)

    def _settings(self, processes: int) -> dict[str, Any]:
        """What the run is."""
        from pipelines.run_record import file_digest

        recipe = self.recipe
        own = {one.name: getattr(recipe, one.name) for one in dataclasses.fields(recipe)}
        del own["loop"]
        if self.data == STICKERS:
            digest = f"{recipe.preset}, {recipe.scenes} scenes, {recipe.collages} collages"
        else:
            digest = file_digest(self.data)
        return {
            "recipe": self.name,
            "data": self.data,
            "init": self.init,
            "freeze": ",".join(self.frozen),
            **own,
            **dataclasses.asdict(recipe.loop),
            "sizes": dict(recipe.sizes),
            "size": self.size,
            "global_batch": recipe.batch * processes,
            "data_digest": digest,
        }

    def export(self, out: Path, words: "Words | None") -> None:
        """Write the model as far as it is trained, in float16.

        Args:
            out: The model's folder.
            words: What it learned to name; None: the data must tell.
        """
        from grounding.checkpoint import LAST, load_trained, read_checkpoint, trained_tensors
        from weights.predictor import save_predictor

        path = self.folder / LAST
        found = trained_tensors(read_checkpoint(path, "cpu"))
        if words is None:
            words = self._words()
        predictor = self._start(*words)
        ours = {k.removeprefix("model."): v for k, v in found.items() if k.startswith("model.")}
        load_trained(predictor.model, ours, path)
        predictor.model.half()
        save_predictor(predictor, out)

    def _data(self, broken: "Broken") -> tuple["Scenes", "Vocabulary", "list[np.ndarray]"]:
        """Scenes, their classes, and pictures for the sample grids."""
        import numpy as np

        from grounding.stickers.scene import render
        from grounding.stickers.world import PRESETS
        from seem.train.coco_scenes import open_coco
        from seem.train.scenes import rendered

        recipe, world = self.recipe, PRESETS[self.recipe.preset]
        if self.data == STICKERS:
            place = self.folder.parent / "scenes"
            stickers = rendered(place, recipe.preset, recipe.scenes, recipe.collages)
            shown = [render(world.scene(seed, "held-out")).image for seed in range(SHOWN)]
            return stickers, self._words()[1], shown
        scenes = open_coco(Path(self.data), self.size)
        broken.drops = scenes.drops
        chance = np.random.default_rng(0)
        names = [scenes.name(number) for number in range(len(scenes.records))]
        broken.check(self.data, names, scenes.look)
        shown = []
        for number in range(min(SHOWN, len(names))):
            found = broken.read(number, names, lambda here: scenes.read(here, chance))
            shown.append(found[1][0])
        return scenes, scenes.vocabulary, shown

    def _words(self) -> "Words":
        """What the data names."""
        from grounding.stickers.world import PRESETS
        from seem.train.coco_scenes import open_coco
        from seem.train.scenes import Lexicon
        from seem.vocabulary import Vocabulary

        if self.data != STICKERS:
            scenes = open_coco(Path(self.data), self.size)
            return scenes.lexicon, scenes.vocabulary
        world = PRESETS[self.recipe.preset]
        return (
            Lexicon(
                concepts=world.concepts, materials=world.materials, backgrounds=world.backgrounds
            ),
            Vocabulary(things=world.concepts, stuff=world.backgrounds, templates=("{}",)),
        )

    def _start(self, lexicon: "Lexicon", vocabulary: "Vocabulary") -> "Predictor":
        """The model before its first step, with its words."""
        from seem.encoded_image import Resizing
        from seem.mask_rules import MaskRules
        from seem.predictor import Predictor

        resizing = Resizing(short_side=self.size, long_side=LONGEST * self.size)
        if self.init is None:
            model, tokenizer = self._fresh(lexicon)
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

    def _fresh(self, lexicon: "Lexicon") -> tuple["Seem", Any]:
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
        learn_words(model.text_encoder, tokenizer, lexicon, steps=self.recipe.words)
        torch.nn.init.constant_(model.text_encoder.logit_scale, SCALE_START)
        return model, tokenizer
