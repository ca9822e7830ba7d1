"""When gates are open: fully at first, then fading, then shut (arXiv 2301.07093, section 3.3).

Layout is decided early; the last steps, without gates, are the frozen model's and have its quality.
"""

import math
from collections.abc import Sequence

from grounding.errors import LavallamaError

__all__ = ["evaluation_scales", "gate_scales"]

SUM_TOLERANCE = 1e-6  # the official code wants 1.0 exactly, and so refuses (0.7, 0.2, 0.1)


def gate_scales(steps: int, schedule: Sequence[float]) -> list[float]:
    """The factor on every gate, step by step.

    As in the official `alpha_generator`: the stages are `int(fraction * steps)` long, what rounding
    leaves over is off, and n fading steps are (n-1)/n, ..., 1/n, 0.

    Args:
        steps: steps of the sampler, at least 1.
        schedule: fractions (on, linear, off) of the steps; they add up to 1.

    Returns:
        `steps` factors in [0, 1].

    Raises:
        LavallamaError: the steps or the fractions are impossible.
    """
    if steps < 1:
        raise LavallamaError(f"sampling takes at least 1 step; got {steps}")
    fractions = tuple(float(fraction) for fraction in schedule)
    sound = len(fractions) == 3 and all(math.isfinite(f) and f >= 0 for f in fractions)
    if not sound or abs(sum(fractions) - 1) > SUM_TOLERANCE:
        raise LavallamaError(
            "a schedule is three fractions on, linear, off that add up to 1, such as 0.3 0 0.7; "
            f"got {', '.join(str(fraction) for fraction in schedule)}"
        )
    on, linear = int(fractions[0] * steps), int(fractions[1] * steps)
    fading = [index / linear for index in reversed(range(linear))]
    return ([1.0] * on + fading + [0.0] * steps)[:steps]


def evaluation_scales(evaluations: int, steps: int, schedule: Sequence[float]) -> list[float]:
    """`gate_scales` for each evaluation of the model by a sampler that may take more than one.

    PLMS starts with two evaluations in its first step (Liu et al., arXiv 2202.09778), as the
    official sampler does under one scale; a sampler of higher order spends as many in each step.
    """
    scales = gate_scales(steps, schedule)
    if evaluations == steps + 1:
        return scales[:1] + scales
    return [scales[index * steps // evaluations] for index in range(evaluations)]
