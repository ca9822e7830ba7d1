"""`lavallama plan`, also `python -m pipelines.plan`: from a caption to a layout.

The same from Python: `pipelines.planning.planner.Planner`.
"""

import argparse
import io
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grounding.errors import OutputError
from pipelines.console import guarded, quiet_libraries
from pipelines.planning.options import PROG, plan_options

if TYPE_CHECKING:
    from grounding.prompt import GroundedPrompt
    from pipelines.planning.planner import Plan, Planner

__all__ = ["main", "open_planner", "report"]

SKETCH = 512  # pixels a side
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = plan_options(argv)
    return guarded(PROG, lambda: _run(options))


def open_planner(options: argparse.Namespace) -> "Planner":
    """Open who lays out, as the options of `planner_options` say.

    Raises:
        LavallamaError: a model that was asked for cannot be had.
    """
    from pipelines.planning.planner import RULES, Planner

    if options.planner == RULES or (options.planner == "auto" and options.model is None):
        return Planner()
    quiet_libraries()

    from pipelines.conversation.text_speaker import open_text_speaker
    from pipelines.planning.form import LgdForm, StickerForm
    from weights.registry import EMBEDDED

    name = options.model or EMBEDDED
    own = name == EMBEDDED
    speaker = open_text_speaker(
        name,
        served_model=options.served_model,
        key_variable=options.key_variable,
        device=options.device,
        dtype=options.dtype,
        offline=options.offline,
    )
    return Planner(
        speaker=speaker,
        form=StickerForm() if own else LgdForm(),
        name=options.served_model or name,
        attempts=options.attempts,
    )


def report(plan: "Plan") -> None:
    """Print who laid out what where, and tell what was not understood or had to be mended."""
    for words in plan.graph.unread:
        log.warning("not understood, and left to the picture: %r", words)
    for failure in plan.failures:
        log.warning("an answer was not taken: %s", failure)
    if plan.failures and plan.planner == "rules":
        log.warning("the model gave no layout: rules laid out")
    for bond in plan.graph.bonds:
        print(f"asked: {plan.graph.say(bond)}")
    if plan.graph.absent:
        print(f"asked: no {', no '.join(plan.graph.absent)}")
    for repair in plan.repairs:
        print(f"mended: {repair}")
    print(f"laid out by {plan.planner}:")
    for region in plan.document.regions:
        print(f"  {region.id} {region.phrase} {json.dumps(region.box)}")


def sketch(document: "GroundedPrompt") -> bytes:
    """A layout as a picture, PNG."""
    from PIL import Image

    from grounding.draw import draw_regions

    canvas = document.canvas.size if document.canvas else (SKETCH, SKETCH)
    buffer = io.BytesIO()
    draw_regions(Image.new("RGB", canvas, "white"), document).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _run(options: argparse.Namespace) -> int:
    from grounding.files import check_writable, write_files

    out = _place(options)
    picture = out.with_suffix(".png")
    check_writable([out, picture])
    plan = open_planner(options).plan(options.caption, seed=options.seed)
    report(plan)
    text = json.dumps(plan.document.to_dict(), indent=2, ensure_ascii=False) + "\n"
    write_files({out: text.encode(), picture: sketch(plan.document)}, last=out)
    print(out)
    print(picture)
    return 0


def _place(options: argparse.Namespace) -> Path:
    from pipelines.generate import slug

    if options.out is None:
        return Path("out") / f"{slug(options.caption)}.layout.json"
    path = Path(options.out)
    if path.suffix.lower() != ".json":
        raise OutputError(f"--out {options.out}: layouts are written as JSON; name it .json")
    return path


if __name__ == "__main__":
    sys.exit(main())
