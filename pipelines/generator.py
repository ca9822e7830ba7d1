"""Generator: pictures from prompt documents.

    generator = Generator.from_pretrained()
    [picture] = generator(GroundedPrompt(prompt="lava llama", regions=regions), seed=7)
    picture.save("llama.png")

Axes: B pictures drawn together, C latent channels, h x w latent cells.
Every picture has its own random generator, on the CPU: a seed means the same noise on every device
and beside whatever other pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gligen.adapter import GligenAdapter
from gligen.inject import route_attention
from gligen.sampler import Condition, initial_noise, make_scheduler, sample
from grounding.attention import Backend, choose_backend
from grounding.errors import LavallamaError
from grounding.prompt import Canvas, GroundedPrompt, Maps, Provenance, Sampling
from pipelines.defaults import GENERATION_KEY, model_defaults
from pipelines.device import choose_device, choose_dtype
from pipelines.frame import Frame
from pipelines.grounder import Grounder
from pipelines.layout import Notice, notice
from pipelines.original import Original, picture_condition
from pipelines.picture import Generation
from pipelines.request import Grounding, Job, Request, Solver, batches
from pipelines.source_picture import (
    BLEND_KEY,
    INPAINTED_KEY,
    SOURCE_KEY,
    blend_of,
    read_picture,
    starting_picture,
)
from pipelines.text import TextReader, Words
from weights.base import BaseModel, load_base
from weights.gligen import load_adapter
from weights.image_encoder import ImageEncoder, find_image_encoder

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    class SamplingOverrides(TypedDict, total=False):
        """Keyword arguments that win over a document's own `sampling`."""

        seed: int | None
        steps: int | None
        guidance: float | None
        schedule: tuple[float, float, float] | None
        scheduler: str | None


__all__ = ["NO_ADAPTER", "Generator"]

NO_ADAPTER = "none"  # as an adapter's name: draw without gates even if the model has its own


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
    """

    base: BaseModel
    adapter: GligenAdapter | None = None
    attention: Backend = "auto"
    names: tuple[str, str | None] = ("", None)
    ignore_boxes: bool = False
    image_encoder: ImageEncoder | None = None
    defaults: Sampling = field(init=False)
    frame: Frame = field(init=False)

    def __post_init__(self) -> None:
        self.defaults = model_defaults(self.base.scheduler_config)
        config = self.base.scheduler_config
        self._process = {key: value for key, value in config.items() if key != GENERATION_KEY}
        self.frame = Frame.of(self.base.unet, self.base.vae)
        self._reader = TextReader.of(self.base)
        choose_backend(self.attention, self.device, self.dtype)
        if self.adapter is not None and not self.adapter.is_injected:
            self.adapter.inject(self.base.unet, attention=self.attention)
        if self.adapter is None and self.attention != "auto":
            route_attention(self.base.unet, self.attention)
        self._grounder = None
        if self.adapter is not None:
            self._grounder = Grounder(self.adapter, self._reader, self.image_encoder)

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
    ) -> Generator:
        """Load a model by name.

        Args:
            model: "embedded", a diffusers folder, a single-file checkpoint or a hub id.
            adapter: a GLIGEN adapter in any layout, by path or hub id; None takes the model's own
                if it has one; "none" takes none.
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            dtype: "auto" (float16 on CUDA, else float32), "float32", "float16", "bfloat16".
            attention: "auto" (xformers on CUDA where installed, else sdpa), or one by name.
            offline: never use the network.
            image_encoder: of reference pictures: a folder or hub id; None takes the adapter's or
                the model's own if there is one.

        Raises:
            LavallamaError: anything of this that cannot be had, in one line.
        """
        where = choose_device(device)
        choose_backend(attention, where)
        precision = choose_dtype(dtype, where)
        base = load_base(model, device=where, dtype=precision, offline=offline)
        source = base.adapter_source if adapter is None else adapter
        gates = None
        if source is not None and str(source) != NO_ADAPTER:
            gates = load_adapter(source, base.unet, offline=offline)
        images = None
        if gates is not None and gates.config.modality == "text_image":
            images = find_image_encoder(
                image_encoder, (source, model), device=where, dtype=precision, offline=offline
            )
        return cls(
            base=base,
            adapter=gates,
            attention=attention,
            names=(str(model), None if gates is None else str(adapter or model)),
            ignore_boxes=adapter is not None and str(adapter) == NO_ADAPTER,
            image_encoder=images,
        )

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return next(self.base.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet's parameters."""
        return next(self.base.unet.parameters()).dtype

    def __call__(
        self,
        prompts: GroundedPrompt | Sequence[GroundedPrompt],
        images: int = 1,
        *,
        size: tuple[int, int] | None = None,
        batch: int = 1,
        strict: bool = False,
        progress: bool = True,
        image: str | None = None,
        blend: int | None = None,
        **sampling: Unpack[SamplingOverrides],
    ) -> list[Generation]:
        """Draw pictures; `stream` gives them one after the other.

        Args:
            prompts: one document or several, each with its own words, boxes and sampling.
            images: how many of each; picture i of a document uses its seed + i.
            size: (width, height) in pixels; default the document's canvas if the model can draw
                it, else the model's own.
            batch: how many to draw at once. At 1 a picture is the same to the bit whatever is
                drawn beside it; more is faster on a GPU and changes the last bits.
            strict: raise instead of warning about what cannot be used as it stands.
            progress: show a bar on a terminal.
            image: path or data URI of a picture to start from, in place of the documents': it is
                redrawn inside the boxes and kept outside, whatever the adapter for boxes, by
                Blended Latent Diffusion (Avrahami et al., arXiv 2206.02779); a canny adapter
                follows its edges. A document's own image is redrawn by models for inpainting only.
            blend: pixels inside the boxes over which an inpainted picture fades from old to new;
                default the document's, else 0, a hard edge. Outside of them nothing changes.
            sampling: seed, steps, guidance, schedule, scheduler: these win over the documents'.

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
                image=image,
                blend=blend,
                **sampling,
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
        image: str | None = None,
        blend: int | None = None,
        **sampling: Unpack[SamplingOverrides],
    ) -> Iterator[Generation]:
        """Draw pictures and yield each as soon as it is done; arguments as in a call."""
        documents = [prompts] if isinstance(prompts, GroundedPrompt) else list(prompts)
        if image is not None:
            documents = [one.replace(image=image, files={}) for one in documents]
        if images < 1 or batch < 1:
            raise LavallamaError(f"images and batch must be at least 1; got {images} and {batch}")
        if blend is not None and blend < 0:
            raise LavallamaError(f"blend is a number of pixels, 0 or more; got {blend}")
        say, wanted = notice(strict), Sampling.model_validate(sampling)
        requests = [
            self._understand(one, size, wanted, image is not None, blend, say) for one in documents
        ]
        jobs = [job for request in requests for job in request.jobs(images)]
        return self._draw_all(jobs, batch, progress)

    def _understand(
        self,
        document: GroundedPrompt,
        size: tuple[int, int] | None,
        wanted: Sampling,
        from_picture: bool,
        blend: int | None,
        say: Notice,
    ) -> Request:
        sampling = wanted.filled(document.sampling).filled(self.defaults)
        config = None if self.adapter is None else self.adapter.config
        start = starting_picture(
            config, document, asked=from_picture, base_inpaints=self.base.inpaints
        )
        picture = read_picture(start.name) if start is not None and start.inpaints else None
        canvas = document.canvas
        if picture is not None:
            canvas = Canvas(width=picture.width, height=picture.height)
        width, height = self.frame.size(size, canvas, say)
        grounding = None
        if self._grounder is None:
            self._refuse_boxes(document, say)
        else:
            grounding = self._grounder(document, (width, height), say)
        notes: dict[str, str | int] = {} if start is None else {SOURCE_KEY: start.name}
        original = None
        if picture is not None:
            blend = blend_of(document) if blend is None else blend
            boxes = [box for region in document.regions if (box := region.bounds()) is not None]
            original = Original.of(picture, boxes, self.base, (width, height), blend)
            notes |= {INPAINTED_KEY: 1, **({BLEND_KEY: blend} if blend else {})}
        return Request(
            document=document.replace(
                canvas=Canvas(width=width, height=height), sampling=sampling, image=None, files={}
            ),
            size=(width, height),
            solver=Solver.of(sampling),
            positive=self._reader.prompt(document.prompt, say, (width, height)),
            negative=self._reader.negative(document.negative_prompt, say, (width, height)),
            grounding=grounding,
            original=original,
            notes=notes,
        )

    def _refuse_boxes(self, document: GroundedPrompt, say: Notice) -> None:
        if not document.regions and document.maps == Maps():
            return
        problem = f"{self.names[0] or 'this model'} has no GLIGEN gates, so boxes have no effect"
        if self.base.inpaints:
            say(f"{problem} but to say where the picture is redrawn")
            return
        if not self.ignore_boxes:
            raise LavallamaError(f"{problem}; name an adapter, or leave the boxes out")
        say(problem)

    def _draw_all(self, jobs: list[Job], batch: int, progress: bool) -> Iterator[Generation]:
        total = sum(job.request.solver.settings.steps for job in jobs)
        # tqdm's disable=None shows the bar on a terminal only.
        with tqdm(total=total, unit="step", disable=None if progress else True) as bar:
            for neighbours in batches(jobs, batch):
                pictures = self._draw(neighbours, bar)
                for job, picture in zip(neighbours, pictures, strict=True):
                    yield Generation(image=picture, document=self._record(job))

    def _draw(self, jobs: list[Job], bar: tqdm) -> list[Image.Image]:
        requests = [job.request for job in jobs]
        solver = requests[0].solver
        start, length = bar.n, solver.settings.steps * len(jobs)

        def on_step(done: int, total: int, _: Tensor) -> None:
            bar.update(start + length * done // total - bar.n)

        generators = [torch.Generator("cpu").manual_seed(job.seed) for job in jobs]
        noise = initial_noise(generators, self.frame.latent_shape(requests[0].size))
        layouts = [request.grounding for request in requests if request.grounding is not None]
        originals = [request.original for request in requests if request.original is not None]
        tokens, negative_tokens = self._tokens(layouts)
        latents = sample(
            self.base.unet,
            make_scheduler(solver.scheduler, self._process),
            noise.to(self.device),
            Condition(
                **vars(Words.together([request.positive for request in requests])),
                tokens=tokens,
                extra=self._extra(layouts, noise),
                **picture_condition(originals, generators),
            ),
            Condition(
                **vars(Words.together([request.negative for request in requests])),
                tokens=negative_tokens,
            ),
            settings=solver.settings,
            adapter=self.adapter,
            on_step=on_step,
        )
        drawn = [self._decode(one) for one in latents.split(1)]
        if not originals:
            return drawn
        return [old.composed(new) for old, new in zip(originals, drawn, strict=True)]

    def _tokens(self, layouts: list[Grounding]) -> tuple[Tensor | None, Tensor | None]:
        """Grounding tokens of both halves of the guidance; None for no region at all."""
        if self._grounder is None or not layouts:
            return None, None
        return self._grounder.tokens(layouts), self._grounder.negative_tokens(layouts)

    @torch.no_grad()
    def _extra(self, layouts: list[Grounding], noise: Tensor) -> Tensor | None:
        maps = [layout.maps for layout in layouts if layout.maps is not None]
        if self.adapter is None or not maps:
            return None
        return self.adapter.extra_channels(torch.cat(maps), *noise.shape[-2:])

    @torch.no_grad()
    def _decode(self, latents: Tensor) -> Image.Image:
        """Latents [1, C, h, w] to a picture; one at a time, so neighbours change no bit."""
        vae: Any = self.base.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        latents = latents / vae.config.scaling_factor + shift
        latents = latents.to(next(vae.parameters()).dtype)  # of SDXL not the UNet's in float16
        pixels = vae.decode(latents, return_dict=False)[0]
        pixels = pixels.float().add(1).mul(127.5).round().clamp(0, 255)
        return Image.fromarray(pixels[0].permute(1, 2, 0).byte().cpu().numpy(), "RGB")

    def _record(self, job: Job) -> GroundedPrompt:
        """The document of one picture: given back, it draws the same again."""
        document = job.request.document
        model, adapter = self.names
        return document.replace(
            sampling=document.sampling.replace(seed=job.seed),
            provenance=Provenance(
                software=_software(),
                model=model or None,
                adapter=adapter,
                device=self.device.type,
                dtype=str(self.dtype).removeprefix("torch."),
                attention=choose_backend(self.attention, self.device, self.dtype),
                index=job.index,
                settings={"torch": torch.__version__, **job.request.notes},
            ),
        )


def _software() -> str:
    try:
        return f"lavallama {version('lavallama')}"
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "lavallama"
