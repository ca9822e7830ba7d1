"""Generator: pictures from prompt documents.

    generator = Generator.from_pretrained()
    [picture] = generator(GroundedPrompt(prompt="lava llama", regions=regions), seed=7)
    picture.save("llama.png")

Every picture has its own random generator, on the CPU: a seed means the same noise on every device
and beside whatever other pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gligen.adapter import GligenAdapter
from gligen.inject import route_attention
from grounding.attention import Backend, choose_backend
from grounding.errors import LavallamaError
from grounding.prompt import GroundedPrompt, Provenance, Sampling
from pipelines.device import choose_device, choose_dtype
from pipelines.generation.companions.company import Company
from pipelines.generation.companions.notes import TILED
from pipelines.generation.frame import Frame
from pipelines.generation.grounder import Grounder
from pipelines.generation.interpreter import Interpreter
from pipelines.generation.layout import notice
from pipelines.generation.offload import Offload
from pipelines.generation.picture import Generation
from pipelines.generation.renderer import Renderer
from pipelines.generation.request import Job, batches
from pipelines.generation.text import TextReader
from pipelines.generation.wishes import Wishes
from pipelines.version import software
from weights.base import BaseModel, load_base
from weights.gligen import load_adapter
from weights.image_encoder import ImageEncoder, find_image_encoder, find_phrase_encoder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pipelines.generation.companions.company import CompanionNames
    from pipelines.generation.wishes import Overrides

    class Extras(CompanionNames, total=False):
        """What else a model is loaded with."""

        vae: str | None
        text_encoder: str | None
        tile_vae: bool
        offload: bool


__all__ = ["NO_ADAPTER", "Generator"]

NO_ADAPTER = "none"  # as an adapter's name: draw without gates even if the model has its own

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Generator:
    """A base model and, if it is to follow boxes, its GLIGEN adapter.

    Attributes:
        base: UNet, autoencoder, text encoder, tokenizer, scheduler config.
        adapter: gates that fit the UNet; they are injected here. None: boxes are refused.
        attention: the backend of all attention; see `grounding.attention`.
        names: what the model and the adapter are called in the documents of pictures.
        ignore_boxes: without an adapter, draw documents with boxes all the same, with a warning.
        image_encoder: reads reference pictures, for an adapter that takes them.
        company: LoRA and the like, which are put into the model here.
        tile_vae: encode and decode pictures tile by tile: less memory, slightly other pixels.
        offload: the device that parts of the model visit only while they work; the base is on the
            CPU. None: all of it stays where it is.
    """

    base: BaseModel
    adapter: GligenAdapter | None = None
    attention: Backend = "auto"
    names: tuple[str, str | None] = ("", None)
    ignore_boxes: bool = False
    image_encoder: ImageEncoder | None = None
    company: Company = field(default_factory=Company)
    tile_vae: bool = False
    offload: torch.device | None = None
    defaults: Sampling = field(init=False)
    frame: Frame = field(init=False)

    def __post_init__(self) -> None:
        unet, adapter = self.base.unet, self.adapter
        parameter = next(unet.parameters())
        self.device, self.dtype = self.offload or parameter.device, parameter.dtype
        choose_backend(self.attention, self.device, self.dtype)
        if self.tile_vae:
            _tile(self.base.vae)
        self.company.attach(self.base)
        if adapter is not None and not adapter.is_injected:
            adapter.inject(unet, attention=self.attention)
        if adapter is None and self.attention != "auto":
            route_attention(unet, self.attention)
        reader = TextReader.of(self.base, self.company.spelled)
        grounder = None if adapter is None else Grounder(adapter, reader, self.image_encoder)
        self._interpreter = Interpreter(
            base=self.base,
            reader=reader,
            grounder=grounder,
            company=self.company,
            name=self.names[0],
            ignore_boxes=self.ignore_boxes,
        )
        self.frame, self.defaults = self._interpreter.frame, self._interpreter.defaults
        self._renderer = Renderer(
            base=self.base,
            frame=self.frame,
            grounder=grounder,
            company=self.company,
            device=self.device,
            offload=None if self.offload is None else self._offloaded(self.offload),
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "embedded",
        adapter: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: Backend = "auto",
        offline: bool = False,
        image_encoder: str | Path | None = None,
        **extras: Unpack[Extras],
    ) -> Generator:
        """Load a model by name.

        Args:
            model: "embedded", a diffusers folder, a single-file checkpoint or a hub id.
            adapter: a GLIGEN adapter in any layout, by path or hub id; None takes the model's own
                if it has one; "none" takes none.
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            dtype: "auto" (see `pipelines.device.choose_dtype`), "float32", "float16", "bfloat16".
            attention: "auto" (xformers on CUDA where installed, else sdpa), or one by name.
            offline: never use the network.
            image_encoder: of reference pictures and of the IP-Adapter: a folder or hub id; None
                takes what the adapter, the model or the IP-Adapter came with.
            extras: loras (FILE or FILE=WEIGHT), embeddings (FILE or FILE=WORD), controlnets and
                ip_adapter, by path or hub id; vae and text_encoder in place of the model's own;
                tile_vae; offload.

        Raises:
            LavallamaError: anything of this that cannot be had, in one line.
        """
        where = choose_device(device)
        choose_backend(attention, where)
        choose_dtype(dtype, where)  # refused before anything is loaded
        waits, tile_vae = extras.pop("offload", False), extras.pop("tile_vae", False)
        if waits and where.type == "cpu":
            log.warning("offload has no effect: the model runs on the CPU")
            waits = False
        at_first: Any = {"device": torch.device("cpu") if waits else where, "offline": offline}
        parts: Any = {name: extras.pop(name, None) for name in ("vae", "text_encoder")}
        base = load_base(model, dtype=partial(choose_dtype, dtype, where), **parts, **at_first)
        at_first["dtype"] = precision = base.unet.dtype
        source = base.adapter_source if adapter is None else adapter
        gates = None
        if source is not None and str(source) != NO_ADAPTER:
            gates = load_adapter(source, base.unet, offline=offline)
        images = None
        place = {**at_first, "device": where}
        if gates is not None and gates.config.modality == "text_image":
            images = find_image_encoder(image_encoder, (source, model), **place)
        elif gates is not None and gates.config.modality == "text" and source is not None:
            images = find_phrase_encoder(source, device=where, dtype=precision)
        encoder = None if image_encoder is None else str(image_encoder)
        return cls(
            base=base,
            adapter=gates,
            attention=attention,
            names=(str(model), None if gates is None else str(adapter or model)),
            ignore_boxes=adapter is not None and str(adapter) == NO_ADAPTER,
            image_encoder=images,
            company=Company.load(extras, base, image_encoder=encoder, **at_first),
            tile_vae=tile_vae,
            offload=where if waits else None,
        )

    def __call__(
        self,
        prompts: GroundedPrompt | Sequence[GroundedPrompt],
        images: int = 1,
        *,
        size: tuple[int, int] | None = None,
        batch: int = 1,
        strict: bool = False,
        progress: bool = True,
        **wishes: Unpack[Overrides],
    ) -> list[Generation]:
        """Draw pictures; `stream` gives them one after the other.

        Args:
            prompts: one document or several, each with its own words, boxes and sampling.
            images: how many of each; picture i of a document uses its seed + i.
            size: (width, height) in pixels; default the document's canvas if the model can draw
                it, else the model's own; of a picture that is redrawn inside boxes, its own.
            batch: how many to draw at once. At 1 a picture is the same to the bit whatever is
                drawn beside it; more is faster on a GPU and changes the last bits.
            strict: raise instead of warning about what cannot be used as it stands.
            progress: show a bar on a terminal.
            wishes: win over the documents' own settings.
                seed, steps, guidance, schedule, scheduler, isolate: as in `Sampling`.
                image: path or data URI of a picture to start from, in place of the documents': it
                is redrawn inside the boxes and kept outside, at its own size, whatever the adapter
                for boxes, by Blended Latent Diffusion (Avrahami et al., arXiv 2206.02779); a canny
                adapter follows its edges. A document's own image is redrawn by models for
                inpainting only.
                blend: pixels of the result inside the boxes over which it fades from old to new; 0
                is a hard edge. Outside of them nothing changes.
                strength: in (0, 1]: begin from the picture, made as noisy as the last `strength`
                of the steps expect, and redraw all of it (SDEdit, arXiv 2108.01073).
                controls: one map for each ControlNet, PICTURE or PICTURE=WEIGHT; "canny:PICTURE"
                takes the edges of one.
                ip_image: PICTURE or PICTURE=WEIGHT for the IP-Adapter.

        Returns:
            All pictures of the first document, then those of the second, ...

        Raises:
            LavallamaError: a request that cannot be met, before anything is drawn.
        """
        return list(
            self.stream(
                prompts,
                images,
                size=size,
                batch=batch,
                strict=strict,
                progress=progress,
                **wishes,
            )
        )

    def stream(
        self,
        prompts: GroundedPrompt | Sequence[GroundedPrompt],
        images: int = 1,
        *,
        size: tuple[int, int] | None = None,
        batch: int = 1,
        strict: bool = False,
        progress: bool = True,
        **wishes: Unpack[Overrides],
    ) -> Iterator[Generation]:
        """Draw pictures and yield each as soon as it is done; arguments as in a call."""
        documents = [prompts] if isinstance(prompts, GroundedPrompt) else list(prompts)
        if images < 1 or batch < 1:
            raise LavallamaError(f"images and batch must be at least 1; got {images} and {batch}")
        say, wanted = notice(strict), Wishes.of(wishes)
        requests = [self._interpreter(one, size, wanted, say) for one in documents]
        jobs = [job for request in requests for job in request.jobs(images)]
        return self._draw_all(jobs, batch, progress)

    def _draw_all(self, jobs: list[Job], batch: int, progress: bool) -> Iterator[Generation]:
        total = sum(job.request.solver.settings.steps for job in jobs)
        # tqdm's disable=None shows the bar on a terminal only.
        with tqdm(total=total, unit="step", disable=None if progress else True) as bar:
            for neighbours in batches(jobs, batch):
                pictures = self._draw(neighbours, bar)
                for job, picture in zip(neighbours, pictures, strict=True):
                    yield Generation(image=picture, document=self._record(job))

    def _draw(self, jobs: list[Job], bar: tqdm) -> list[Image.Image]:
        start, length = bar.n, jobs[0].request.solver.settings.steps * len(jobs)

        def on_step(done: int, total: int, _: Tensor) -> None:
            bar.update(start + length * done // total - bar.n)

        return self._renderer(jobs, on_step)

    def _offloaded(self, device: torch.device) -> Offload:
        """What works together, one group after the other; the autoencoder, small, stays."""
        base, images = self.base, self.image_encoder
        at_steps = [base.unet, *([self.adapter] if self.adapter else []), *self.company.models]
        texts = [one for one in (base.text_encoder, base.text_encoder_2) if one is not None]
        pictures: list[torch.nn.Module] = [] if images is None else [images.model]
        if self.company.ip_adapter is not None:
            pictures.append(self.company.ip_adapter.encoder)
        vae: Any = base.vae
        vae.to(device)
        return Offload([group for group in (texts, pictures, at_steps) if group], device)

    def _record(self, job: Job) -> GroundedPrompt:
        """The document of one picture: given back, it draws the same again."""
        document = job.request.document
        model, adapter = self.names
        return document.replace(
            sampling=document.sampling.replace(seed=job.seed),
            provenance=Provenance(
                software=software(),
                model=model or None,
                adapter=adapter,
                device=self.device.type,
                dtype=str(self.dtype).removeprefix("torch."),
                attention=choose_backend(self.attention, self.device, self.dtype),
                index=job.index,
                settings={
                    "torch": torch.__version__,
                    **self.base.replaced,
                    **self.company.notes(),
                    **({TILED: True} if self.tile_vae else {}),
                    **job.request.notes,
                },
            ),
        )


def _tile(vae: Any) -> None:
    # AutoencoderTiny has tiles as well, but only for a factor of 8, and little need of them.
    if not isinstance(vae, AutoencoderKL):
        raise LavallamaError(
            f"tiles are for an AutoencoderKL, and {type(vae).__name__} needs little memory: leave "
            "them out (--tile-vae)"
        )
    vae.enable_tiling()
