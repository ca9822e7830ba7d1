"""The tour: one document goes through everything, each step taking what the last one returned."""

import sys

from examples import tour
from grounding.llava.conversation import Conversation
from grounding.prompt import GroundedPrompt
from pipelines.edit.session import EditSession
from tests.pipelines.edit.stand_ins import Colours, Discs

ANSWERS = {
    "Describe the image.": "a llama on a beach",
    "Plan a layout: a llama on a beach.": "llama: [0.20, 0.20, 0.60, 0.80]",
    "How many objects are in the image?": "2",
    "What is the cat made of?": "ice",
}


class Scripted:
    """Answers what it was told to, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def answer(self, conversation: Conversation, decoding=None) -> str:
        question = " ".join(
            part for part in conversation.turns[-1].content if isinstance(part, str)
        )
        self.seen.append(conversation.pictures)
        return ANSWERS[question.strip()]

    def stream(self, conversation: Conversation, decoding=None):
        yield self.answer(conversation)


def test_one_document_goes_through_everything(tmp_path, monkeypatch, capsys):
    speaker = Scripted()
    monkeypatch.setattr(tour, "open_speaker", lambda _: speaker)
    monkeypatch.setattr(tour.Generator, "from_pretrained", Discs)
    monkeypatch.setattr(tour, "open_predictor", Colours)
    monkeypatch.setattr(sys, "argv", ["tour", "--out", str(tmp_path), "--seed", "3"])
    assert tour.main() == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split()[0] for line in lines[:8]]
    assert steps == ["open", "chat", "plan", "generate", "segment", "edit", "chat", "chat"]
    document = GroundedPrompt.load(tmp_path / "tour.json")
    assert document.prompt == "a llama and an ice cat on a beach"
    assert [region.phrase for region in document.regions] == ["llama", "ice cat"]
    assert all(region.mask is not None for region in document.regions)
    assert [message.role for message in document.messages] == ["user", "assistant"] * 2
    assert document.messages[-1].content[0].text == "ice"
    last = speaker.seen[-1][0]
    assert last.tobytes() == EditSession.open(tmp_path).picture.tobytes()


def test_the_embedded_models_take_it_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tour", "--out", str(tmp_path)])
    assert tour.main() == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split()[0] for line in lines[:8]]
    assert steps == ["open", "chat", "plan", "generate", "segment", "edit", "chat", "chat"]
    document = GroundedPrompt.load(tmp_path / "tour.json")
    assert "ice cat" in [region.phrase for region in document.regions]
    assert [message.role for message in document.messages] == ["user", "assistant"] * 2
