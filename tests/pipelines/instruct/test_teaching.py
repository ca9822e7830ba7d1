"""Instruction data of a scripted teacher: sifted, in order, without asking twice."""

import json
import threading
import time

import pytest

from grounding.drops import Drops
from grounding.errors import AnswerError, PromptError
from grounding.llava.decoding import Decoding
from grounding.llava.instruct.duplicates import Seen
from grounding.llava.instruct.faithfulness import Objects
from grounding.llava.instruct.lesson import LESSONS
from grounding.llava.instruct.scene import Scene
from pipelines.instruct import teaching
from pipelines.instruct.teaching import Task, Teaching, tasks_of
from pipelines.journal import Journal

KINDS = ("conversation", "detail", "reasoning")
SCENES = [
    Scene(name=f"{animal}.png", captions=(f"a {animal} on a beach",), nouns=(animal,))
    for animal in ("llama", "dog", "cat", "fox")
]
GOOD = (
    "What is there?\n===\nA {}.\n===\nWhere is it?\n===\nOn a beach.\n===\nWhat is there?\n===\nIt."
)


class Teacher:
    """Answers by what it reads, some later than others; remembers what it was asked."""

    def __init__(self, texts=(GOOD,), failing: int = 0) -> None:
        self.texts, self.failing = list(texts), failing
        self.seeds: list[int] = []
        self.running = self.most = 0
        self.lock = threading.Lock()

    def answer(self, conversation, decoding=None) -> str:
        with self.lock:
            self.seeds.append(decoding.seed)
            place = len(self.seeds) - 1
            self.running += 1
            self.most = max(self.most, self.running)
            failing, self.failing = self.failing, self.failing - 1
        animal = conversation.turns[-1].text.split()[1]
        time.sleep(0.002 * (len(animal) % 3))
        with self.lock:
            self.running -= 1
        if failing > 0:
            raise AnswerError("cannot be reached")
        text = self.texts[min(place, len(self.texts) - 1)]
        alone = conversation.system == LESSONS["detail"].system
        return f"A {animal} stands on a beach." if alone and text == GOOD else text.format(animal)

    def stream(self, conversation, decoding=None):
        yield self.answer(conversation, decoding)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(teaching, "PAUSE", 0.0)


def school(**how) -> Teaching:
    objects = Objects(["llama", "dog", "cat", "fox", "car"])
    return Teaching(objects=objects, decoding=Decoding(temperature=0.7), **how)


def taught(path, teacher, tasks, **how):
    """Records as JSON, and what was dropped."""
    where, drops, seen = school(**how), Drops(), Seen()
    with Journal(path) as journal:
        missing = [task for task in tasks if task.key not in journal.entries]
        done = list(where.run(teacher, missing, journal))
        records = [where.record(task, journal.entries[task.key], drops, seen) for task in tasks]
    assert len(done) == len(missing)
    return [record for record in records if record is not None], drops


def test_records_are_in_order_whoever_answers_first(tmp_path):
    tasks = tasks_of(SCENES, KINDS)
    teachers = Teacher(), Teacher()
    one, _ = taught(tmp_path / "one.jsonl", teachers[0], tasks)
    many, _ = taught(tmp_path / "many.jsonl", teachers[1], tasks, requests=5)
    assert one == many
    assert [record.id for record in one] == [f"{t.scene.name}-{t.kind}" for t in tasks]
    assert sorted(teachers[0].seeds) == sorted(teachers[1].seeds)
    assert len(set(teachers[0].seeds)) == len(tasks), "each has a seed of its own"
    assert teachers[0].most == 1
    assert 1 < teachers[1].most <= 5


def test_what_is_done_is_not_asked_again(tmp_path):
    tasks = tasks_of(SCENES, KINDS)
    taught(tmp_path / "journal.jsonl", Teacher(), tasks[:5])
    again = Teacher()
    resumed, _ = taught(tmp_path / "journal.jsonl", again, tasks)
    assert len(again.seeds) == len(tasks) - 5
    assert resumed == taught(tmp_path / "whole.jsonl", Teacher(), tasks)[0]


def test_a_question_is_kept_once(tmp_path):
    [record], drops = taught(tmp_path / "journal.jsonl", Teacher(), tasks_of(SCENES[:1], KINDS[:1]))
    assert record.turns == ("What is there?", "A llama.", "Where is it?", "On a beach.")
    assert drops.lost_regions == {"the same question twice": 1}


@pytest.mark.parametrize(
    ("texts", "asked", "reason"),
    [
        (["nonsense", "a?\n===\nThe caption says so.", GOOD], 3, None),
        (["a?\n===\nA car.", GOOD], 2, None),
        (["nonsense"], 3, "nothing to be kept"),
    ],
)
def test_tries_are_bounded(tmp_path, texts, asked, reason):
    teacher = Teacher(texts)
    records, drops = taught(tmp_path / "journal.jsonl", teacher, tasks_of(SCENES[:1], KINDS[:1]))
    assert len(teacher.seeds) == len(set(teacher.seeds)) == asked
    assert bool(records) == (reason is None)
    assert drops.lost_pictures == ({} if reason is None else {reason: 1})
    assert sum(drops.lost_regions.values()) >= asked - 1


def test_a_teacher_that_is_lost_for_a_moment_is_asked_again(tmp_path):
    teacher = Teacher(failing=2)
    records, _ = taught(tmp_path / "journal.jsonl", teacher, tasks_of(SCENES[:1], KINDS[:1]))
    assert len(records) == 1
    assert len(set(teacher.seeds)) == 1


def test_a_teacher_that_is_gone_ends_the_run_and_loses_nothing(tmp_path):
    tasks = tasks_of(SCENES, KINDS)
    path = tmp_path / "journal.jsonl"
    taught(path, Teacher(), tasks[:4])
    with pytest.raises(AnswerError, match="cannot be reached"):
        taught(path, Teacher(failing=100), tasks)
    with Journal(path) as journal:
        assert len(journal.entries) == 4


def test_a_scene_that_is_too_long_is_dropped(tmp_path):
    class Short(Teacher):
        def answer(self, conversation, decoding=None):
            raise PromptError("more tokens than the model reads")

    records, drops = taught(tmp_path / "journal.jsonl", Short(), tasks_of(SCENES[:1], KINDS))
    assert records == []
    assert drops.lost_pictures == {"too much to be asked at once": 3}


def test_the_same_story_of_two_pictures_is_told_once(tmp_path):
    story = "Why?\n===\n" + " ".join(f"reason{number}" for number in range(40))
    records, drops = taught(
        tmp_path / "journal.jsonl", Teacher([story]), tasks_of(SCENES, ["reasoning"])
    )
    assert len(records) == 1
    assert drops.lost_pictures == {"same as what was said of another picture": 3}


def test_the_journal_holds_the_teachers_words(tmp_path):
    path = tmp_path / "journal.jsonl"
    taught(path, Teacher(["nonsense", GOOD]), tasks_of(SCENES[:1], KINDS[:1]))
    [line] = map(json.loads, path.read_text().splitlines())
    assert line["value"]["texts"] == ["nonsense", GOOD.format("llama")]


def test_a_scene_that_changes_is_another_task():
    task = Task(scene=SCENES[0], kind="detail")
    same = Task(scene=Scene(name="llama.png", captions=SCENES[0].captions), kind="detail")
    other = Task(scene=Scene(name="llama.png", captions=("a llama",)), kind="detail")
    assert task.digest() == same.digest() != other.digest()
    assert task.key == other.key
