"""The base of every part of the prompt document: frozen, closed, finite, with readable errors."""

import numbers
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from typing_extensions import Self

from grounding.errors import PromptError
from grounding.jsonfile import describe

__all__ = ["Coordinate", "Number", "Part", "Text", "Whole", "Xy", "explain"]


class Part(BaseModel):
    """A frozen piece of the document: unknown fields, NaN and infinities are refused.

    Constructing or validating a part raises `PromptError`, one line, with the path of the value.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    if not TYPE_CHECKING:  # type checkers keep the signature that pydantic synthesises

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise PromptError(explain(error, type(self))) from None

        # Nested parts are still built by pydantic's core, so that errors carry the whole path.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate a mapping or an instance.

        Raises:
            PromptError: one line: where, what was expected, what came.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise PromptError(explain(error, cls)) from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated as a whole.

        Raises:
            PromptError: the result would not be valid.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**(kept | changes))


def _plain(value: object) -> object:
    """Turn any real number (NumPy's too) into a float without a negative zero; pass the rest on."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value) + 0.0
        except OverflowError:
            return float("inf")
    return value


def _inside(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"must lie inside the canvas, 0 to 1, got {describe(value)}; "
            "divide pixels by the canvas size, clip what sticks out"
        )
    return value


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds bytes that are no text (a lone surrogate); retype it") from None
    return value


Text = Annotated[str, AfterValidator(_encodable)]
Number = Annotated[float, BeforeValidator(_plain), Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Coordinate = Annotated[
    float,
    AfterValidator(_inside),
    BeforeValidator(_plain),
    Field(strict=True, json_schema_extra={"minimum": 0, "maximum": 1}),
]
Xy = tuple[Coordinate, Coordinate]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say the first problem of a pydantic error in one line: `regions[1].box[2]: must lie ...`."""
    problems = error.errors(include_url=False)
    location = _steps(problems[0]["loc"])
    # The branches of a union complain at the same place: one that got the type right knows more.
    branches = [problem for problem in problems if _steps(problem["loc"]) == location]
    problem = next((item for item in branches if not item["type"].endswith("_type")), branches[0])
    kind, context, got = problem["type"], problem.get("ctx", {}), describe(problem["input"])
    where = _path(location)
    if kind == "missing" and location and isinstance(location[-1], int):
        return f"{_path(location[:-1])}: too few values, got {location[-1]}; add the rest"
    if kind == "missing":
        return f"{where}: is missing; add it"
    if kind == "extra_forbidden":
        return f"{where}: unknown field{_suggestion(str(location[-1]), model)}"
    if kind == "value_error":
        message = str(context["error"])
    elif kind == "too_long":
        unit = "characters" if isinstance(problem["input"], str) else "values"
        message = f"expected at most {context['max_length']} {unit}, got {got}"
    elif kind == "literal_error":
        message = f"expected {context['expected']}, got {got}"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        message = f'expected a "type" of text, region, image or audio, got {got}'
    elif kind in _EXPECTED:
        kinds = dict.fromkeys(_EXPECTED.get(item["type"], "") for item in branches)
        wanted = " or ".join(filter(None, kinds)) if kind.endswith("_type") else _EXPECTED[kind]
        message = f"expected {wanted.format(**context)}, got {got}"
    else:
        message = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}, got {got}"
    return f"{where}: {message}" if where else message


_EXPECTED = {
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number, without a decimal point",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} characters",
    "tuple_type": "a list",
    "dict_type": "an object {{...}}",
    "model_type": "an object {{...}}",
    "model_attributes_type": "an object {{...}}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
}
_BRANCHES = {"str", "int", "float", "bool"}


def _steps(location: tuple[int | str, ...]) -> list[int | str]:
    """Drop from a pydantic location the steps that name a branch of a union, not a key."""
    steps: list[int | str] = []
    for place, item in enumerate(location):
        if isinstance(item, str) and (
            item in _BRANCHES
            or item.startswith(("tuple[", "function-", "constrained-"))
            or (len(steps) > 1 and steps[-2] == "content" and isinstance(steps[-1], int))
            and item in ("text", "region", "image", "audio")
            and place == location.index("content") + 2
            and place + 1 < len(location)
        ):
            continue
        steps.append(item)
    return steps


def _path(location: Iterable[int | str]) -> str:
    path = ""
    for item in location:
        path += f"[{item}]" if isinstance(item, int) else f".{item}" if path else item
    return path


def _suggestion(name: str, model: type[BaseModel]) -> str:
    known: set[str] = set()
    pending = [model.model_json_schema()]
    pending += pending[0].get("$defs", {}).values()
    for schema in pending:
        known |= schema.get("properties", {}).keys()
    if name in known:
        return " here; it belongs inside another one"
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f'; did you mean "{close[0]}"?' if close else "; remove it"
