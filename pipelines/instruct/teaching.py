"""Asking the teacher: what it says goes to a journal, and the data is read out of that.

The journal holds the teacher's words as they came, so rules can change without asking again. What
the teacher is asked depends on the scene, the kind and the try alone, and so does the seed; the
order in which answers come does not matter.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice

from grounding.drops import Dropped, Drops
from grounding.errors import AnswerError, PromptError
from grounding.llava.chat import Speaker
from grounding.llava.decoding import Decoding
from grounding.llava.instruct.duplicates import Seen
from grounding.llava.instruct.exchange import Exchange, read_answer, read_exchanges
from grounding.llava.instruct.faithfulness import Objects, flaw
from grounding.llava.instruct.lesson import LESSONS
from grounding.llava.instruct.scene import Scene
from grounding.llava.records import Record
from pipelines.journal import Entry, Journal

__all__ = ["Task", "Teaching", "tasks_of"]

PAUSE = 1.0  # seconds before a teacher that failed is asked again; doubled each time
SEEDS = 2**31
TELLING = 30  # words; fewer may be true of many pictures

Lost = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of data about one scene."""

    scene: Scene
    kind: str

    @property
    def key(self) -> str:
        """In the journal."""
        return f"{self.kind}/{self.scene.name}"

    def digest(self) -> str:
        """SHA-256 of all that the teacher is asked."""
        asked = LESSONS[self.kind].ask(self.scene)
        said = [asked.system, *(turn.text for turn in asked.turns)]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def chance(self, salt: str) -> int:
        """A number that depends on the task alone."""
        return int(hashlib.sha256(f"{salt}\0{self.key}".encode()).hexdigest()[:12], 16)


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How the teacher is asked, and what of its words is kept.

    Attributes:
        objects: What may be invented.
        decoding: How it answers; the seed is added to each task's own.
        tries: How often it is asked, until something can be kept.
        requests: How many tasks at once.
    """

    objects: Objects
    decoding: Decoding
    tries: int = 3
    requests: int = 1

    def run(self, teacher: Speaker, tasks: Iterable[Task], journal: Journal) -> Iterator[Task]:
        """Ask about tasks and write the answers down; yields each task that is done.

        Raises:
            AnswerError: the teacher cannot be asked; what is done stays done.
        """
        pending, waiting = iter(tasks), {}
        with ThreadPoolExecutor(self.requests) as pool:
            try:
                while True:
                    for task in islice(pending, self.requests - len(waiting)):
                        waiting[pool.submit(self._texts, teacher, task)] = task
                    if not waiting:
                        return
                    ready: set[Future] = wait(waiting, return_when=FIRST_COMPLETED).done
                    for future in ready:
                        task = waiting.pop(future)
                        journal.append(task.key, task.digest(), {"texts": future.result()})
                        yield task
            finally:
                pool.shutdown(cancel_futures=True)

    def record(self, task: Task, entry: Entry, drops: Drops, seen: Seen) -> Record | None:
        """What is kept of what the teacher said; all else is counted.

        Args:
            task: That was done.
            entry: Of the journal.
            drops: Counts answers ("regions") and tasks without any ("pictures").
            seen: Texts of the records before.
        """
        texts = entry.read()["texts"]
        for text in texts:
            kept, lost = self._sifted(task, text)
            drops.of_picture(task.key, lost)
            if not kept:
                continue
            words = "\n".join(f"{e.question}\n{e.answer}" for e in kept)
            same = seen.add(words) if len(words.split()) >= TELLING else None
            if same is not None:
                drops.picture(task.key, Dropped(f"{same} as what was said of another picture"))
                return None
            drops.pictures += 1
            drops.regions += len(kept)
            turns = tuple(words for e in kept for words in (e.question, e.answer))
            return Record(id=f"{task.scene.name}-{task.kind}", image=task.scene.name, turns=turns)
        why = "nothing to be kept" if texts else "too much to be asked at once"
        drops.picture(task.key, Dropped(why, f"{len(texts)} tries"))
        return None

    def _texts(self, teacher: Speaker, task: Task) -> list[str]:
        """What the teacher says, up to the first text of which something is kept."""
        texts: list[str] = []
        for attempt in range(self.tries):
            seed = (self.decoding.seed + task.chance(f"try {attempt}")) % SEEDS
            try:
                text = self._asked(teacher, task, replace(self.decoding, seed=seed))
            except PromptError:  # longer than the model reads
                break
            texts.append(text)
            if self._sifted(task, text)[0]:
                break
        return texts

    def _asked(self, teacher: Speaker, task: Task, decoding: Decoding) -> str:
        """The teacher's answer; one that cannot be reached is asked again."""
        question = LESSONS[task.kind].ask(task.scene)
        for attempt in range(self.tries):
            try:
                return teacher.answer(question, decoding)
            except AnswerError:
                if attempt + 1 == self.tries:
                    raise
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("tries is at least 1")

    def _sifted(self, task: Task, text: str) -> tuple[list[Exchange], list[Lost]]:
        """What is kept of a text, and why the rest is not."""
        questions = LESSONS[task.kind].questions
        try:
            if questions:
                question = questions[task.chance("question") % len(questions)]
                exchanges = read_answer(text, question)
            else:
                exchanges = read_exchanges(text)
        except AnswerError as error:
            return [], [("not in the form that was asked for", str(error))]
        kept: list[Exchange] = []
        lost: list[Lost] = []
        asked = Seen()
        for exchange in exchanges:
            problem = flaw(exchange, task.scene, self.objects)
            if problem is None and asked.add(exchange.question) is not None:
                problem = ("the same question twice", exchange.question[:60])
            if problem is None:
                kept.append(exchange)
            else:
                lost.append(problem)
        return kept, lost


def tasks_of(scenes: Sequence[Scene], kinds: Sequence[str]) -> list[Task]:
    """Every kind of every scene, in order."""
    return [Task(scene=scene, kind=kind) for scene in scenes for kind in kinds]
