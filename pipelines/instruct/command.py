"""`lavallama instruct`, also `python -m pipelines.instruct`: captions -> instruction data."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, endpoint_flags, offline_flag, strict_flag
from weights.hub_place import is_endpoint

if TYPE_CHECKING:
    from grounding.llava.chat import Speaker
    from grounding.llava.instruct.scene import Scene
    from pipelines.hand_edits import HandEdits
    from pipelines.instruct.teaching import Teaching

__all__ = ["main"]

PROG = "lavallama instruct"
KINDS = "conversation,detail,reasoning"
MOST_REQUESTS = 256
EPILOG = """\
CAPTIONS:
  captions_mine.json      COCO captions, with --instances for the objects
  annotated               what `lavallama annotate` made
  documents.jsonl         a prompt document a line
  FOLDER                  pictures with a document of their name beside each

examples:
  lavallama instruct annotated --out mine.jsonl --model Qwen/Qwen2.5-7B-Instruct
  lavallama instruct captions_mine.json --instances instances_mine.json --out mine.jsonl \\
    --model http://127.0.0.1:8000/v1 --served-model NAME --requests 16

The teacher reads words alone: captions and, for detail and reasoning, where objects are. Answers
that speak of captions or boxes, that are unsure, or that name objects which are not there are left
out, and so is what was said before. FILE.report.json says how much, and why. A run that was stopped
goes on where it was; the teacher's words are kept in FILE.journal.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = _parser().parse_args(argv)
    return guarded(PROG, lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} CAPTIONS --out FILE.jsonl --model MODEL [options]",
        description="Have a language model write conversations about pictures it only reads of.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("captions", metavar="CAPTIONS", type=Path, help="see below")
    add("--out", metavar="FILE.jsonl", type=Path, required=True, help="a record a line")
    add("--instances", metavar="FILE", type=Path, help="COCO instances, for COCO captions")
    add("--images", metavar="FOLDER", type=Path, help="below which pictures are named")
    strict_flag(parser)
    add("--kinds", default=KINDS, help=f"what is written; default {KINDS}")
    add("--objects", metavar="FILE", type=Path,
        help="further names of objects that must not be invented, a line each")  # fmt: skip
    group = parser.add_argument_group("the teacher")
    add = group.add_argument
    add("--model", metavar="MODEL", required=True, help="folder, hub id, or http(s)://HOST/v1")
    endpoint_flags(group)
    add("--requests", metavar="N", type=int, default=8, help="to an endpoint at once; default 8")
    add("--tries", metavar="N", type=int, default=3, help="until something is kept; default 3")
    add("--max-tokens", metavar="N", type=int, default=1024, help="of an answer; default 1024")
    add("--temperature", metavar="T", type=float, default=0.7, help="default 0.7; 0: no chance")
    add("--top-p", metavar="P", type=float, default=0.95, help="default 0.95")
    add("--seed", metavar="N", type=int, default=0, help="of the sampling")
    device_flag(group)
    offline_flag(group, "for files")
    return parser


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    from tqdm import tqdm

    from grounding.drops import Drops
    from grounding.errors import LavallamaError
    from grounding.files import check_writable
    from pipelines.hand_edits import HandEdits
    from pipelines.instruct.sources import read_scenes
    from pipelines.instruct.teaching import Teaching, tasks_of
    from pipelines.journal import Journal
    from pipelines.run_record import open_run

    _check(options)
    kinds = [kind for kind in options.kinds.split(",") if kind]
    if not kinds or (unknown := [kind for kind in kinds if kind not in KINDS.split(",")]):
        raise LavallamaError(f"--kinds takes {KINDS}; got {', '.join(unknown) or 'nothing'}")
    read = Drops()
    scenes = read_scenes(options.captions, options.instances, options.images, read)
    if not scenes:
        raise LavallamaError(
            f"{options.captions}: expected pictures with captions; found none{read.why()}"
        )
    if options.strict:
        read.refuse(options.captions)
    work = options.out.with_name(f"{options.out.name}.journal")
    check_writable([options.out])
    tasks = tasks_of(scenes, kinds)
    teaching = Teaching(
        objects=_objects(scenes, options.objects),
        decoding=_decoding(options),
        tries=options.tries,
        requests=options.requests if is_endpoint(options.model) else 1,
    )
    answers = work / "answers.jsonl"
    with (
        open_run(work / "settings.json", elsewhere="--out", work=(answers.name,)) as record,
        Journal(answers) as journal,
    ):
        record.settle(_identity(options))
        known = {key: entry.digest for key, entry in journal.entries.items()}
        missing = [task for task in tasks if known.get(task.key) != task.digest()]
        done = teaching.run(_open(options), missing, journal) if missing else ()
        for _ in tqdm(done, total=len(missing), unit="answer", disable=None):
            continue
        _write(options.out, tasks, teaching, journal, read, HandEdits(work / "written.json"))
    return 0


def _write(
    out: Path, tasks: Sequence, teaching: "Teaching", journal, read, edits: "HandEdits"
) -> None:
    """Write the records and the report, and tell; what people changed in the records stays."""
    from grounding.drops import DROPPED, Drops
    from grounding.files import write_files
    from grounding.llava.instruct.duplicates import Seen
    from grounding.llava.records import written

    drops, seen = Drops(), Seen()
    found = (teaching.record(task, journal.entries[task.key], drops, seen) for task in tasks)
    records = {record.id: written(record) for record in found if record is not None}
    theirs = edits.lines(out, "id", records.get)
    for name, record in records.items():
        edits.note_line(out, name, record)
    lines = {**records, **theirs.changed}
    text = "".join(
        f"{json.dumps(line, ensure_ascii=False)}\n"
        for name, line in lines.items()
        if name not in theirs.removed
    )
    report = {
        "records": drops.pictures,
        "answers": drops.regions,
        "dropped_records": dict(drops.lost_pictures.most_common()),
        "dropped_answers": dict(drops.lost_regions.most_common()),
        "changed_by_hand": len(theirs.changed),
        "taken_out_by_hand": len(theirs.removed),
        "such_as": drops.named,
        "pictures": read.report(),
    }
    read.write(out.with_name(f"{out.name}.unread.jsonl"))
    drops.write(out.with_name(f"{out.name}.{DROPPED}"))
    told = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    write_files(
        {
            out.with_name(f"{out.name}.report.json"): told.encode(),
            out: text.encode(),
            edits.store: edits.write,
        }
    )
    print(f"{drops.pictures} records with {drops.regions} answers")
    if theirs.changed or theirs.removed:
        print(
            f"by hand: {len(theirs.changed)} changed, {len(theirs.removed)} taken out; they stay so"
        )
    for what, lost in (("records", drops.lost_pictures), ("answers", drops.lost_regions)):
        for reason, count in lost.most_common():
            print(f"dropped {count} {what}: {reason} (such as {drops.named[reason][0]})")
    print(out)


def _open(options: argparse.Namespace) -> "Speaker":
    from pipelines.conversation.speaker import open_speaker
    from pipelines.device import choose_device, choose_dtype
    from weights.language_model import load_text_chat

    if is_endpoint(options.model):
        return open_speaker(
            options.model, served_model=options.served_model, key_variable=options.key_variable
        )
    where = choose_device(options.device)
    dtype = choose_dtype("auto", where)
    return load_text_chat(options.model, device=where, dtype=dtype, offline=options.offline)


def _decoding(options: argparse.Namespace):
    from grounding.llava.decoding import Decoding

    return Decoding(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )


def _objects(scenes: "Sequence[Scene]", extra: Path | None):
    """Names of the data, COCO's, and those that are given."""
    from grounding.jsonfile import read_text
    from grounding.llava.instruct.faithfulness import Objects
    from seem.coco_classes import COCO_CLASSES

    given = [] if extra is None else read_text(extra).splitlines()
    own = {noun for scene in scenes for noun in scene.nouns}
    return Objects([*own, *COCO_CLASSES.things, *given])


def _identity(options: argparse.Namespace) -> dict[str, object]:
    """What the teacher's words depend on, beside the scenes."""
    names = ("model", "served_model", "tries", "max_tokens", "temperature", "top_p", "seed")
    return {name: getattr(options, name) for name in names}


def _check(options: argparse.Namespace) -> None:
    from grounding.errors import LavallamaError

    if options.out.suffix != ".jsonl":
        raise LavallamaError(f"--out must end in .jsonl, a record a line; got {options.out.name}")
    if not 1 <= options.requests <= MOST_REQUESTS:
        raise LavallamaError(f"--requests must be 1 to {MOST_REQUESTS}; got {options.requests}")
    if options.tries < 1:
        raise LavallamaError(f"--tries must be at least 1; got {options.tries}")
