"""`lavallama generate`, also `python -m pipelines.generate`: pictures from a prompt and boxes.

The same from Python is `Generator` (`pipelines.generation.generator`), which can be imported from
here too. It comes with torch and is imported when it is asked for, so that `--help`, a wrong option
and a broken file of boxes are answered at once.
"""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from grounding.errors import OutputError, PromptError
from pipelines.console import guarded, quiet_libraries
from pipelines.generation.options import PROG, generate_parser

if TYPE_CHECKING:
    from grounding.attention import Backend
    from grounding.prompt import GroundedPrompt
    from pipelines.generation.generator import Extras, Generator
    from pipelines.generation.picture import Generation

__all__ = ["Generation", "Generator", "main", "slug"]

OUT_FOLDER = Path("out")
SLUG_LENGTH = 40

log = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    """Import the Python API on first use (PEP 562)."""
    if name == "Generator":
        from pipelines.generation.generator import Generator

        return Generator
    if name == "Generation":
        from pipelines.generation.picture import Generation

        return Generation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = generate_parser().parse_args(argv)
    return guarded(PROG, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    document = _read_document(options)
    places = _places(options, document)
    _check_places(places)
    quiet_libraries()

    from tqdm import tqdm

    generator = _load_generator(options, document)
    document = _without_replaced(options, document)
    pictures = generator.stream(
        document,
        options.images,
        size=_size(options, document, generator),
        batch=options.batch,
        strict=options.strict,
        image=options.image,
        blend=options.blend,
        strength=options.strength,
        controls=options.control,
        ip_image=options.ip_image,
        seed=options.seed,
        steps=options.steps,
        guidance=options.guidance,
        schedule=options.schedule,
        scheduler=options.scheduler,
        isolate=options.isolate,
    )
    for picture, (path, overlay) in zip(pictures, places, strict=True):
        for written in picture.save(path, overlay):
            tqdm.write(str(written))
    return 0


def _read_document(options: argparse.Namespace) -> "GroundedPrompt":
    """Join what the options and the files they name say about the picture."""
    from grounding.prompt import GroundedPrompt
    from pipelines.generation.png import read_png
    from pipelines.generation.strange import check_named

    document = GroundedPrompt()
    if options.from_image is not None:
        document = read_png(options.from_image)
        check_named(options, document)
    if options.boxes is not None:
        boxes = _read_boxes(options)
        if options.from_image is not None:
            document = document.replace(regions=boxes.regions, relations=(), messages=())
        else:
            document = boxes
    document = _with_pictures(options, document)
    for name, text in (("prompt", options.prompt), ("negative_prompt", options.negative)):
        if text is not None:
            document = document.replace(**{name: _utf8(text, name)})
    if options.prompt is None and not document.prompt:
        raise PromptError('nothing says what to draw: give --prompt "TEXT"')
    return document


def _read_boxes(options: argparse.Namespace) -> "GroundedPrompt":
    from grounding.document_paths import place_beside
    from grounding.formats import load

    size = (options.width, options.height)
    canvas = None if None in size else size
    document = load(
        options.boxes,
        canvas=canvas,
        units=options.units,
        image=options.boxes_image,
        strict=options.strict,
    )
    if options.boxes.lstrip()[:1] in ("[", "{"):  # inline
        return document
    return place_beside(document, Path(options.boxes).parent)


def _with_pictures(options: argparse.Namespace, document: "GroundedPrompt") -> "GroundedPrompt":
    """The document with the pictures that the options name."""
    from grounding.prompt import Reference

    references = dict(options.reference or ())
    regions = [
        region.replace(reference=Reference(image=references.pop(region.id)))
        if region.id in references
        else region
        for region in document.regions
    ]
    if references:
        known = ", ".join(region.id for region in document.regions[:8]) or "none"
        raise PromptError(
            f"--reference: no region has the id {next(iter(references))!r}; the ids are: {known}"
        )
    if options.reference:
        document = document.replace(regions=regions)
    if options.map:
        document = document.replace(maps=document.maps.replace(**dict(options.map)))
    if options.image is not None:
        document = document.replace(image=options.image, files={})
    return document


def _utf8(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PromptError(f"the {name} is not valid UTF-8; type it in a UTF-8 terminal") from None
    return text


def _places(
    options: argparse.Namespace, document: "GroundedPrompt"
) -> list[tuple[Path, Path | None]]:
    """Where each picture, and its overlay, will go."""
    count = options.images
    path = _picture_path(options.out, document.prompt)
    overlay = Path(options.overlay) if options.overlay else path.with_suffix(".boxes.png")
    if overlay.suffix.lower() != ".png":
        raise OutputError(f"--overlay {overlay}: pictures are written as PNG; name it .png")
    wanted = options.overlay is not None or bool(document.regions)
    if options.no_overlay:
        wanted = False
    pictures = [_numbered(path, index, count) for index in range(count)]
    if not wanted:
        return [(picture, None) for picture in pictures]
    if options.overlay:
        overlays = [_numbered(overlay, index, count) for index in range(count)]
    else:
        overlays = [picture.with_suffix(".boxes.png") for picture in pictures]
    return list(zip(pictures, overlays, strict=True))


def _picture_path(out: str | None, prompt: str) -> Path:
    name = f"{slug(prompt)}.png"
    if out is None:
        return OUT_FOLDER / name
    path = Path(out)
    if out.endswith("/") or path.is_dir():
        return path / name
    if path.suffix.lower() != ".png":
        raise OutputError(
            f"--out {out}: pictures are written as PNG; name it {path.stem}.png, "
            f"or {path.name}/ for a folder"
        )
    return path


def slug(prompt: str) -> str:
    """A file name that says what was asked for: "A lava llama!" -> "a-lava-llama"."""
    words = re.sub(r"[^\w]+", "-", prompt.lower(), flags=re.UNICODE).strip("-_")
    return words[:SLUG_LENGTH].rstrip("-_") or "picture"


def _numbered(path: Path, index: int, count: int) -> Path:
    if count == 1:
        return path
    return path.with_name(f"{path.stem}-{index + 1:0{len(str(count))}d}{path.suffix}")


def _check_places(places: list[tuple[Path, Path | None]]) -> None:
    """Refuse a place that cannot be written before minutes of drawing, not after."""
    from grounding.files import check_writable

    paths: list[Path] = []
    for picture, overlay in places:
        paths += [picture, picture.with_suffix(".json"), *([overlay] if overlay else [])]
    same = next((path for path in paths if paths.count(path) > 1), None)
    if same is not None:
        raise OutputError(f"{same}: the picture and its overlay need different names")
    check_writable(paths)


def _size(
    options: argparse.Namespace, document: "GroundedPrompt", generator: "Generator"
) -> tuple[int, int] | None:
    """(width, height) if the user insists: by options, or by naming a picture to draw again.

    Of a picture that is redrawn inside boxes the document says more than one size.
    """
    from pipelines.generation.source_picture import drawn_size

    if options.width is None and options.height is None:
        again = options.from_image is not None and options.image is None
        if not again or document.canvas is None or drawn_size(document) is not None:
            return None
        return document.canvas.size
    frame = generator.frame
    return options.width or frame.width, options.height or frame.height


def _load_generator(options: argparse.Namespace, document: "GroundedPrompt") -> "Generator":
    from pipelines.device import choose_device
    from pipelines.generation.generator import NO_ADAPTER, Generator

    model, adapter = options.model, options.adapter
    dtype, attention = options.dtype, options.attention
    made = document.provenance
    if options.from_image is not None and made is not None:
        if model is None:
            model = made.model
            own = None if made.adapter == made.model else made.adapter or NO_ADAPTER
            adapter = adapter or own
        if choose_device(options.device).type == made.device:
            dtype = made.dtype if dtype == "auto" else dtype
            attention = made.attention if attention == "auto" else attention
        else:
            log.warning(
                "%s was made on %s: here it comes out close, not equal to the bit",
                options.from_image,
                made.device,
            )
    return Generator.from_pretrained(
        model or "embedded",
        adapter,
        device=options.device,
        dtype=dtype or "auto",
        attention=cast("Backend", attention or "auto"),
        offline=options.offline,
        image_encoder=options.image_encoder,
        **_extras(options, document),
    )


def _extras(options: argparse.Namespace, document: "GroundedPrompt") -> "Extras":
    """What to load beside the model: as the options say, else as the picture was drawn with."""
    from pipelines.generation.companions import notes

    made = document.provenance
    again = options.from_image is not None and made is not None
    settings = made.settings if again and made is not None else {}

    def names(kind: str, given: list[str] | None) -> tuple[str, ...]:
        return notes.listed(kind, settings) if given is None else tuple(given)

    parts = {part: getattr(options, part) for part in notes.PARTS}
    if options.model is None:  # the parts of a picture's model belong to that model
        parts = {part: given or _name(settings.get(part)) for part, given in parts.items()}
    adapters = names(notes.IP_ADAPTER, [options.ip_adapter] if options.ip_adapter else None)
    return {
        "loras": names(notes.LORA, options.lora),
        "embeddings": names(notes.EMBEDDING, options.embedding),
        "controlnets": names(notes.CONTROLNET, options.controlnet),
        "ip_adapter": adapters[0] if adapters else None,
        "vae": parts["vae"],
        "text_encoder": parts["text_encoder"],
        "tile_vae": options.tile_vae or bool(settings.get(notes.TILED)),
        "offload": options.offload,
    }


def _name(setting: object) -> str | None:
    return None if setting is None else str(setting)


def _without_replaced(options: argparse.Namespace, document: "GroundedPrompt") -> "GroundedPrompt":
    """The document without mention of what the options put something else in place of."""
    from pipelines.generation.companions import notes

    made = document.provenance
    if made is None:
        return document
    given = (options.lora, options.embedding, options.controlnet, options.ip_adapter)
    replaced = [
        key
        for kind, names in zip(notes.KINDS, given, strict=True)
        if names is not None
        for key in notes.numbered(kind, notes.listed(kind, made.settings))
    ]
    kept = {key: value for key, value in made.settings.items() if key not in replaced}
    return document.replace(provenance=made.replace(settings=kept))


if __name__ == "__main__":
    sys.exit(main())
