"""From the shell to the answer: `python -m benchmarks.startup`.

A command's time is taken as a whole process. Of it, the model's own time is what a second call of
the same command takes in one process, where everything is imported: reading its weights and
answering. What is left is compared with `python -c "import torch"`, timed in turn with it. Medians
of several rounds; the last line printed is one JSON object.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import device_name

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COMMANDS = {
    "generate": f"--prompt 'lava llama' --boxes {EXAMPLES}/boxes.json --device cpu --out OUT/a.png",
    "segment": f"{EXAMPLES}/lava_llama.png --text 'lava llama' --device cpu --out OUT",
    "chat": f"{EXAMPLES}/fox_and_house.png 'What is the house made of?' --device cpu",
}
TWICE = """
import importlib, sys, time
main = importlib.import_module("pipelines." + sys.argv[1]).main
main(sys.argv[2:])
start = time.perf_counter()
main(sys.argv[2:])
print(time.perf_counter() - start)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are taken")
    options = parser.parse_args()
    times: dict[str, list[float]] = {"torch": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            times["torch"].append(_timed("-c", "import torch"))
            for name, text in COMMANDS.items():
                words = shlex.split(text.replace("OUT", folder))
                times.setdefault(name, []).append(_timed("-m", f"pipelines.{name}", *words))
                times.setdefault(f"{name} model", []).append(_model_time(name, words))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    report: dict[str, object] = {"torch": round(seconds["torch"], 3)}
    print(f"import torch   {seconds['torch']:.2f} s")
    for name in COMMANDS:
        model = seconds[f"{name} model"]
        ratio = (seconds[name] - model) / seconds["torch"]
        print(f"{name:12}   {seconds[name]:.2f} s, the model's {model:.2f} s: {ratio:.2f} x torch")
        values = {"seconds": seconds[name], "model": model, "ratio": ratio}
        report[name] = {key: round(value, 3) for key, value in values.items()}
    print(json.dumps({"startup": report, "rounds": options.rounds, "device": device_name("cpu")}))
    return 0


def _timed(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - start


def _model_time(name: str, words: list[str]) -> float:
    command = [sys.executable, "-c", TWICE, name, *words]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
