"""One run on somebody's own pictures: from the data to the exported model and what it can do."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from grounding.broken import Broken
from grounding.checkpoint import LAST, load_trained, read_checkpoint, trained_tensors
from grounding.drops import DROPPED
from grounding.errors import CheckpointError
from grounding.loop import train
from grounding.stickers.world import PRESETS
from pipelines.device import choose_device
from pipelines.run_record import RECORD, RunRecord, open_run
from pipelines.segmentation.segmenter import open_predictor
from pipelines.training.progress import progress
from pipelines.training.segmentation.data import OwnData, open_own
from pipelines.training.segmentation.fresh import fresh_predictor
from pipelines.training.segmentation.verdict import Verdict
from seem.encoded_image import Resizing
from seem.predictor import Predictor
from seem.train import recipes
from seem.train.batch import BatchMaker
from seem.train.defaults import OWN, Base, Chosen, choose, explain
from seem.train.hold_out import hold_out
from seem.train.mixture import Mixture, Part
from seem.train.new_words import learn_new_words
from seem.train.scenes import Lexicon, rendered
from seem.train.task import SeemTask
from seem.vocabulary import BACKGROUND, Vocabulary
from weights.new_words import add_words
from weights.predictor import save_predictor
from weights.registry import STICKERS

__all__ = ["OwnRun"]

PRESET = "crowd"  # of the sticker world, whose names the embedded model has
LONGEST = 2  # times the shorter side: how long pictures are seen at most
EXPORT = "export"
SHOWN = 8  # pictures of a sample grid
LOOP = ("steps", "learning_rate", "warmup", "schedule", "ema")


@dataclass
class OwnRun:
    """What the options of `lavallama train seem --data` ask for.

    Attributes:
        options: Of the command.
        folder: Of the run.
        frozen: Parts that stay as they are; None: as is chosen.
    """

    options: argparse.Namespace
    folder: Path
    frozen: tuple[str, ...] | None

    @property
    def named(self) -> recipes.Recipe | None:
        """The recipe that is asked for by its name."""
        name = self.options.recipe
        return None if name in (None, OWN) else recipes.RECIPES[name]

    @cached_property
    def base(self) -> Predictor | None:
        """What the run starts from; None: a recipe's model, from nothing.

        Raises:
            CheckpointError: it cannot be trained on words.
        """
        name = self.options.init
        if name is None:
            if self.named is not None:
                return None
            name = STICKERS
        base = open_predictor(name, device=self.options.device)
        if base.words.tokenizer is None:
            raise CheckpointError(f"{name}: training needs the model's tokenizer")
        if getattr(base.model, "refiner", None) is not None:
            raise CheckpointError(
                f"{name}: has a mask refiner, and words that a detector knows, which learn nothing "
                f"new here; begin with another model (--init {STICKERS})"
            )
        return base

    @property
    def size(self) -> int:
        """Pixels of the shorter side of pictures."""
        if self.options.size:
            return self.options.size
        if self.named is not None:
            return list(self.named.sizes.values())[-1]
        assert self.base is not None, "what is chosen goes by a base"
        return self.base.resizing.short_side

    @property
    def known(self) -> Vocabulary:
        """What the base looks for."""
        vocabulary = None if self.base is None else self.base.vocabulary
        return Vocabulary(things=()) if vocabulary is None else vocabulary

    @property
    def replays(self) -> bool:
        """Whether the base names all of the sticker world, whose pictures are at hand."""
        asked = self.options.replay
        return set(PRESETS[PRESET].concepts) <= set(self.known.names) and asked != 0

    def train(self) -> None:
        """Train to the last step, export, and say what the model can do.

        Raises:
            LavallamaError: something that is asked for cannot be, or the folder holds a run of
                something else.
        """
        accelerator = Accelerator(cpu=choose_device(self.options.device).type == "cpu")
        main = accelerator.is_main_process
        with open_run(self.folder / RECORD, writes=main) as record:
            record.check(self._given())
            data = self.open_data(reports=main)
            learned, apart = self._split(data)
            chosen = self._choose(len(learned))
            if main and self.named is None:
                print("\n".join(explain(self._facts, len(learned), chosen)))
            predictor = self.start(data.names, self.vocabulary(data))
            self._settle(record, data, chosen, predictor, accelerator.num_processes)
            verdict = Verdict(
                folder=self.folder,
                data=data,
                apart=apart or learned,
                learned=len(learned) if apart else 0,
                base=self.base or self.start(data.names, self.vocabulary(data)),
                device=str(choose_device(self.options.device)),
            )
            if main:
                verdict.before()
            self._train(accelerator, data, learned, apart, chosen, predictor)
            if main:
                out = self.folder / EXPORT
                self._write(predictor, out)
                print("\n".join(verdict.after(out)))

    def export(self, out: Path, names: Sequence[str], vocabulary: Vocabulary) -> None:
        """Write the model as far as it is trained, in float16.

        Args:
            out: The model's folder.
            names: Of the data.
            vocabulary: What the model looks for.
        """
        self._write(self.start(names, vocabulary), out)

    def _write(self, predictor: Predictor, out: Path) -> None:
        """Write a predictor with what was trained last."""
        path = self.folder / LAST
        found = trained_tensors(read_checkpoint(path, "cpu"))
        ours = {k.removeprefix("model."): v for k, v in found.items() if k.startswith("model.")}
        load_trained(predictor.model, ours, path)
        predictor.model.half()
        save_predictor(predictor, out)

    def start(self, names: Sequence[str], vocabulary: Vocabulary) -> Predictor:
        """The model before its first step: as the base, but that it can read all names.

        Args:
            names: Of the data.
            vocabulary: What it looks for.
        """
        resizing = Resizing(short_side=self.size, long_side=LONGEST * self.size)
        if self.base is None:
            assert self.named is not None, "nothing else begins with nothing"
            return fresh_predictor(self.named, Lexicon(concepts=tuple(names)), vocabulary, resizing)
        opened = open_predictor(self.options.init or STICKERS, device="cpu")
        new = add_words(opened.model, opened.words.tokenizer, names, self.known.names)
        if new.ids:
            unknown = [name for name in names if name not in self.known.names]
            others = (*self.known.names, BACKGROUND, *new.known)
            learn_new_words(opened.model.text_encoder, new.tokenizer, new.ids, unknown, others)
        return Predictor(
            opened.model,
            new.tokenizer,
            vocabulary=dataclasses.replace(vocabulary, templates=opened.words.templates),
            resizing=resizing,
            box_mode="outline",
            object_threshold=opened.object_threshold,
            rules=opened.rules,
        )

    def vocabulary(self, data: OwnData) -> Vocabulary:
        """What the model looks for in the end: what is in the data, and what it still knows."""
        things, stuff = data.things, data.stuff
        if self.replays:
            things += tuple(name for name in self.known.things if name not in data.names)
            stuff += tuple(name for name in self.known.stuff if name not in data.names)
        return Vocabulary(things=things, stuff=stuff)

    def open_data(self, *, reports: bool = False) -> OwnData:
        """The pictures, all looked at.

        Args:
            reports: Whether what is not used is written down, and told.

        Raises:
            PromptError: nothing can be used; or, if that is asked for, not all of it.
        """
        options = self.options
        data = open_own(options.data, size=self.size, known=self.known.names, folder=self.folder)
        if options.strict:
            data.drops.refuse(options.data)
        if reports:
            data.drops.write(self.folder / DROPPED)
            print("\n".join([*data.drops.lines(), f"names: {data.names_said()}"]))
        return data

    def _split(self, data: OwnData) -> tuple[list[int], list[int]]:
        """Numbers of the scenes to learn from, and of those that are held out."""
        count, asked = len(data.readable), self.options.held_out
        wanted = min(max(1, count // 4), 50) if asked is None else asked
        records = data.scenes.records
        names = [set(filter(None, records[number].concepts)) for number in data.readable]
        learned, apart = hold_out(data.digests, names, min(wanted, count - 1))
        return [data.readable[i] for i in learned], [data.readable[i] for i in apart]

    @property
    def _facts(self) -> Base:
        """What choices go by, of the base."""
        assert self.base is not None, "what is chosen goes by a base"
        return Base(
            parameters=sum(p.numel() for p in self.base.model.parameters()),
            short_side=self.size,
            replays=self.replays,
        )

    def _choose(self, pictures: int) -> Chosen:
        """The recipe, by its name or by the base and the pictures; then what is asked for."""
        options = self.options
        if self.named is not None:
            recipe = dataclasses.replace(self.named, sizes={0: self.size})
            frozen = ("text_encoder",) if self.base is None else ()
            chosen = Chosen(recipe=recipe, frozen=frozen, replay=0.0)
        else:
            chosen = choose(self._facts, pictures, steps=options.steps, batch=options.batch)
        loop = {name: getattr(options, name) for name in LOOP}
        loop = {name: value for name, value in loop.items() if value is not None}
        top = {name: getattr(options, name) for name in ("batch", "scenes", "sizes")}
        top = {name: value for name, value in top.items() if value is not None}
        loop_config = dataclasses.replace(chosen.recipe.loop, **loop)
        recipe = dataclasses.replace(chosen.recipe, loop=loop_config, **top)
        frozen = chosen.frozen if self.frozen is None else self.frozen
        if self.base is None:
            frozen = tuple(sorted({*frozen, "text_encoder"}))
        replay = chosen.replay if options.replay is None else options.replay * self.replays
        return dataclasses.replace(chosen, recipe=recipe, frozen=frozen, replay=replay)

    def _given(self) -> dict[str, Any]:
        """What can be told without a look at the data."""
        options = self.options
        given = {
            "recipe": options.recipe or OWN,
            "init": options.init or (None if self.named else STICKERS),
            "size": options.size,
            "held_out": options.held_out,
            "replay": options.replay,
            "freeze": None if self.frozen is None else ",".join(self.frozen),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _settle(
        self,
        record: RunRecord,
        data: OwnData,
        chosen: Chosen,
        predictor: Predictor,
        processes: int,
    ) -> None:
        """Write down what the run is."""
        recipe, vocabulary = chosen.recipe, predictor.vocabulary
        assert vocabulary is not None, "the data has names"
        own = {one.name: getattr(recipe, one.name) for one in dataclasses.fields(recipe)}
        del own["loop"]
        settings: Mapping[str, Any] = {
            **own,
            **dataclasses.asdict(recipe.loop),
            **self._given(),
            "data": self.options.data,
            "freeze": ",".join(chosen.frozen),
            "replay": chosen.replay,
            "sizes": dict(recipe.sizes),
            "size": self.size,
            "global_batch": recipe.batch * processes,
            "data_digest": data.digest,
            "names": list(data.names),
            "vocabulary": dataclasses.asdict(vocabulary),
        }
        record.settle(settings)

    def _train(
        self,
        accelerator: Accelerator,
        data: OwnData,
        learned: Sequence[int],
        apart: Sequence[int],
        chosen: Chosen,
        predictor: Predictor,
    ) -> None:
        recipe, main = chosen.recipe, accelerator.is_main_process
        model = predictor.model.train().requires_grad_(True).to(accelerator.device)
        for part in chosen.frozen:
            model.get_submodule(part).requires_grad_(False)
        parts = [Part(scenes=data.scenes, numbers=learned, share=1 - chosen.replay)]
        if chosen.replay:
            place = self.folder.parent / "scenes"
            known = rendered(place, PRESET, recipe.scenes, 0)
            parts.append(Part(scenes=known, numbers=range(len(known.records)), share=chosen.replay))
        mixture = Mixture(parts, self.size)
        report = self.folder / DROPPED if main else None
        broken = Broken(strict=self.options.strict, report=report, drops=data.drops)
        pasted = 0.0 if data.stuff else recipe.pasted
        chance = np.random.default_rng(0)
        shown = [data.scenes.read(number, chance)[0] for number in (apart or learned)[:SHOWN]]
        task = SeemTask(
            model=model,
            tokenizer=predictor.words.tokenizer,  # pyright: ignore[reportArgumentType]
            vocabulary=Vocabulary(
                things=data.things, stuff=data.stuff, templates=predictor.words.templates
            ),
            maker=BatchMaker(mixture, pasted, broken, mixture.weights, data.names),
            shown=shown,
            batch=recipe.batch,
            objects=recipe.objects,
            points=recipe.points,
            sizes=recipe.sizes,
            features_first=recipe.features_first,
        )
        writers = progress(recipe.loop.steps, is_main=main)
        train(task, recipe.loop, self.folder, accelerator, writers)
