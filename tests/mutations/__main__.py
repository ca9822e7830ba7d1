"""Spoil many files: `python -m tests.mutations --count 1000`; the last line is JSON."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.mutations.files import KINDS
from tests.mutations.run import complaints


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--count", type=int, default=1000, help="files in all")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--kinds", default=",".join(KINDS))
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    wrong, done, start = [], Counter(), time.monotonic()
    for number in range(options.count):
        kind = kinds[number % len(kinds)]
        with tempfile.TemporaryDirectory() as folder:
            found = complaints(kind, options.first + number // len(kinds), Path(folder))
        wrong += found
        done[kind] += 1
        for line in found:
            print(line, flush=True)
    seconds = round(time.monotonic() - start)
    print(json.dumps({"mutations": done, "complaints": len(wrong), "seconds": seconds}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
