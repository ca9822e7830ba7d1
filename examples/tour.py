"""One document through everything: ``python -m examples.tour``.

    chat -> plan -> generate -> segment -> edit -> chat

LLaVA says what it sees on a picture; what it says is planned, drawn, found again and
edited; and LLaVA is asked about the result. Each step takes what the last one returned. The models
are opened once, and nothing needs a network. ``--prompt`` says what to draw in LLaVA's place.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from grounding.llava.chat import Speaker
from grounding.llava.document import with_question
from grounding.picture_file import open_picture
from grounding.prompt import Canvas, GroundedPrompt, Segment
from pipelines.console import guarded, quiet_libraries
from pipelines.conversation.speaker import ask, open_speaker
from pipelines.edit.session import EditSession
from pipelines.edit.studio import Studio
from pipelines.generate import Generator
from pipelines.planning.form import StickerForm
from pipelines.planning.planner import Planner
from pipelines.segmentation.segmenter import open_predictor
from weights.registry import EMBEDDED

SHOWN = Path(__file__).parent / "fox_and_house.png"  # drawn by the embedded model


def main() -> int:
    """Take the tour; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.tour", description="Take one document through everything."
    )
    parser.add_argument("--prompt", help="what to draw (default: what LLaVA sees)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/tour"), help="a folder")
    options = parser.parse_args()
    return guarded("tour", lambda: _run(options))


@dataclass
class Clock:
    """Tells what a step took."""

    began: float = field(default_factory=time.perf_counter)

    def __call__(self, step: str, said: str) -> None:
        """Print a step, in seconds since the last one."""
        now = time.perf_counter()
        print(f"{step:9} {now - self.began:5.1f} s  {said}", flush=True)
        self.began = now


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    clock, seed = Clock(), options.seed
    speaker = open_speaker(EMBEDDED)
    planner = Planner(speaker=speaker, form=StickerForm(), name=EMBEDDED)
    studio = Studio(drawing=Generator.from_pretrained(), finding=open_predictor())
    clock("open", "the models")

    shown = open_picture(SHOWN)
    document = GroundedPrompt(canvas=Canvas(width=shown.width, height=shown.height))
    document = _asked(speaker, document, "Describe the image.", shown)
    clock("chat", _last(document))

    document = planner.plan(options.prompt or _last(document), seed=seed).document
    clock("plan", ", ".join(f"{region.phrase} {region.box}" for region in document.regions))

    [drawn] = studio.generator(document, seed=seed, progress=False)
    picture, document = drawn.image, drawn.document
    clock("generate", f"{document.prompt}: {picture.width} x {picture.height} pixels")

    studio.predictor.set_image(picture)
    document = document.replace(segment=Segment(mode="referring"))
    document = studio.predictor.predict_document(document)
    clock("segment", ", ".join(f"{one.phrase} {one.score:.2f}" for one in document.regions))

    session = EditSession(picture, document, studio=studio)
    [first] = session.select(document.regions[0].id)
    session.move_to(0.33, 0.45, first.id)
    session.add("ice cat", (0.66, 0.56, 0.96, 0.94), seed=seed)
    picture, document = session.picture, session.document
    clock("edit", f"{len(session.history.steps)} steps: {document.prompt}")

    for question in ("How many objects are in the image?", "What is the cat made of?"):
        document = _asked(speaker, document, question, picture)
        clock("chat", f"{question} {_last(document)}")
    record = options.out / "tour.json"
    for path in session.save(options.out):
        print(path)
    document.replace(image="edited.png").save(record)
    print(record)
    return 0


def _asked(
    speaker: Speaker, document: GroundedPrompt, question: str, picture: Image.Image
) -> GroundedPrompt:
    """The document with a question, and its answer."""
    return ask(speaker, with_question(document, question), picture)


def _last(document: GroundedPrompt) -> str:
    """The last answer."""
    contents = document.messages[-1].content if document.messages else ()
    return " ".join(content.text for content in contents if content.type == "text")


if __name__ == "__main__":
    sys.exit(main())
