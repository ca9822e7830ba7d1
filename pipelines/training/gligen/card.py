"""The model card of a trained adapter: what it is, what it saw, what was measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grounding.errors import LavallamaError, OfflineError
from grounding.telemetry import LOG

__all__ = ["model_card", "push", "read_log"]


def read_log(folder: Path, step: int) -> dict[str, float]:
    """The last of each number that a run logged until a step."""
    numbers: dict[str, float] = {}
    path = folder / LOG
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for line in lines:
        told = json.loads(line)
        if told["step"] <= step:
            numbers |= told
    return numbers


def model_card(
    settings: Mapping[str, Any], data: Mapping[str, Any], numbers: Mapping[str, float], step: int
) -> str:
    """Write the card, in Markdown with the hub's header.

    Args:
        settings: Of the run, as its ``run.json`` has them.
        data: The report on the data.
        numbers: What was measured last.
        step: Of the checkpoint.
    """
    measured = {k: v for k, v in numbers.items() if k.startswith("held_out/")}
    errors = {
        k: numbers[k] for k in ("with_boxes", "without_boxes", "shuffled_boxes") if k in numbers
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    dropped = {**data["dropped_pictures"], **data["dropped_regions"]}
    lost = "".join(f"- dropped {count}: {reason}\n" for reason, count in dropped.items())
    hub = f"base_model: {settings['model']}\n" if _is_hub_id(settings["model"]) else ""
    return f"""---
library_name: lavallama
tags: [gligen, grounded-generation]
{hub}---

# GLIGEN adapter for {settings["model"]}

Gates and a tokenizer that make a frozen diffusion model follow {settings["modality"]} grounding
([GLIGEN](https://arxiv.org/abs/2301.07093)), trained by `lavallama train gligen` for {step} steps.

```console
$ lavallama generate --prompt "..." --boxes boxes.json --model {settings["model"]} --adapter .
```

## Data

{data["pictures"]} pictures with {data["regions"]} regions of `{settings["data"]}`.

{lost}
## Measured

{_table(measured, "on held-out layouts")}

{_table(errors, "error of a batch of training")}

## Training

| setting | value |
|---|---|
{rows}
"""


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not Path(name).exists()


def _table(numbers: Mapping[str, float], what: str) -> str:
    if not numbers:
        return f"Nothing was measured: {what}."
    rows = "\n".join(
        f"| {name.removeprefix('held_out/').replace('_', ' ')} | {value:.4f} |"
        for name, value in numbers.items()
    )
    return f"| {what} | |\n|---|---|\n{rows}"


def push(folder: Path, name: str, *, offline: bool) -> str:
    """Upload a folder to the hub; returns its address.

    Raises:
        OfflineError: The hub cannot be reached, or must not be.
        LavallamaError: It refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if offline:
        raise OfflineError(f"--push-to-hub {name} needs the network; leave out --offline")
    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        return str(api.upload_folder(repo_id=name, folder_path=str(folder)))
    except HfHubHTTPError as error:
        raise LavallamaError(
            f"the hub refuses {name}: {str(error).splitlines()[0]}; log in with `hf auth login`"
        ) from None
    except (OfflineModeIsEnabled, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise OfflineError(
            f"{name} cannot be pushed, the hub is not reachable ({line}); {folder} is written: "
            "upload it later"
        ) from None
