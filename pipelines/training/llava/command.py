"""Train a LLaVA: ``python -m pipelines.train llava``.

The embedded one on the sticker world (`pipelines.training.llava.stickers`), or any on records in
LLaVA's format, by the recipes of the papers. A run keeps its checkpoint and its log in its folder and
goes on where it stopped; killed at any moment and started again, it ends with the same bits.
"""  # noqa: E501

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.console import guarded, quiet_libraries
from pipelines.training.llava.options import PROG, STAGES, train_llava_options

if TYPE_CHECKING:
    from grounding.broken import Broken
    from grounding.llava.model import Llava
    from grounding.llava.train.recipes import Recipe

__all__ = ["main"]

STICKERS = "stickers"
OF_MODEL = ("recipe", "model", "base", "vision_tower", "rank", "max_tokens")  # as it was begun


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, given what follows "llava"; returns the exit code."""
    options = train_llava_options(argv)
    return guarded(PROG, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    for name in ("grounding", "pipelines"):
        logging.getLogger(name).setLevel(logging.INFO)
    if options.export is not None:
        _recall(options)
    if options.recipe == STICKERS:
        _stickers(options)
        return 0
    run = _Run(options, _asked(options))
    if options.export is not None:
        run.export(options.export)
    else:
        run.train()
    return 0


def _recall(options: argparse.Namespace) -> None:
    """Take the options of an export from the record of the run.

    Raises:
        LavallamaError: the run was begun with others, or does not tell and they are missing.
    """
    from grounding.errors import CheckpointError
    from pipelines.run_record import RECORD, file_digest, read_record, take_recorded

    if options.recipe == STICKERS:
        return
    folder = options.runs or Path("runs") / "llava" / options.recipe
    record = read_record(folder / RECORD)
    if record is None:
        options.recipe = options.recipe or STICKERS
        if options.recipe != STICKERS and options.model is None:
            raise CheckpointError(
                f"{folder} has no record ({RECORD}) of what it was begun with; name its --model, "
                "and --rank if it had one"
            )
        return
    options.data_digest = None
    if options.data is not None and options.data.is_file():
        options.data_digest = file_digest(options.data)
    take_recorded(options, record, (*OF_MODEL, "data_digest"), folder)
    options.seed = record["seed"]


def _stickers(options: argparse.Namespace) -> None:
    from grounding.llava.train.recipes import STICKERS
    from pipelines.training.llava.stickers import StickerLlava

    folder = options.runs or Path("runs") / "llava" / "stickers"
    recipe = STICKERS
    changes = {"steps": options.steps, "learning_rate": options.learning_rate}
    changes = {name: value for name, value in changes.items() if value is not None}
    stages = STAGES if options.stage is None else (options.stage,)
    for stage in stages:
        loop = dataclasses.replace(getattr(recipe, stage), **changes)
        recipe = dataclasses.replace(recipe, **{stage: loop})
    scenes = options.scenes or folder / "scenes"
    workshop = StickerLlava(recipe, folder, scenes, _accelerator(options.device))
    if options.export is not None:
        workshop.export(options.export)
        return
    for stage in stages:
        workshop.run(stage)


def _accelerator(device: str) -> Any:
    from accelerate import Accelerator

    from pipelines.device import choose_device

    return Accelerator(cpu=choose_device(device).type == "cpu")


def _asked(options: argparse.Namespace) -> "Recipe":
    """The recipe with what is asked for on the command line."""
    from grounding.llava.train.recipes import RECIPES

    recipe = RECIPES[options.recipe]
    given = {
        "rate": options.learning_rate,
        "batch": options.batch,
        "epochs": options.epochs,
        "max_tokens": options.max_tokens,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if options.rank is not None and recipe.lora is not None:
        lora = recipe.lora
        alpha = options.rank * lora.alpha // lora.rank
        changes["lora"] = dataclasses.replace(lora, rank=options.rank, alpha=alpha)
    return dataclasses.replace(recipe, **changes)


class _Run:
    """One run of a paper's recipe."""

    def __init__(self, options: argparse.Namespace, recipe: "Recipe") -> None:
        self.options, self.recipe = options, recipe
        self.folder: Path = options.runs or Path("runs") / "llava" / options.recipe
        self.source: Path | None = None  # where the tokenizer is

    def train(self) -> None:
        """Train to the last step."""
        from grounding.broken import Broken
        from grounding.drops import DROPPED
        from pipelines.run_record import RECORD, open_run

        accelerator = _accelerator(self.options.device)
        path = self.folder / RECORD
        with open_run(path, writes=accelerator.is_main_process) as record:
            settings = self._settings()
            record.settle(settings)
            report = self.folder / DROPPED if accelerator.is_main_process else None
            self._train(accelerator, Broken(strict=self.options.strict, report=report))

    def _settings(self) -> dict[str, Any]:
        """What the run is."""
        from pipelines.run_record import file_digest

        options, recipe = self.options, self.recipe
        names = ("recipe", "model", "base", "vision_tower", "at_once", "seed", "data", "images")
        return {
            **dataclasses.asdict(recipe),
            **{name: getattr(options, name) for name in names},
            "rank": recipe.lora and recipe.lora.rank,
            "global_batch": recipe.batch,
            "data_digest": file_digest(options.data),
        }

    def _train(self, accelerator: Any, broken: "Broken") -> None:
        from grounding.llava.records import read_records
        from grounding.llava.template import find_template
        from grounding.llava.train.task import LlavaTask, check_pictures
        from grounding.loop import train
        from pipelines.training.progress import progress
        from weights.llava_chat import default_template, load_chat_tokenizer

        options, recipe = self.options, self.recipe
        broken.drops.nouns = ("records", "turns")
        records = read_records(options.data, broken.drops)
        check_pictures(records, options.images, broken, options.data)
        model = self.model()
        own = model.config.template or default_template(model.config.text.model_type)
        assert self.source is not None
        task = LlavaTask(
            model=model.to(accelerator.device),
            tokenizer=load_chat_tokenizer(self.source),
            template=find_template(recipe.template or own),
            records=records,
            images=options.images,
            recipe=recipe,
            batch=options.at_once,
            seed=options.seed,
            processes=accelerator.num_processes,
            process=accelerator.process_index,
            broken=broken,
        )
        loop = self._loop(task.batches, accelerator.num_processes)
        writers = progress(loop.steps, is_main=accelerator.is_main_process)
        train(task, loop, self.folder, accelerator, writers)

    def export(self, out: Path) -> None:
        """Write what is trained so far."""
        from grounding.checkpoint import LAST, load_trained, read_checkpoint
        from weights.llava import llava_state, write_llava
        from weights.llava_chat import load_chat_tokenizer
        from weights.llava_trained import write_lora, write_projector

        path = self.folder / LAST
        trained = read_checkpoint(path, "cpu")["parameters"]
        model, options = self.model(), self.options
        load_trained(model, trained, path)
        if self.recipe.trains == "lora":
            self._export_lora(model, out, write_lora)
        elif self.recipe.trains == "projector":
            tower = str(options.vision_tower or options.model)
            write_projector(dict(model.named_parameters()), model.config, out, vision_tower=tower)
        else:
            assert self.source is not None
            tokenizer = load_chat_tokenizer(self.source)
            write_llava(llava_state(model), model.config, out, tokenizer=tokenizer)

    def _export_lora(self, model: "Llava", out: Path, write: Any) -> None:
        import json

        from grounding.llava.train.lora import lora_factors
        from weights.llava_config import layout_of_config

        assert self.source is not None
        assert self.recipe.lora is not None
        config = json.loads((self.source / "config.json").read_text("utf-8"))
        write(
            lora_factors(model),
            dict(model.named_parameters()),
            out,
            layout=layout_of_config(config) or "original",
            base=str(self.options.model),
            rank=self.recipe.lora.rank,
            alpha=self.recipe.lora.alpha,
            dropout=self.recipe.lora.dropout,
        )

    def model(self) -> "Llava":
        """The model before its first step; what is trained requires gradients."""
        import torch

        from grounding.llava.train.lora import add_lora
        from weights.llava import fill_llava, local_folder, read_llava
        from weights.llava_assemble import assemble_llava

        options, recipe = self.options, self.recipe
        if options.vision_tower is not None:
            model = assemble_llava(
                options.model,
                options.vision_tower,
                projector=recipe.projector,
                aspect="square" if options.recipe.startswith("v1-") else "pad",
                seed=options.seed,
                offline=options.offline,
            )
            self.source = local_folder(options.model, offline=options.offline)
        else:
            files = read_llava(options.model, base=options.base, offline=options.offline)
            model, self.source = fill_llava(files, dtype=torch.float32), files.folder
        model.train().requires_grad_(False)
        model.projector.requires_grad_(True)
        if model.image_newline is not None:
            model.image_newline.requires_grad_(True)
        if recipe.lora is not None:
            add_lora(model, recipe.lora, seed=options.seed)
        elif recipe.trains == "all":
            model.language_model.requires_grad_(True)
        return model

    def _loop(self, batches: int, processes: int):
        """The recipe's numbers as the loop has them."""
        from grounding.errors import LavallamaError
        from grounding.loop import LoopConfig

        options, recipe = self.options, self.recipe
        together = options.at_once * processes
        if recipe.batch % together:
            raise LavallamaError(
                f"--batch {recipe.batch} must be a multiple of --at-once {options.at_once} times "
                f"{processes} processes"
            )
        accumulate = recipe.batch // together
        steps = options.steps or max(1, recipe.epochs * batches // (processes * accumulate))
        slower = recipe.projector_rate
        return LoopConfig(
            steps=steps,
            learning_rate=recipe.rate,
            warmup=round(recipe.warmup * steps),
            weight_decay=0.0,
            betas=(0.9, 0.999),
            ema=0.0,
            seed=options.seed,
            accumulate=accumulate,
            save_every=options.save_every,
            sample_every=steps,
            log_every=options.log_every,
            rates={} if slower is None else {"projector.": slower / recipe.rate},
        )
