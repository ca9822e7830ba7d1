"""A trained adapter as a folder with a model card, from any checkpoint of a run."""

import argparse
import json
from pathlib import Path
from typing import Any

from gligen.adapter import GligenAdapter
from gligen.config import AdapterConfig
from grounding.checkpoint import (
    BEST,
    EARLIER,
    LAST,
    check_fit,
    read_checkpoint,
    trained_tensors,
)
from grounding.errors import CheckpointError
from grounding.files import write_files
from pipelines.run_record import RECORD, read_record
from pipelines.training.gligen.card import model_card, push, read_log
from pipelines.training.gligen.run import DATA_REPORT
from weights.base import load_unet
from weights.gligen import save_pretrained

__all__ = ["export"]

CARD = "README.md"


def export(options: argparse.Namespace) -> None:
    """Write the adapter of a run in float16, averaged if it keeps an average; push it if asked to.

    Args:
        options: Of `lavallama train gligen`; what the run is, its folder tells.

    Raises:
        CheckpointError: There is no such run or checkpoint.
        OfflineError: It is to be pushed, and the hub is not reachable.
    """
    run: Path = options.runs
    settings = read_record(run / RECORD)
    if settings is None:
        raise CheckpointError(f"{run}: there is no run ({RECORD}); train first, or name --runs")
    data = json.loads((run / DATA_REPORT).read_text("utf-8"))
    state = _checkpoint(run, options.checkpoint)
    unet = load_unet(settings["model"], offline=options.offline)
    config = AdapterConfig.from_dict(settings["adapter"])
    adapter = GligenAdapter.for_unet(unet, config)
    trained = trained_tensors(state)
    check_fit(trained, dict(adapter.named_parameters()), run)
    adapter.load_state_dict(trained)
    save_pretrained(adapter.half(), options.export)
    step = state["step"]
    card = model_card(settings, data, read_log(run, step), step)
    write_files({options.export / CARD: card.encode()})
    print(f"{options.export}: the adapter after {step} steps")
    if options.push_to_hub:
        print(push(options.export, options.push_to_hub, offline=options.offline))


def _checkpoint(run: Path, which: str) -> dict[str, Any]:
    """The state of the last, the best or an earlier checkpoint."""
    names = {"last": LAST, "best": BEST}
    path = run / (names[which] if which in names else f"{EARLIER}/{int(which):07d}.pt")
    if not path.is_file():
        kept = sorted(int(file.stem) for file in (run / EARLIER).glob("*.pt"))
        raise CheckpointError(
            f"{path}: there is no such checkpoint; there are last"
            + (", best" if (run / BEST).is_file() else "")
            + "".join(f", {step}" for step in kept)
        )
    return read_checkpoint(path, "cpu")
