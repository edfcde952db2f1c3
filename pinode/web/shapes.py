"""How JSON looks that is taken or answered: JSON Schema, of a few words of our own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An object with these fields and no others. One with a name is described once for all who use it."""

    fields: Mapping[str, "Shape"]
    optional: Mapping[str, "Shape"] = field(default_factory=dict)
    name: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all its fields."""
        return (*self.fields, *self.optional)


Shape = Schema | Record

TEXT: Schema = {"type": "string"}
SECRET: Schema = {**TEXT, "writeOnly": True}  # taken, and kept nowhere as it is
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {}
SWITCH: Schema = {"type": "string", "enum": ["0", "1", "true", "false"]}  # after the question mark
# Not negative; as long as a duration may be that is asked for.
SECONDS: Schema = {"type": "number", "minimum": 0}


def one_of(*words: str) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(words)}


def text(pattern: str = "", *, most: int | None = None) -> Schema:
    """A text that is wholly of the pattern, of at most so many characters."""
    bounds: dict[str, Any] = {"pattern": f"^(?:{pattern})$"} if pattern else {}
    return {**TEXT, **bounds, **({} if most is None else {"maxLength": most})}


def whole(low: int, high: int) -> Schema:
    """A whole number within these, both included."""
    return {**WHOLE, "minimum": low, "maximum": high}


def maybe(shape: Shape) -> Schema:
    """It, or null."""
    return {"anyOf": [shape, {"type": "null"}]}


def list_of(shape: Shape) -> Schema:
    """A list of such."""
    return {"type": "array", "items": shape}


def by_name(shape: Shape) -> Schema:
    """An object that has such a value for each name."""
    return {"type": "object", "additionalProperties": shape}


def page_of(shape: Shape) -> Record:
    """One page of a list, and the cursor of the next."""
    return Record({"items": list_of(shape), "next": maybe(TEXT)})


def has_secrets(shape: Shape) -> bool:
    """Whether a secret may be in it."""
    if isinstance(shape, Record):
        return any(has_secrets(one) for one in (*shape.fields.values(), *shape.optional.values()))
    parts = (shape.get("items"), shape.get("additionalProperties"), *shape.get("anyOf", ()))
    return "writeOnly" in shape or any(has_secrets(one) for one in parts if one)


def without_secrets(shape: Shape, value: Any) -> Any:
    """What is asked for; of a secret only whether it is given. Fields that the shape has not are left out."""
    if isinstance(value, dict):
        if isinstance(shape, Record):
            known = {**shape.fields, **shape.optional}
            return {name: without_secrets(known[name], one) for name, one in value.items() if name in known}
        if "additionalProperties" in shape:
            return {name: without_secrets(shape["additionalProperties"], one) for name, one in value.items()}
    return value is not None if has_secrets(shape) else value


def schema_of(shape: Shape, named: dict[str, Schema]) -> Schema:
    """As JSON Schema; records with a name are put into `named` and referred to."""
    if isinstance(shape, Record):
        if not shape.name:
            return _object(shape, named)
        if shape.name not in named:
            named[shape.name] = {}  # it may contain itself
            named[shape.name] = _object(shape, named)
        return {"$ref": f"#/components/schemas/{shape.name}"}
    return {key: _resolved(value, named) for key, value in shape.items()}


def _resolved(value: Any, named: dict[str, Schema]) -> Any:
    if isinstance(value, Record | Mapping):
        return schema_of(value, named)
    if isinstance(value, list | tuple):
        return [_resolved(one, named) for one in value]
    return value


def _object(record: Record, named: dict[str, Schema]) -> Schema:
    both = {**record.fields, **record.optional}
    return {
        "type": "object",
        "properties": {name: schema_of(shape, named) for name, shape in both.items()},
        "required": list(record.fields),
        "additionalProperties": False,
    }
