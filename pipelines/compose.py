"""`lavallama compose`, also `python -m pipelines.compose`: draw, look, repair, until it is right.

The same from Python: `pipelines.composition.composer.Composer`, with `open_hand` and `open_eye`
from here.
"""

import argparse
import base64
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounding.errors import PromptError
from pipelines.composition.options import PROG, compose_options
from pipelines.console import guarded, quiet_libraries

if TYPE_CHECKING:
    from PIL import Image

    from grounding.planning.scene_graph import SceneGraph
    from grounding.prompt import GroundedPrompt
    from pipelines.composition.composer import Look, Step
    from pipelines.composition.trace import Trace

__all__ = ["main", "open_eye", "open_hand"]

EXIT_DIFFERENT = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0; 1 if a replay came out otherwise; 2 after a one-line error.
    """
    options = compose_options(argv)
    run = _replay if options.replay is not None else _run
    return guarded(PROG, lambda: run(options))


def open_hand(made_with: dict[str, Any], *, device: str = "auto", offline: bool = False) -> Any:
    """Open what draws: from a document and a seed; perhaps a picture to redraw in its boxes.

    Args:
        made_with: "generator", "adapter", "vae" and "text_encoder" by name, "steps" and
            "guidance"; absent: defaults.
        device: "auto", "cpu", "cuda", ...
        offline: Never use the network.

    Raises:
        LavallamaError: it cannot be had.
    """
    from pipelines.generation.generator import Generator

    generator = Generator.from_pretrained(
        made_with.get("generator") or "embedded",
        made_with.get("adapter"),
        device=device,
        offline=offline,
        vae=made_with.get("vae"),
        text_encoder=made_with.get("text_encoder"),
    )

    def draw(
        document: "GroundedPrompt",
        seed: int,
        source: "Image.Image | None",
    ) -> "Image.Image":
        [drawn] = generator(
            document.replace(provenance=None),
            seed=seed,
            steps=made_with.get("steps"),
            guidance=made_with.get("guidance"),
            image=None if source is None else _data_uri(source),
            progress=False,
        )
        return drawn.image

    return draw


def open_eye(made_with: dict[str, Any], *, device: str = "auto", offline: bool = False) -> "Look":
    """Open what looks: a SEEM; the embedded one is helped by the embedded model of phrases.

    Args:
        made_with: "finder" by name; absent: the embedded SEEM.
        device: "auto", "cpu", "cuda", ...
        offline: Never use the network.

    Raises:
        LavallamaError: it cannot be had.
    """
    from grounding.planning.lexicon import ATTRIBUTES
    from grounding.stickers.world import PRESETS
    from pipelines.composition.likeness import SecondLook
    from pipelines.composition.looker import Looker
    from pipelines.device import choose_device
    from pipelines.retrieval.phrase_embedder import open_phrase_embedder
    from pipelines.segmentation.segmenter import open_predictor
    from weights.registry import EMBEDDED, STICKERS

    name = made_with.get("finder") or EMBEDDED
    own = name == EMBEDDED
    predictor = open_predictor(STICKERS if own else name, device=device, offline=offline)
    if not own:
        return Looker(predictor, attributes=ATTRIBUTES)
    first = Looker(predictor, attributes={"material": PRESETS["small"].materials})
    return SecondLook(look=first, embedder=open_phrase_embedder(choose_device(device)))


def _run(options: argparse.Namespace) -> int:
    from grounding.files import check_writable
    from pipelines.composition.composer import Composer, best_of
    from pipelines.composition.trace import NAME, trace_of, write_step

    folder = _folder(options)
    check_writable([folder / NAME])
    plan, graph = _plan(options)
    quiet_libraries()
    made_with = _made_with(options)
    where: dict[str, Any] = {"device": options.device, "offline": options.offline}
    composer = Composer(
        draw=open_hand(made_with, **where),
        look=open_eye(made_with, **where),
        pictures=options.pictures,
        moves=options.boxes is None,
    )
    steps: list[Step] = []
    for step in composer(plan, graph, seed=options.seed):
        steps.append(step)
        write_step(folder, trace_of(options.caption, steps, made_with), steps)
        print(_line(len(steps) - 1, step), flush=True)
    best = best_of(steps)
    told = "; ".join(steps[best].verdict.told) or "as asked"
    print(f"the best of {len(steps)} is step {best}: {told}")
    print(folder / "picture.png")
    print(folder / NAME)
    return 0


def _replay(options: argparse.Namespace) -> int:
    """Draw every step again, and compare pictures and verdicts."""
    from grounding.planning.caption import read_caption
    from grounding.stickers.vocabulary import CONCEPTS
    from pipelines.composition.composer import Composer, fingerprint
    from pipelines.composition.trace import Trace, write_step

    trace = Trace.load(options.replay)
    quiet_libraries()
    where: dict[str, Any] = {"device": options.device, "offline": options.offline}
    made_with = dict(trace.made_with)
    composer = Composer(draw=open_hand(made_with, **where), look=open_eye(made_with, **where))
    graph = read_caption(trace.caption, CONCEPTS)
    steps: list[Step] = []
    different = 0
    for number, recorded in enumerate(trace.steps):
        step = composer.carry_out(recorded.order(), graph, steps)
        steps.append(step)
        same = fingerprint(step.image) == recorded.sha256
        alike = step.verdict.told == recorded.findings
        told = "the same bits" if same else "another picture"
        told += "" if alike else ", another verdict"
        different += not (same and alike)
        print(f"{number} {recorded.action}: {told}", flush=True)
        if options.out is not None:
            write_step(Path(options.out), _part(trace, steps), steps)
    if different:
        print(_explain(trace, different))
    return EXIT_DIFFERENT if different else 0


def _part(trace: "Trace", steps: "list[Step]") -> "Trace":
    from pipelines.composition.trace import trace_of

    return trace_of(trace.caption, steps, trace.made_with)


def _explain(trace: "Trace", different: int) -> str:
    import torch

    made = trace.made_with.get("torch")
    reason = f"; it was made with torch {made}, this is {torch.__version__}"
    return f"{different} of {len(trace.steps)} steps differ" + (
        reason if made != torch.__version__ else "; bits depend on the machine and its threads"
    )


def _plan(options: argparse.Namespace) -> "tuple[GroundedPrompt, SceneGraph]":
    """The layout, and what is asked for."""
    from grounding.document_paths import place_beside
    from grounding.formats import load
    from grounding.planning.caption import read_caption
    from grounding.stickers.vocabulary import CONCEPTS
    from pipelines.plan import open_planner, report

    if options.boxes is None:
        plan = open_planner(options).plan(options.caption, seed=options.seed)
        report(plan)
        return plan.document, plan.graph
    document = load(options.boxes, units=options.units)
    if options.boxes.lstrip()[:1] not in ("[", "{"):  # a file
        document = place_beside(document, Path(options.boxes).parent)
    if not any(region.phrase.strip() and region.bounds() for region in document.regions):
        raise PromptError(f"{options.boxes}: has no region with a phrase and a box to look for")
    graph = read_caption(options.caption, CONCEPTS)
    return document.replace(prompt=options.caption), graph


def _made_with(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    return {
        "generator": options.generator,
        "adapter": options.adapter,
        "vae": options.vae,
        "text_encoder": options.text_encoder,
        "finder": options.finder,
        "steps": options.steps,
        "guidance": options.guidance,
        "torch": torch.__version__,
    }


def _folder(options: argparse.Namespace) -> Path:
    from pipelines.generate import slug

    return Path("out") / slug(options.caption) if options.out is None else Path(options.out)


def _line(number: int, step: "Step") -> str:
    order, verdict = step.order, step.verdict
    drawn = ", ".join(order.regions) if order.action == "redraw" else "all"
    told = "; ".join(verdict.told) or "as asked"
    return f"{number} {order.action} {drawn} (seed {order.seed}, {step.seconds:.1f} s): {told}"


def _data_uri(image: "Image.Image") -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


if __name__ == "__main__":
    sys.exit(main())
