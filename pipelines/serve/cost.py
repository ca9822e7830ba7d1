"""How much memory an answer takes at its peak: most of it are masks at the picture's own size.

The terms follow the tensors that `seem.postprocess`, `seem.asked.finish` and `Predictor.find` hold
at one time, in bytes a pixel; the test measures them.
"""

from typing import Literal

from seem.postprocess import CHUNK, DETECTIONS

__all__ = ["Task", "peak_bytes"]

Task = Literal["panoptic", "instances", "semantic", "find", "prompt"]
FLOAT, INDEX = 4, 8  # bytes of a float32, an int64; a bool takes 1
RESTORING = 4 * FLOAT  # a mask on its way to full size: two sizes, its probability, a product


def peak_bytes(task: Task, pixels: int, *, queries: int, count: int) -> int:
    """Bytes at the peak.

    Args:
        task: What is asked.
        pixels: Of the picture.
        queries: As many masks may be found: `Predictor.most_found`.
        count: Classes of a semantic map, questions of a prompt.
    """
    if task == "panoptic":  # restored, probability, product; the winner
        each = queries * 3 * FLOAT + INDEX
    elif task == "semantic":  # claims, a chunk restored and its probabilities; labels, sorted
        each = count * FLOAT + max(2 * CHUNK * FLOAT, 5 * INDEX)
    elif task == "instances":  # found, then copied for each detection
        each = queries + max(CHUNK * RESTORING, queries, DETECTIONS)
    elif task == "find":  # found, stacked, sorted
        each = 3 * queries + RESTORING
    else:  # found, stacked
        each = 3 * count + RESTORING
    return pixels * each
