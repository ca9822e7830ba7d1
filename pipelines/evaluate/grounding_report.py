"""What grounding measured, as Markdown tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["LABELS", "report"]

Result = Mapping[str, Any]

LABELS = {  # of pictures: by their key in the results
    "true": "true pictures",
    "gated": "with gates",
    "floor": "same base without gates",
}
PROMPTS = ("counting", "attribute", "spatial", "negation")


def report(results: Result, pictures: Sequence[str] = ()) -> str:
    """Write a report.

    Args:
        results: "model", "data", "detector", "left_out", and by the keys of `LABELS` what each task
            returned.
        pictures: Files of contact sheets to show, relative to the report.
    """
    lines = [f"# Grounding of `{results['model']}`", "", f"On {results['data']}."]
    if results.get("isolate"):
        lines[-1] += " Drawn with regions kept apart."
    if results.get("detector"):
        seen = results["detector"]
        lines[-1] += (
            f" Objects found by the detector `{seen['name']}`, counted from a score of "
            f"{seen['threshold']:g}."
        )
    rows = {label: results[key] for key, label in LABELS.items() if key in results}
    for table in (_judge, _precision, _instances, _prompts, _distance):
        block = table(rows)
        lines += ["", *block] if block else []
    if pictures:
        lines += ["", "## Pictures", "", "White: asked for. Coloured: found."]
        lines += [line for name in pictures for line in ("", f"![{name}]({name})")]
    lines += ["", "## Left out", ""]
    lines += [f"- {count} {what}" for what, count in results["left_out"].items()] or ["Nothing."]
    return "\n".join(lines) + "\n"


def _judge(rows: Mapping[str, Result]) -> list[str]:
    return _table(
        "Recognised in the boxes",
        "Object and material as the sticker judge names them inside each box; box IoU of what "
        "differs from a plain background.",
        ["pictures", "objects", "object", "object, new pairs", "material", "box IoU"],
        rows,
        "judge",
        lambda row: [
            [
                row["judge"]["all"]["objects"],
                row["judge"]["all"]["concept_top1"],
                row["judge"]["held_out_pairs"]["concept_top1"],
                row["judge"]["all"]["material_top1"],
                row["extent"]["box_iou"],
            ]
        ],
    )


def _precision(rows: Mapping[str, Result]) -> list[str]:
    return _table(
        "Average precision",
        "Of what the detector finds, against the boxes asked for; COCO's definition.",
        ["pictures", "instances", "AP", "AP50", "AP75"],
        rows,
        "ap",
        lambda row: [[row["ap"][key] for key in ("instances", "ap", "ap50", "ap75")]],
    )


def _instances(rows: Mapping[str, Result]) -> list[str]:
    return _table(
        "Instances",
        "As COCO-MIG counts them. Success: an IoU of at least 0.5 with a box that is found, and "
        "the attribute asked for. All: the share of the pictures without a failure.",
        ["pictures", "instances each", "number", "mIoU", "success", "all"],
        rows,
        "instances",
        lambda row: [
            [count, cells["pictures"], *(cells[key] for key in ("miou", "success", "whole"))]
            for count, cells in row["instances"].items()
        ],
    )


def _prompts(rows: Mapping[str, Result]) -> list[str]:
    tasks = [task for task in PROMPTS if any(task in row for row in rows.values())]
    if not tasks:
        return []
    return _table(
        "Prompts",
        "Share of the pictures that show what the prompt says, as LLM-grounded Diffusion counts "
        "it; by the detector.",
        ["pictures", "prompts each", *tasks],
        rows,
        tasks[0],
        lambda row: [[row[tasks[0]]["prompts"], *(row[task]["accuracy"] for task in tasks)]],
    )


def _distance(rows: Mapping[str, Result]) -> list[str]:
    return _table(
        "FID",
        "Frechet Inception distance to the true pictures. Few pictures make it large: compare "
        "equally many.",
        ["pictures", "number", "FID"],
        rows,
        "fid",
        lambda row: [[row["fid"]["pictures"], row["fid"]["fid"]]],
    )


def _table(
    title: str,
    what: str,
    head: Sequence[str],
    rows: Mapping[str, Result],
    task: str,
    cells: Callable[[Result], list[list[object]]],
) -> list[str]:
    """A table of the pictures that a task was measured on; nothing if there are none."""
    measured = {label: row for label, row in rows.items() if task in row}
    if not measured:
        return []
    lines = [f"## {title}", "", what, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for label, row in measured.items():
        lines += [f"| {' | '.join(map(_cell, (label, *line)))} |" for line in cells(row)]
    return lines


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
