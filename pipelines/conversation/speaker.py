"""Opening a chat model by name, and asking it what a document asks."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from PIL import Image

from grounding.geometry import CanvasMap, Size
from grounding.llava.box_text import Dialect, find_dialect
from grounding.llava.chat import Chat, Speaker
from grounding.llava.decoding import GREEDY, Decoding
from grounding.llava.document import Showing, conversation_of, with_answer
from grounding.llava.endpoint import Endpoint
from grounding.llava.region_text import text_to_regions
from grounding.prompt import GroundedPrompt
from pipelines.device import choose_device, choose_dtype
from weights.hub_place import is_endpoint
from weights.llava_chat import load_chat

__all__ = ["ask", "box_view", "open_speaker"]


def open_speaker(
    model: str,
    *,
    served_model: str | None = None,
    key_variable: str | None = None,
    base: str | None = None,
    template: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **loading: Literal[4, 8] | bool | None,
) -> Speaker:
    """Open a chat model on this machine or elsewhere.

    Args:
        model: "embedded", a folder, a short name of `weights.registry.CHATS`, a hub id, or the
            address of an OpenAI-compatible endpoint, `http(s)://HOST/v1`.
        served_model: What an endpoint calls its model.
        key_variable: Environment variable that holds an endpoint's key.
        base: What a LoRA or a projector alone is put upon.
        template: How a model on this machine is spoken to; None: as the registry or its language
            model says.
        device: "auto", "cpu", "cuda", "cuda:1".
        dtype: "auto", "float32", "float16", "bfloat16".
        loading: `bits` and `offline` of `weights.llava_chat.load_chat`.

    Raises:
        LavallamaError: Any of this cannot be had, in one line.
    """
    if is_endpoint(model):
        return Endpoint(url=model, model=served_model or "", key_variable=key_variable)
    where = choose_device(device)
    choose_dtype(dtype, where)  # refused before anything is loaded
    return load_chat(
        model,
        base=base,
        template=template,
        device=where,
        dtype=partial(choose_dtype, dtype, where),
        bits=loading.get("bits"),  # pyright: ignore[reportArgumentType]
        offline=bool(loading.get("offline", False)),
    )


def ask(
    speaker: Speaker,
    document: GroundedPrompt,
    picture: Image.Image,
    *,
    showing: Showing = "text",
    dialect: str = "llava",
    decoding: Decoding = GREEDY,
    pictures: Mapping[str, Image.Image] | None = None,
    heard: Callable[[str], object] = lambda part: None,
) -> GroundedPrompt:
    """Ask what a document's last message asks.

    Args:
        speaker: Of `open_speaker`.
        document: With messages.
        picture: What it is about.
        showing: How regions reach the model.
        dialect: How the model writes boxes.
        decoding: How the answer is made.
        pictures: Those that the messages name.
        heard: Is given each part of the answer as it comes.

    Returns:
        The document with the answer, and a region for each box in it.

    Raises:
        LavallamaError: It cannot be asked, or there is no answer.
    """
    written = find_dialect(dialect)
    view = box_view(speaker, written, picture.size)
    conversation = conversation_of(
        document, picture, showing=showing, dialect=written, view=view, pictures=pictures
    )
    parts = []
    for part in speaker.stream(conversation, decoding):
        told = part if parts else part.lstrip()  # words begin with a space
        if told:
            heard(told)
            parts.append(told)
    answer = "".join(parts).strip()
    return with_answer(document, answer, text_to_regions(answer, written, view))


def box_view(speaker: Speaker | None, dialect: Dialect, size: Size) -> CanvasMap:
    """Where a picture lies on the canvas of boxes: LLaVA speaks of the square that it sees.

    Args:
        speaker: None: nobody knows who speaks, and the dialect says.
        dialect: How boxes are written.
        size: Of the picture.
    """
    if isinstance(speaker, Chat) and speaker.reader.aspect != "anyres" and dialect.name == "llava":
        return speaker.view(size)
    return dialect.view(size)
