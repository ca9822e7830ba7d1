"""What a run ends with: how good its model is on pictures that are held out, and a sheet."""

import dataclasses
import io
import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grounding.errors import LavallamaError
from grounding.files import write_files
from grounding.formats.fields import as_object
from grounding.jsonfile import parse_json, read_text
from pipelines.training.segmentation.data import OwnData
from seem.evaluation.sample import Sample
from seem.predictor import Predictor
from seem.train.verdict import CLICKS, Measured, draw_sheet, make_sample, measure
from weights.predictor import load_predictor

__all__ = ["Verdict"]

ASKED = 2  # names in the command that is proposed
NUMBERS, SHEET = "verdict.json", "verdict.png"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Measures a run's model before and after.

    Attributes:
        folder: Of the run.
        data: What it learns from.
        apart: Numbers of the pictures to measure on.
        learned: How many others it learns from; 0: it learns from these.
        base: What it starts from.
        device: Where the trained model is measured.
    """

    folder: Path
    data: OwnData
    apart: Sequence[int]
    learned: int
    base: Predictor
    device: str

    def before(self) -> Measured:
        """Measure what the run starts from; once, however often it goes on."""
        path = self.folder / NUMBERS
        if path.exists():
            try:
                before = as_object(parse_json(read_text(path)), "")["before"]
                return Measured.from_dict(before)
            except (ValueError, TypeError, KeyError):
                log.warning("%s: damaged; it is measured anew", path)
        measured = measure(self.base, self._samples(), "the model as it is")
        self._write({"before": dataclasses.asdict(measured)})
        return measured

    def after(self, model: Path) -> list[str]:
        """Measure the exported model, and write all of it.

        Args:
            model: The folder of the model.

        Returns:
            Lines for people: the numbers, where the sheet and the model are, what to do next.
        """
        before, predictor = self.before(), load_predictor(model, device=self.device)
        after = measure(predictor, self._samples(), "the trained model")
        names, file = self.data.names, io.BytesIO()
        draw_sheet(self.base, predictor, list(self._samples()), names).save(file, "PNG")
        self._write({"before": dataclasses.asdict(before), "after": dataclasses.asdict(after)})
        sheet = self.folder / SHEET
        write_files({sheet: file.getvalue()})
        words = " ".join(f"--text {shlex.quote(name)}" for name in names[:ASKED])
        return [
            *self._lines(before, after),
            f"sheet: {sheet}",
            f"model: {model}",
            f"next:  lavallama segment photo.jpg --model {shlex.quote(str(model))} {words}",
        ]

    def _samples(self) -> Iterator[Sample]:
        """The pictures, read as they are needed; one that cannot be read is passed over."""
        records = self.data.scenes.records
        for place, number in enumerate(self.apart):
            name = self.data.scenes.name(number)
            try:
                pair = self.data.scenes.whole(number)
            except LavallamaError as error:
                log.warning("not measured: %s: %s", name, error)
                continue
            yield make_sample(name, *pair, records[number], self.data.names, place)

    def _lines(self, before: Measured, after: Measured) -> list[str]:
        count = len(self.apart)
        if self.learned:
            where = f"on {count} held-out pictures; {self.learned} others were learned from"
        else:
            where = f"on the {count} pictures that it learned from: none was held out"
        rows = [
            *(
                (f"{number} click{'s' * (number > 1)}, mean IoU", one, other)
                for number, one, other in zip(CLICKS, before.clicks, after.clicks, strict=True)
            ),
            ("a box, mean IoU", before.box, after.box),
            ("words find their things (recall, IoU 0.5)", before.recall, after.recall),
            ("what words find is right (precision)", before.precision, after.precision),
        ]
        table = [f"{what:42} {one:6.3f}  {other:6.3f}" for what, one, other in rows]
        return [f"measured {where}:", f"{'':42} before   after", *table]

    def _write(self, content: dict[str, dict[str, object]]) -> None:
        text = json.dumps(content, indent=1) + "\n"
        write_files({self.folder / NUMBERS: text.encode()})
