"""about.json of the user's own data, and the same fields as arguments in Python.

Errors are `UserError`, without the name of the data set, which the caller puts in front.
"""

import graphlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field
from pydantic_core import PydanticSerializationError, to_json

from cdis.data.tables import short
from cdis.errors import UserError, near_miss

Kind = Literal["continuous", "discrete", "categorical"]
_Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str
_FILE = "about.json"
_MOST_BYTES = 2**24


class About(pydantic.BaseModel):
    """What may be said of own data. Messages tell the user to write what `description` says."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    factors: Annotated[
        tuple[str, ...] | None, Field(description='a list of names, such as ["x", "y"]')
    ] = None
    kinds: Annotated[
        dict[str, Kind],
        Field(
            description='"continuous", "discrete" or "categorical" by name, as in {"x": "discrete"}'
        ),
    ] = {}
    circular: Annotated[tuple[str, ...], Field(description='a list of names, as in ["angle"]')] = ()
    order: Annotated[
        dict[str, tuple[_Value, ...]],
        Field(description='a list of values by name, as in {"size": ["small", "large"]}'),
    ] = {}
    graph: Annotated[
        tuple[tuple[str, str], ...] | None,
        Field(description='a list of edges, as in [["cause", "effect"]]'),
    ] = None
    image: Annotated[str, Field(description="the name of a column")] = "image"
    split: Annotated[
        str | None, Field(description='the name of a column or of a file, such as "split.csv"')
    ] = None
    group: Annotated[str | None, Field(description="the name of a column")] = None
    licence: Annotated[str, Field(description="a text")] = "not stated"
    citation: Annotated[str, Field(description="a text")] = ""
    description: Annotated[str, Field(description="a text")] = ""


def read(folder: Path) -> About:
    """about.json in a folder, or what holds without it. Raises `UserError`."""
    path = folder / _FILE
    if not path.exists():
        return About()
    if not path.is_file():  # reading a named pipe would wait for ever
        raise UserError(f"{_FILE} is not a file. Remove it.")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{_FILE} has more than 16 MB. Shorten it: it holds a few names.")
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"{_FILE} cannot be read ({error}). Allow reading it.") from error
    return _parsed(content, f" in {_FILE}")


def of(fields: Mapping[str, Any]) -> About:
    """The same fields as arguments. Raises `UserError`."""
    try:
        content = to_json(dict(fields), fallback=_plain)
    except (PydanticSerializationError, ValueError) as error:
        raise UserError(
            f"the arguments {', '.join(fields)} hold something else than names, numbers, lists and "
            f"dicts ({error}). Convert it."
        ) from error
    return _parsed(content, "")


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise ValueError(f"a {type(value).__name__}")


def _parsed(content: bytes, where: str) -> About:
    try:
        return About.model_validate_json(content)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
    kind, location = fault["type"], fault["loc"]
    if kind == "json_invalid":
        reason = fault.get("ctx", {}).get("error", "")
        raise UserError(f"{_FILE} is not valid JSON ({reason}). Correct it.")
    if not location:
        raise UserError(f"{_FILE} is not a JSON object. Write {{...}} in it.")
    field = str(location[0])
    fields = About.model_fields
    if kind == "extra_forbidden":
        raise UserError(
            f"there is no field {short(field)}{where}{near_miss(field, fields)}. The fields are "
            f"{', '.join(fields)}."
        )
    at = "".join(f"[{part!r}]" for part in location[1:3])
    raise UserError(
        f"{field!r}{where} cannot be read: {short(fault['input'])}"
        f"{f' at {field}{at}' if at else ''} is not what it should be. Write "
        f"{fields[field].description}."
    )


def known(name: str, names: Iterable[str], field: str, kind: str = "factors") -> None:
    """Raises `UserError` unless `name`, which stands in a field, is one of `names`."""
    names = tuple(names)
    if name not in names:
        raise UserError(
            f"{field!r} names {short(name)}{near_miss(name, names)}, but the {kind} are "
            f"{_listed(names)}. Correct the name."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")


def check_graph(names: Sequence[str], graph: Sequence[tuple[str, str]]) -> None:
    """Raises `UserError` for an edge of unknown or equal names, a repeated edge, or a cycle."""
    sorter = graphlib.TopologicalSorter({name: () for name in names})
    for cause, effect in graph:
        for name in (cause, effect):
            known(name, names, "graph")
        if cause == effect:
            raise UserError(f"'graph' lets {cause!r} cause itself. Remove that edge.")
        sorter.add(effect, cause)
    if len(set(graph)) < len(graph):
        twice = next(edge for edge in graph if graph.count(edge) > 1)
        raise UserError(f"'graph' has the edge {_edge(twice)} twice. Remove one.")
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise UserError(
            f"'graph' has a cycle: {_edge(error.args[1])}. Remove one of its edges."
        ) from error


def adjacency(
    names: Sequence[str], graph: Sequence[tuple[str, str]]
) -> tuple[tuple[int, ...], ...]:
    """graph[i][j] = 1 if factor j causes factor i."""
    edges = set(graph)
    return tuple(tuple(int((cause, effect) in edges) for cause in names) for effect in names)


def _edge(names: Sequence[str]) -> str:
    return " -> ".join(names)
