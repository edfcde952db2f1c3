"""What the intake is asked and what it answers, as values and as JSON. Cheap to import: the node asks.

The answer comes from where strangers' bytes were read: `decode_intake_outcome` believes types and sizes only.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from builders.errors import InvalidRequest
from builders.request import Bounds, BuildFailure

SOURCE_FILE = "source.tar.gz"
PACK = "pack-pushed.pack"  # of a push, in the folder `work`: repository.git/objects/pack; beside its index
OUTCOME_BYTES = 64 * 1024
TEXT_CHARACTERS = 4_096
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRequest:
    """Make a source of what came in; paths as the intake sees them, inside its sandbox."""

    kind: Literal["push", "upload"]
    given: str  # a git pack, or a packed archive; empty when a push brought no objects
    objects: str = ""  # of a push: a folder of git objects that the pack may build on
    commit: str = ""  # of a push: the object that was pushed, a commit or a tag of one
    directory: str = ""  # of the app in it
    work: str = "/build"
    app: str = "/app"  # empty
    output: str = "/output"  # the source and result.json are written here
    bounds: Bounds = Bounds()  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The source that was made."""

    sha256: str
    source_bytes: int
    commit: str  # of an upload the digest of its source


IntakeOutcome = Intake | BuildFailure


def encode_intake_request(request: IntakeRequest) -> bytes:
    """As the intake reads it from its standard input."""
    return json.dumps(asdict(request)).encode()


def decode_intake_request(data: bytes) -> IntakeRequest:
    """Raises `InvalidRequest`."""
    try:
        values = _known(IntakeRequest, json.loads(data))
        bounds = Bounds(**_known(Bounds, values.pop("bounds", {})))
        request = IntakeRequest(**values, bounds=bounds)
        if request.kind not in ("push", "upload") or (
            request.kind == "push" and not COMMIT.fullmatch(request.commit)
        ):
            raise ValueError("neither a push of a commit nor an upload")
        return request
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidRequest(
            f"the request of an intake cannot be read ({error})", hint="It is a JSON object"
        ) from error


def encode_intake_outcome(outcome: IntakeOutcome) -> bytes:
    """As the intake leaves it in its output folder."""
    return json.dumps({"ok": isinstance(outcome, Intake), **asdict(outcome)}).encode()


def decode_intake_outcome(data: bytes) -> IntakeOutcome:
    """Raises `ValueError` for anything but a well-formed outcome within its bounds."""
    if len(data) > OUTCOME_BYTES:
        raise ValueError(f"it has {len(data)} bytes")
    try:
        values = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("it is no object")
    if values.get("ok") is not True:
        code, message, hint = (_text(values.get(name)) for name in ("code", "message", "hint"))
        return BuildFailure(code=code, message=message, hint=hint)
    sha256, commit, source_bytes = values.get("sha256"), values.get("commit"), values.get("source_bytes")
    if not SHA256.fullmatch(_text(sha256)) or not COMMIT.fullmatch(_text(commit)):
        raise ValueError("its digest or commit is malformed")
    if not isinstance(source_bytes, int) or isinstance(source_bytes, bool) or source_bytes < 0:
        raise ValueError("its size is malformed")
    return Intake(sha256=str(sha256), source_bytes=source_bytes, commit=str(commit))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS:
        raise ValueError("a text is malformed or too long")
    value.encode()  # a lone surrogate would fail later, at a worse place
    return value


def _known(kind: type, values: Any) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in dict(values).items() if name in names}
