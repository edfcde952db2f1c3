"""Version constraints of poetry (`^1.2`, `~1.2`, `1.*`, `>=1 <2`, `^2 || ^3`) in the words of PEP 440."""

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet

CARET = re.compile(r"\^\s*v?(\d+(?:\.\d+)*)(\S*)")
TILDE = re.compile(r"~(?!=)\s*v?(\d+(?:\.\d+)*)(\S*)")
BARE = re.compile(r"v?\d\S*")


def alternatives(text: str) -> list[str]:
    """Specifiers of PEP 440; one of them has to hold. An empty one always does."""
    return [
        ",".join(filter(None, map(_specifier, _parts(part)))) for part in re.split(r"\|\|?", text) or [""]
    ]


def as_specifiers(text: str) -> str:
    """The constraint in one; empty (any version) where it is an alternative, which PEP 440 cannot say."""
    found = alternatives(text)
    return found[0] if len(found) == 1 else ""


def allows(text: str, version: str) -> bool:
    """Does the version satisfy the constraint? What nobody can read does not rule it out."""
    try:
        return any(SpecifierSet(part).contains(version, prereleases=True) for part in alternatives(text))
    except InvalidSpecifier:
        return True


def _parts(text: str) -> list[str]:
    joined = re.sub(r"(===|==|!=|<=|>=|~=|<|>|\^|~)\s+", r"\1", text.strip())
    return [part for part in re.split(r"[,\s]+", joined) if part]


def _specifier(part: str) -> str:
    if part == "*":
        return ""
    if match := CARET.fullmatch(part):
        numbers = [int(number) for number in match[1].split(".")]
        kept = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
        return f">={match[1]}{match[2]},<{_next(numbers[: kept + 1])}"
    if match := TILDE.fullmatch(part):
        numbers = [int(number) for number in match[1].split(".")]
        return f">={match[1]}{match[2]},<{_next(numbers[:2])}"
    return f"=={part.removeprefix('v')}" if BARE.fullmatch(part) else part


def _next(numbers: list[int]) -> str:
    return ".".join(map(str, [*numbers[:-1], numbers[-1] + 1]))
