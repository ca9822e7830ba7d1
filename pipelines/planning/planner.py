"""Planner: from a caption to a prompt document whose boxes are what the caption asks for.

    plan = Planner().plan("three llamas left of a volcano")
    generator(plan.document)

A language model proposes, rules check and mend (`grounding.planning`); without a model, or if it
gives no layout, rules alone lay out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from grounding.errors import AnswerError, LavallamaError
from grounding.llava.chat import Speaker
from grounding.llava.decoding import Decoding
from grounding.planning.agreement import agree
from grounding.planning.caption import read_caption
from grounding.planning.repair import Mended, laid_out, mend
from grounding.planning.scene_graph import SceneGraph
from grounding.prompt import GroundedPrompt, Provenance
from grounding.stickers.sheet import sprite
from grounding.stickers.vocabulary import CONCEPTS, STYLES
from pipelines.console import one_line
from pipelines.planning.form import Answer, PlanForm

__all__ = ["RULES", "Plan", "Planner", "usual_shape"]

RULES = "rules"
ATTEMPTS = 3
TEMPERATURE = 0.7  # of all attempts after the first, which is greedy
MOST_TOKENS = 700  # of a layout of some twenty boxes
SQUARE = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout, and how it came to be.

    Attributes:
        document: For `lavallama generate`; its provenance tells the rest too.
        graph: What the caption was understood to ask for.
        planner: Who laid it out: "rules", or the model's name.
        repairs: What was done to the model's layout.
        failures: Why answers were not taken.
    """

    document: GroundedPrompt
    graph: SceneGraph
    planner: str
    repairs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Lays captions out.

    Attributes:
        speaker: A language model; None: rules alone.
        form: How it is asked.
        name: What it is called in the documents.
        attempts: How often it is asked for one layout, at most.
    """

    speaker: Speaker | None = None
    form: PlanForm | None = None
    name: str = RULES
    attempts: int = ATTEMPTS

    def plan(
        self,
        caption: str,
        *,
        seed: int = 0,
        heard: Callable[[str], object] = lambda text: None,
    ) -> Plan:
        """Lay a caption out.

        Args:
            caption: In plain English.
            seed: Of the rules' layout, and of the model's words after its first answer.
            heard: Is given each answer of the model.

        Raises:
            PromptError: the caption asks for nothing, or for what cannot be.
        """
        graph = read_caption(caption, CONCEPTS)
        proposals, failures = self._proposals(caption, graph, seed, heard)
        if not proposals:
            ruled = laid_out(caption, graph, seed=seed, shape=usual_shape)
            plan = Plan(document=ruled, graph=graph, planner=RULES, failures=tuple(failures))
            return _told(plan, seed)
        best = min(proposals, key=lambda mended: len(mended.repairs))
        plan = Plan(
            document=best.document,
            graph=graph,
            planner=self.name,
            repairs=best.repairs,
            failures=tuple(failures),
        )
        return _told(plan, seed)

    def _proposals(
        self, caption: str, graph: SceneGraph, seed: int, heard: Callable[[str], object]
    ) -> tuple[list[Mended], list[str]]:
        """Ask until an answer needs no repair; also why answers were not taken."""
        proposals: list[Mended] = []
        failures: list[str] = []
        if self.speaker is None or self.form is None or not graph.things:
            return proposals, failures
        for attempt in range(self.attempts):
            temperature = TEMPERATURE if attempt else 0.0
            decoding = Decoding(
                max_tokens=MOST_TOKENS, temperature=temperature, seed=seed + attempt
            )
            try:
                text = self.speaker.answer(self.form.ask(caption), decoding)
                heard(text)
                proposals.append(_mended(self.form.read(text), caption, graph))
            except LavallamaError as error:
                failures.append(one_line(error, 200))
                continue
            if not proposals[-1].repairs:
                break
        return proposals, failures


def _mended(answer: Answer, caption: str, graph: SceneGraph) -> Mended:
    """What a model answered, as it was asked for.

    Raises:
        LavallamaError: it has nothing of it.
    """
    if not agree(answer.document, graph, names=CONCEPTS).places:
        raise AnswerError("the answer has none of the things that were asked for")
    mended = mend(answer.document, graph, caption=caption, shape=usual_shape, names=CONCEPTS)
    return replace(mended, repairs=(*answer.repairs, *mended.repairs))


def usual_shape(noun: str) -> float:
    """Width over height of a noun: that of its sticker; of what has none, a square's."""
    if noun not in CONCEPTS:
        return SQUARE
    rows, columns = sprite(noun, STYLES[0]).shape[:2]
    return columns / rows


def _told(plan: Plan, seed: int) -> Plan:
    """The same, with its story in the document."""
    notes: dict[str, str | int | float | bool] = {"planner": plan.planner, "seed": seed}
    told = {"repair": plan.repairs, "failure": plan.failures, "unread": plan.graph.unread}
    for kind, lines in told.items():
        notes |= {f"{kind} {number}": line for number, line in enumerate(lines, start=1)}
    document = plan.document.replace(provenance=Provenance(settings=notes))
    return replace(plan, document=document)
