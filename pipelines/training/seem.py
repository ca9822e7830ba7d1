"""Train SEEM: ``python -m pipelines.train seem``.

With ``--data`` a model that is there, the embedded one or any other, learns from somebody's own
annotated pictures (`pipelines.training.segmentation`); without, a model learns the sticker world,
from nothing, as the embedded one is made. A run keeps its checkpoint, its log and sample grids in
its folder and goes on where it stopped. ``--export`` writes what is trained so far as a model that
`lavallama segment --model` takes.
"""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, strict_flag
from weights.registry import EMBEDDED, PHOTOGRAPHS

if TYPE_CHECKING:
    from accelerate import Accelerator

    from seem.predictor import Predictor
    from seem.train.batch import BatchMaker
    from seem.train.recipes import Recipe
    from seem.train.scenes import Lexicon
    from seem.vocabulary import Vocabulary

__all__ = ["main"]

Words = tuple["Lexicon", "Vocabulary"]

STICKERS = "stickers"  # a recipe, its data, and the model that it makes
PROG = "lavallama train seem"
PARTS = ("backbone", "pixel_decoder", "text_encoder", "decoder")
SHOWN = 8  # pictures of a sample grid
LONGEST = 2  # times the shorter side: how long images are seen at most
LOOP = ("steps", "learning_rate", "warmup", "schedule", "ema")
OF_DATA = ("held_out", "replay")  # options that a run on the sticker world has not
OF_RECORD = (*LOOP, *OF_DATA, "recipe", "init", "freeze", "size", "batch", "scenes")

_EPILOG = """\
--data:
  instances_mine.json   COCO instances: polygons, run lengths; pictures beside it or in "images"
  panoptic_mine.json    COCO panoptic, with its PNGs in the folder of that name
  FOLDER                one of these, or pictures with documents of their names, LabelMe's or ours
  mine.json, mine.jsonl a document of LabelMe's or ours; documents of ours, one a line
  stickers              the sticker world

Teach the bundled model things of your own: it chooses all numbers by the pictures and says which,
holds some of them out, and ends with what it can do on those, a sheet to look at, and the model:
  lavallama train seem --data mine.json --runs runs/mine
  lavallama segment --model runs/mine/export photo.jpg --text robot
An official model, with its own recipe:
  lavallama train seem --recipe coco --data panoptic_mine.json --runs runs/mine \\
    --init seem-focalt --freeze backbone,pixel_decoder,text_encoder --steps 2000
The bundled models, for stickers and for photographs (whose art is downloaded first, 0.5 GB):
  lavallama train seem
  lavallama train seem --export weights/embedded/seem
  lavallama train seem --recipe photographs
  lavallama train seem --recipe photographs --export weights/embedded/seem_photographs
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} [--data DATA] [options]",
        description="Teach a SEEM things of your own; or train one on the sticker world.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", metavar="DATA", help="see below; default: stickers, from nothing")
    add(
        "--init",
        metavar="MODEL",
        help="what to start from, as `segment --model` takes; default: "
        "of your own data stickers, which ships; of the sticker world nothing",
    )
    add(
        "--runs",
        type=Path,
        metavar="DIR",
        help="the run's folder; default runs/seem/own, or RECIPE",
    )
    add(
        "--recipe",
        metavar="NAME",
        help="own (the default with --data), which goes by what it starts from and by the "
        "number of pictures; stickers; photographs; coco",
    )
    add("--freeze", metavar="PARTS", help=f"parts to leave as they are: {','.join(PARTS)}, or none")
    add("--steps", type=int, metavar="N", help="default: the recipe's, as all that follow")
    add("--batch", type=int, metavar="N", help="pictures in a step")
    add("--size", type=int, metavar="N", help="pixels of a picture's side")
    add("--learning-rate", type=float, metavar="X", help="at its peak")
    add("--warmup", type=int, metavar="N", help="steps of warm-up")
    add("--schedule", choices=("cosine", "constant"), help="after it")
    add("--ema", type=float, metavar="X", help="decay of the weights' average; 0: none")
    add(
        "--held-out",
        type=int,
        metavar="N",
        help="pictures of --data to measure on; default a quarter, at most 50",
    )
    add(
        "--replay",
        type=float,
        metavar="X",
        help="share of the pictures that show stickers, which the bundled model knows",
    )
    add("--scenes", type=int, metavar="N", help="sticker scenes, or composites, to render")
    add("--collages", type=int, metavar="N", help="collages to render, of the sticker world")
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
    for name in ("grounding", "pipelines", "seem"):
        logging.getLogger(name).setLevel(logging.INFO)
    from grounding.checkpoint import LAST
    from pipelines.run_record import RECORD, read_record
    from seem.train.defaults import OWN

    frozen = _frozen(options)
    _check(options)
    if options.init == EMBEDDED:
        options.init = STICKERS
    if options.recipe == PHOTOGRAPHS:
        return _train_photographs(options)
    usual = STICKERS if options.data in (None, STICKERS) else OWN
    folder = options.runs or Path("runs") / "seem" / (options.recipe or usual)
    begun = (folder / LAST).exists()
    record = read_record(folder / RECORD) if begun else None
    data = options.data or (STICKERS if record is None else record["data"])
    if data == STICKERS:
        return _train_stickers(options, folder, frozen or ())
    return _train_own(options, folder, frozen, record)


def _train_photographs(options: argparse.Namespace) -> int:
    """Train a model for photographs on composites, or write the one so far.

    Raises:
        LavallamaError: an option is of another recipe, or a number is out of range.
    """
    from grounding.errors import LavallamaError
    from pipelines.device import choose_device
    from pipelines.training.photographs import PhotographsRun, ask_recipe

    others = ("data", "init", "freeze", "collages", "warmup", "schedule", "ema", *OF_DATA)
    if given := [name for name in others if getattr(options, name) is not None]:
        said = ", ".join("--" + name.replace("_", "-") for name in given)
        raise LavallamaError(f"--recipe {PHOTOGRAPHS} learns from composites: leave out {said}")
    folder = options.runs or Path("runs") / "seem" / PHOTOGRAPHS
    run = PhotographsRun(ask_recipe(options), folder)
    if options.export:
        run.export(options.export)
    else:
        run.train(choose_device(options.device).type == "cpu")
    return 0


def _frozen(options: argparse.Namespace) -> tuple[str, ...] | None:
    """The parts that stay as they are; None: nobody says."""
    from grounding.errors import LavallamaError

    if options.freeze is None:
        return None
    named = () if options.freeze == "none" else filter(None, options.freeze.split(","))
    frozen = tuple(sorted(named))
    options.freeze = ",".join(frozen)
    if unknown := [part for part in frozen if part not in PARTS]:
        raise LavallamaError(f"--freeze takes {', '.join(PARTS)}, none; got {', '.join(unknown)}")
    if len(frozen) == len(PARTS):
        raise LavallamaError("--freeze names every part: nothing is left to train")
    return frozen


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers that cannot be.

    Raises:
        LavallamaError: in one line.
    """
    from grounding.errors import LavallamaError
    from seem.train.defaults import OWN
    from seem.train.recipes import RECIPES

    if options.recipe not in (None, OWN, *RECIPES):
        raise LavallamaError(
            f"no recipe {options.recipe!r}; choose from {', '.join((OWN, *RECIPES))}"
        )
    for name, low, high in (
        *((name, 1, None) for name in ("steps", "batch", "size", "scenes")),
        *((name, 0, None) for name in ("collages", "warmup", "held_out", "learning_rate")),
        ("ema", 0, 1),
        ("replay", 0, 0.9),
    ):
        value = getattr(options, name)
        if value is None:
            continue
        flag = name.replace("_", "-")
        if value < low or (high is None and value == float("inf")) or value != value:
            raise LavallamaError(f"--{flag} must be at least {low}; got {value}")
        if high is not None and value > high:
            raise LavallamaError(f"--{flag} must be at most {high}; got {value}")
    if options.size is not None and options.size % 32:
        raise LavallamaError(f"--size must be a multiple of 32; got {options.size}")


def _train_own(
    options: argparse.Namespace,
    folder: Path,
    frozen: tuple[str, ...] | None,
    record: dict[str, Any] | None,
) -> int:
    """Train on a data set of the user's; or export what was trained."""
    from pipelines.run_record import take_recorded
    from pipelines.training.segmentation.run import OwnRun
    from seem.vocabulary import Vocabulary

    given, options.sizes = options.data, None
    if record is not None:
        take_recorded(options, record, OF_RECORD, folder)
        options.data = given or record["data"]
        options.sizes = {int(step): size for step, size in record["sizes"].items()}
        frozen = tuple(filter(None, (options.freeze or "").split(",")))
    run = OwnRun(options, folder, frozen)
    if not options.export:
        run.train()
        return 0
    if record is None:
        data = run.open_data()
        names, vocabulary = data.names, run.vocabulary(data)
    else:
        if given is not None:
            options.data_digest = run.open_data().digest
            take_recorded(options, record, ("data", "data_digest"), folder)
        names = record.get("names") or record["lexicon"]["concepts"]
        kinds = {key: tuple(value) for key, value in record["vocabulary"].items()}
        vocabulary = Vocabulary(**kinds)
    run.export(options.export, names, vocabulary)
    return 0


def _train_stickers(options: argparse.Namespace, folder: Path, frozen: tuple[str, ...]) -> int:
    """Train on the sticker world; or export what was trained."""
    from grounding.errors import LavallamaError
    from pipelines.device import choose_device
    from seem.train.recipes import RECIPES

    for name in OF_DATA:
        if getattr(options, name) is not None:
            raise LavallamaError(f"--{name.replace('_', '-')} is for pictures of --data")
    words = _recorded(options, folder) if options.export else None
    name = options.recipe or STICKERS
    recipe = _asked(RECIPES[name], options)
    run = _Run(name, recipe, folder, options.init, frozen)
    if options.export:
        run.export(options.export, words)
    else:
        run.train(choose_device(options.device).type == "cpu")
    return 0


def _recorded(options: argparse.Namespace, folder: Path) -> "Words | None":
    """Take the options of an export, and the words, from the record of the run.

    Returns:
        What the run learned to name; None: that of the world, since there is no record.

    Raises:
        LavallamaError: the run was begun with other options, or does not tell of its data.
    """
    from grounding.checkpoint import LAST
    from grounding.errors import CheckpointError
    from pipelines.run_record import RECORD, read_record, take_recorded
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
    if options.data == STICKERS and record["data"] != STICKERS:
        options.data_digest = STICKERS
    names = ("recipe", "init", "freeze", "size", "data_digest")
    take_recorded(options, record, names, folder)
    lexicon, vocabulary = (
        {name: tuple(value) for name, value in record[part].items()}
        for part in ("lexicon", "vocabulary")
    )
    return Lexicon(**lexicon), Vocabulary(**vocabulary)


def _asked(recipe: "Recipe", options: argparse.Namespace) -> "Recipe":
    """The recipe with what is asked for on the command line."""
    loop = {name: getattr(options, name) for name in LOOP}
    loop = {name: value for name, value in loop.items() if value is not None}
    top = {name: getattr(options, name) for name in ("batch", "scenes", "collages")}
    changes: dict[str, Any] = {name: value for name, value in top.items() if value is not None}
    if options.size is not None:
        changes["sizes"] = {0: options.size}
    return dataclasses.replace(recipe, loop=dataclasses.replace(recipe.loop, **loop), **changes)


@dataclasses.dataclass(frozen=True)
class _Run:
    """One training run on the sticker world.

    Attributes:
        name: Of the recipe.
        recipe: How.
        folder: Where it is kept.
        init: What it starts from; None: nothing.
        frozen: Parts that stay as they are.
    """

    name: str
    recipe: "Recipe"
    folder: Path
    init: str | None
    frozen: tuple[str, ...]

    @property
    def size(self) -> int:
        """Pixels of a picture's side in the end."""
        return list(self.recipe.sizes.values())[-1]

    def train(self, on_cpu: bool) -> None:
        """Train to the last step, on the CPU or where accelerate puts this process."""
        from accelerate import Accelerator

        from pipelines.run_record import RECORD, open_run
        from seem.train.batch import BatchMaker
        from seem.train.scenes import rendered

        accelerator = Accelerator(cpu=on_cpu)
        path = self.folder / RECORD
        with open_run(path, writes=accelerator.is_main_process) as record:
            settings = self._settings(accelerator.num_processes)
            record.check(settings)
            recipe, (lexicon, vocabulary) = self.recipe, self._words()
            place = self.folder.parent / "scenes"
            scenes = rendered(place, recipe.preset, recipe.scenes, recipe.collages)
            words = {"vocabulary": vocabulary, "lexicon": lexicon}
            words = {name: dataclasses.asdict(value) for name, value in words.items()}
            predictor = self._start(lexicon, vocabulary)
            record.settle(settings | words)
            self._train(accelerator, BatchMaker(scenes, recipe.pasted), vocabulary, predictor)

    def _train(
        self,
        accelerator: "Accelerator",
        maker: "BatchMaker",
        vocabulary: "Vocabulary",
        predictor: "Predictor",
    ) -> None:
        from grounding.loop import train
        from grounding.stickers.scene import render
        from grounding.stickers.world import PRESETS
        from pipelines.training.progress import progress
        from seem.train.task import SeemTask

        model = predictor.model.train().requires_grad_(True).to(accelerator.device)
        for part in {*self.frozen, *(() if self.init else ("text_encoder",))}:
            model.get_submodule(part).requires_grad_(False)
        world = PRESETS[self.recipe.preset]
        task = SeemTask(
            model=model,
            tokenizer=predictor.words.tokenizer,  # pyright: ignore[reportArgumentType]
            vocabulary=vocabulary,
            maker=maker,
            shown=[render(world.scene(seed, "held-out")).image for seed in range(SHOWN)],
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
        recipe = self.recipe
        own = {one.name: getattr(recipe, one.name) for one in dataclasses.fields(recipe)}
        del own["loop"]
        digest = f"{recipe.preset}, {recipe.scenes} scenes, {recipe.collages} collages"
        return {
            "recipe": self.name,
            "data": STICKERS,
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

    def _words(self) -> "Words":
        """What the world names."""
        from grounding.stickers.world import PRESETS
        from seem.train.scenes import Lexicon
        from seem.vocabulary import Vocabulary

        world = PRESETS[self.recipe.preset]
        return (
            Lexicon(
                concepts=world.concepts, materials=world.materials, backgrounds=world.backgrounds
            ),
            Vocabulary(things=world.concepts, stuff=world.backgrounds, templates=("{}",)),
        )

    def _start(self, lexicon: "Lexicon", vocabulary: "Vocabulary") -> "Predictor":
        """The model before its first step, with its words."""
        from pipelines.training.segmentation.fresh import fresh_predictor
        from seem.encoded_image import Resizing
        from seem.predictor import Predictor

        resizing = Resizing(short_side=self.size, long_side=LONGEST * self.size)
        if self.init is None:
            return fresh_predictor(self.recipe, lexicon, vocabulary, resizing)
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
