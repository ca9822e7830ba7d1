"""What segmentation measured, as Markdown tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["report"]

Result = Mapping[str, Any]


def report(results: Result) -> str:
    """Write a report.

    Args:
        results: By task, as `seem.evaluation.tasks` returns them, and "model", "data", "left_out".
    """
    lines = [
        f"# Segmentation by `{results['model']}`",
        "",
        f"On {results['data']}. Means over objects.",
    ]
    for task, table in TABLES.items():
        if task in results:
            lines += ["", *table(results[task])]
    lines += ["", "## Left out", ""]
    lines += [f"- {count} {what}" for what, count in results["left_out"].items()] or ["Nothing."]
    return "\n".join(lines) + "\n"


def _clicks(result: Result) -> list[str]:
    rounds = list(next(iter(result.values()), {"iou": {}})["iou"])
    return _table(
        "Clicks",
        "The next click lies deepest in the larger mistake; at most 20, none from IoU 0.925 on. "
        "NoC: mean number of clicks to an IoU of 0.85 and 0.90, 20 for objects that miss it; their "
        "number in brackets. IoU after some clicks.",
        [
            "objects",
            "number",
            "NoC85",
            "NoC90",
            *(f"{count} click{'s' * (count != '1')}" for count in rounds),
        ],
        [
            [
                name,
                row["objects"],
                f"{row['noc85']:.2f} ({row['missed85']})",
                f"{row['noc90']:.2f} ({row['missed90']})",
                *row["iou"].values(),
            ]
            for name, row in result.items()
        ],
    )


def _mark(title: str, what: str) -> Callable[[Result], list[str]]:
    def table(result: Result) -> list[str]:
        given = [key for key in ("iou", "prompt", "ap50") if any(key in r for r in result.values())]
        names = {"iou": "IoU", "prompt": "IoU of the prompt", "ap50": "IoU >= 0.5"}
        return _table(
            title,
            what,
            ["objects", "number", *(names[key] for key in given)],
            [[name, row["objects"], *(row[key] for key in given)] for name, row in result.items()],
        )

    return table


def _phrases(result: Result) -> list[str]:
    lines = _table(
        "Phrases",
        "One mask a phrase. cIoU: pixels in common over all phrases, by pixels of either.",
        ["phrases", "number", "cIoU", "mIoU", "AP50"],
        [
            [kind, row["phrases"], row["ciou"], row["miou"], row["ap50"]]
            for kind, row in result["phrases"].items()
        ],
    )
    if unknown := result.get("unknown"):
        lines += ["", f"Unknown to the model, so not found: {', '.join(unknown)}.", ""]
    if not result["searches"]:
        return lines
    return [
        *lines,
        "",
        *_table(
            "All instances of a text",
            "An instance is found if a mask overlaps it with an IoU of at least 0.5, one mask an "
            "instance. Exact: the share of texts of which all was found and nothing else.",
            ["texts", "number", "instances", "masks", "recall", "precision", "exact"],
            [
                [
                    kind,
                    *(row[key] for key in ("texts", "instances", "answers")),
                    row["recall50"] if row["instances"] else "-",
                    row["precision50"] if row["instances"] and row["answers"] else "-",
                    row["exact"],
                ]
                for kind, row in result["searches"].items()
            ],
        ),
    ]


def _panoptic(result: Result) -> list[str]:
    lines: list[str] = []
    if "pq" in result:
        lines += _table(
            "Panoptic segmentation",
            f"{result['maps']} images. Means over the classes that occur.",
            ["classes", "number", "PQ", "SQ", "RQ"],
            [
                [name, row["classes"], row["pq"], row["sq"], row["rq"]]
                for name, row in result["pq"].items()
            ],
        )
        if semantic := result.get("semantic"):
            said = f"Semantic mIoU: {semantic['miou']:.3f}, {semantic['classes']} classes."
            lines += ["", said, ""]
    if unknown := result.get("unknown"):
        lines += ["", f"{unknown} classes are unknown to the model, so not found.", ""]
    if "instances" in result:
        row = result["instances"]
        lines += _table(
            "Objects of classes",
            f"COCO's average precision of masks on {result['images']} images.",
            ["objects", "mAP", "AP50", "AP75"],
            [[row["objects"], row["map"], row["ap50"], row["ap75"]]],
        )
    return lines


def _video(result: Result) -> list[str]:
    return _table(
        "Video",
        f"{result['films']} films, {result['frames']} frames: without the first, on which the "
        "objects are shown, and the last, as DAVIS counts. J: IoU, F: agreement of contours.",
        ["shown by", "objects", "J&F", "J", "F"],
        [
            [shown, result["objects"], *(result[shown][key] for key in ("jf", "j", "f"))]
            for shown in ("mask", "click")
            if shown in result
        ],
    )


TABLES: Mapping[str, Callable[[Result], list[str]]] = {
    "clicks": _clicks,
    "box": _mark("Box", "The box around the object. The last column takes the box for the answer."),
    "scribble": _mark("Scribble", "Half to all of the middle line of the object's largest part."),
    "mask": _mark(
        "Rough mask", "The object and a rim around it. The last column takes that for the answer."
    ),
    "phrase": _phrases,
    "panoptic": _panoptic,
    "reference": _mark("Reference image", "Another image, with the mask of a thing of that kind."),
    "video": _video,
}


def _table(
    title: str, what: str, head: Sequence[str], rows: Sequence[Sequence[object]]
) -> list[str]:
    lines = [f"## {title}", "", what, ""]
    lines.append(f"| {' | '.join(head)} |")
    lines.append(f"|{'---|' * len(head)}")
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return lines


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
