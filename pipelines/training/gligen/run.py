"""One run of the adapters' trainer, from its options to its last step."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType

from gligen.config import AdapterConfig
from gligen.sampler import make_scheduler
from gligen.train.buckets import bucket_sizes
from gligen.train.gates import GatesConfig, GatesTask
from gligen.train.sharding import shard
from grounding.drops import DROPPED, Drops
from grounding.errors import CheckpointError, LavallamaError, PromptError
from grounding.files import check_writable, write_files
from grounding.loop import LoopConfig, train
from grounding.sharding import gathered
from grounding.telemetry import TensorBoard, WeightsAndBiases, Writer, has_tensorboard
from pipelines.device import choose_device
from pipelines.generation.defaults import GENERATION_KEY
from pipelines.generation.frame import Frame
from pipelines.generation.generator import Generator
from pipelines.generation.grounder import Grounder
from pipelines.generation.layout import notice
from pipelines.run_record import RECORD, RunRecord, open_run
from pipelines.training.gligen.adapter import starting_adapter
from pipelines.training.gligen.cache import Cache, CachedImages, CachedReader
from pipelines.training.gligen.followed import Followed
from pipelines.training.gligen.held_out import BEST, HeldOut, held_out_requests, open_eyes
from pipelines.training.gligen.prepare import Prepared, Preparer
from pipelines.training.gligen.prepared_examples import PreparedExamples
from pipelines.training.progress import progress
from pipelines.training.sources import STICKERS, open_source
from weights.base import BaseModel, load_base
from weights.image_encoder import ImageEncoder, find_image_encoder
from weights.own_folder import state_digest

__all__ = ["DATA_REPORT", "Run"]

DATA_REPORT = "data.json"
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


@dataclass
class Run:
    """What the options of `lavallama train gligen` ask for."""

    options: argparse.Namespace

    def train(self) -> None:
        """Prepare the data, and train to the last step.

        Raises:
            LavallamaError: something that is asked for cannot be, the folder holds a run of
                something else, or the base changed.
        """
        path = self.options.runs / RECORD
        check_writable([path])
        with open_run(path, writes=self.accelerator.is_main_process) as record:
            record.check(self._given())
            self._train(record)

    def _train(self, record: RunRecord) -> None:
        options, folder = self.options, self.options.runs
        base, before = self.base, self._base_digest()
        adapter = starting_adapter(options, base, self.images)
        examples, held_out = self._data(adapter)
        if options.prepare_only:
            return
        record.settle(self._settings(adapter.config, before, examples.pictures))
        process = self.accelerator.process_index, self.accelerator.num_processes
        if options.checkpointing:
            base.unet.enable_gradient_checkpointing()
        config = {k: v for k, v in base.scheduler_config.items() if k != GENERATION_KEY}
        if options.shard:
            shard(base.unet, adapter, self.accelerator.device.type, process[1])
        eyes = open_eyes(options) if process[0] == 0 or options.shard else {}
        show = HeldOut(
            generator=Generator(base=base, adapter=adapter, image_encoder=self.images),
            layouts=held_out_requests(options, examples.preparer, held_out, eyes.get("judge")),
            steps=options.sample_steps,
            precision=lambda: self.accelerator.autocast(),
            **eyes,
        )
        task = GatesTask(
            unet=base.unet,
            adapter=adapter,
            scheduler=make_scheduler("ddim", config),
            examples=examples,
            config=self._gates_config(),
            show=show,
            process=process,
        )
        loop = self._loop_config(BEST if show.measures else "")
        train(task, loop, folder, self.accelerator, self._writers())
        if self._base_digest() != before:
            raise CheckpointError(
                f"{options.model}: the base changed while its adapter was trained; do not use "
                f"{folder}, and tell us"
            )

    @cached_property
    def accelerator(self) -> Accelerator:
        """Processes and precision.

        Raises:
            LavallamaError: accelerate's config asks for sharding by other means, or there is one
                process to share among.
        """
        on_cpu = choose_device(self.options.device).type == "cpu"
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=self.options.precision)
        if accelerator.distributed_type in SHARDED:
            raise LavallamaError(
                f"accelerate's config asks for {accelerator.distributed_type.value}; choose "
                "data-parallel training in it, and --shard here, which shards the base too"
            )
        if self.options.shard and accelerator.num_processes == 1:
            raise LavallamaError(
                "--shard shares the base out among processes, and there is one: start several, "
                "with accelerate launch"
            )
        return accelerator

    @cached_property
    def base(self) -> BaseModel:
        """The frozen model, where the accelerator is."""
        name, device = self.options.model, self.accelerator.device
        base = load_base(
            name,
            device=device,
            offline=self.options.offline,
            vae=self.options.vae,
            text_encoder=self.options.text_encoder,
        )
        if base.inpaints:
            raise CheckpointError(
                f"{name}: its UNet reads a mask beside the latents, which is not trained on; take "
                "the plain base, with --inpainting"
            )
        return base

    @cached_property
    def images(self) -> ImageEncoder | None:
        """The encoder of reference pictures, for an adapter that reads some."""
        options = self.options
        if options.modality != "text_image":
            return None
        found = find_image_encoder(
            options.image_encoder,
            (options.init, options.model),
            device=self.accelerator.device,
            offline=options.offline,
        )
        if found is None:
            raise CheckpointError(
                "text_image reads pictures, and neither the model nor the adapter came with an "
                "image encoder: name one with --image-encoder"
            )
        return found

    def _data(self, adapter: Any) -> tuple[PreparedExamples, list[Prepared]]:
        """What is learnt from, and what is kept apart; the report is written."""
        options, base = self.options, self.base
        cache = Cache(options.cache or options.runs.parent / "cache")
        preparer = Preparer(
            config=adapter.config,
            buckets=self._buckets(),
            vae=base.vae,
            vae_digest=state_digest(base.vae.state_dict()),
            cache=cache,
            flips=self._flip > 0,
        )
        drops = Drops()
        reader = CachedReader.cached(base, cache)
        images: Any = None if self.images is None else CachedImages(self.images, cache)
        with self.accelerator.main_process_first():
            source = open_source(
                options.data,
                captions=options.captions,
                scenes=options.scenes,
                folder=options.runs.parent / "scenes",
                joints=adapter.config.modality == "keypoint",
                drops=drops,
            )
            pictures = preparer(source, drops)
            apart = sorted(pictures, key=lambda one: one.digest)
            apart = apart[: min(options.held_out, len(pictures) // 4)]
            names = {id(one) for one in apart}
            examples = PreparedExamples(
                pictures=[one for one in pictures if id(one) not in names],
                preparer=preparer,
                reader=reader,
                grounder=Grounder(adapter, reader, images),
            )
            examples.encode_texts()
        if self.accelerator.is_main_process:
            report = drops.report() | {"data": options.data, "held_out": len(apart)}
            text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
            write_files({options.runs / DATA_REPORT: text.encode()})
            drops.write(options.runs / DROPPED)
            print("\n".join(drops.lines()))
            if options.strict:
                drops.refuse(options.data)
        if not examples.pictures:
            raise PromptError(
                f"{options.data}: nothing is left to learn from; {options.runs / DROPPED} says "
                "what was dropped and why"
            )
        return examples, apart

    @property
    def _flip(self) -> float:
        given = self.options.flip
        if given is None:
            return 0.0 if self.options.data == STICKERS else 0.5
        return given

    def _buckets(self) -> tuple[tuple[int, int], ...]:
        frame = Frame.of(self.base.unet, self.base.vae)
        own = frame.width, frame.height
        if self.options.size is not None:
            try:
                width, height = map(int, self.options.size.lower().split("x"))
            except ValueError:
                raise LavallamaError(
                    f"--size is WIDTHxHEIGHT, such as 512x512; got {self.options.size!r}"
                ) from None
            own = frame.size((width, height), None, notice(strict=False))
        return bucket_sizes(own, frame.multiple, self.options.max_aspect)

    def _gates_config(self) -> GatesConfig:
        options = self.options
        return GatesConfig(
            batch=options.batch,
            accumulate=options.accumulate,
            seed=options.seed,
            caption_dropout=options.caption_dropout,
            grounding_dropout=options.grounding_dropout,
            mirrored=self._flip,
            box_weight=options.box_weight,
            attention_weight=options.teach,
            min_snr=options.min_snr,
            probe_every=options.log_every,
        )

    def _loop_config(self, best: str) -> LoopConfig:
        options = self.options
        return LoopConfig(
            steps=options.steps,
            learning_rate=options.learning_rate,
            schedule=options.schedule,
            warmup=options.warmup,
            weight_decay=options.weight_decay,
            ema=options.ema,
            seed=options.seed,
            accumulate=options.accumulate,
            save_every=options.save_every,
            sample_every=options.sample_every,
            log_every=options.log_every,
            keep=options.keep,
            best=best,
        )

    def _writers(self) -> list[Writer]:
        if not self.accelerator.is_main_process:
            return []
        writers: list[Writer] = [*progress(self.options.steps)]
        if self.options.modality in ("text", "text_image"):
            writers.append(Followed())
        if has_tensorboard():
            writers.append(TensorBoard(self.options.runs))
        if self.options.wandb:
            writers.append(WeightsAndBiases(self.options.runs, self.options.wandb))
        return writers

    def _base_digest(self) -> str:
        parts = ("unet", "vae", "text_encoder", "text_encoder_2")
        return state_digest(
            {
                f"{name}.{key}": gathered(tensor)
                for name in parts
                if (part := getattr(self.base, name)) is not None
                for key, tensor in part.state_dict().items()
            }
        )

    def _given(self) -> dict[str, Any]:
        """What can be told without a look at the data."""
        options, processes = self.options, self.accelerator.num_processes
        return {
            **vars(options),
            "flip": self._flip,
            "global_batch": options.batch * options.accumulate * processes,
        }

    def _settings(
        self, config: AdapterConfig, base: str, pictures: Sequence[Prepared]
    ) -> dict[str, Any]:
        """What the run is."""
        data = hashlib.sha256()
        for one in pictures:
            data.update(f"{one.digest} {one.document.canonical_json()}\n".encode())
        return {
            **self._given(),
            "adapter": asdict(config),
            "base_digest": base,
            "data_digest": data.hexdigest(),
        }
