"""poetry.lock, Pipfile and Pipfile.lock as requirements and constraints that uv installs, hashes and all.

Neither poetry nor Pipenv runs: what is needed of a lock is names, versions, hashes and markers, and uv's
resolver walks from the project's own dependencies along them. Pure: the files' texts in, lines out.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builders.errors import BuildError
from builders.poetry_versions import allows, as_specifiers

PYPI = ("https://pypi.org/simple", "https://pypi.python.org/simple")
MARKER_KEYS = (
    "os_name", "sys_platform", "platform_machine", "platform_system", "python_version", "python_full_version",
    "implementation_name",
)  # fmt: skip
ELSEWHERE = ("git", "url", "directory", "file")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Lines of a requirements file and of a constraints file; `is_whole`: nothing but these is wanted."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    is_whole: bool = False
    notes: tuple[str, ...] = ()


def from_poetry(project: Mapping[str, Any], lock: str | None, *, python: str) -> Asked:
    """The main dependencies of pyproject.toml, held to poetry.lock if there is one."""
    packages = _poetry_packages(lock, python) if lock is not None else {}
    roots = _poetry_roots(project, packages, is_locked=lock is not None)
    constraints, indexes, notes = [], [], []
    for name, found in sorted(packages.items()):
        told_apart = len(found) == 1 or all(isinstance(item.get("markers"), str) for item in found)
        if not told_apart:
            notes.append(
                f"poetry.lock has several versions of {name} and does not say when which; uv chooses"
            )
            continue
        constraints += [_poetry_constraint(item) for item in found]
        indexes += [_table(item, "source").get("url") for item in found if _source(item) == "legacy"]
    lines = (*_index_lines(indexes), *roots)
    return Asked(requirements=lines, constraints=tuple(constraints), notes=tuple(notes))


def from_pipfile_lock(text: str) -> Asked:
    """Everything in the lock's `default` section, and nothing else."""
    try:
        lock = json.loads(text)
        packages, meta = lock.get("default"), _table(lock, "_meta")
        lines = [_pipfile_line(name, item) for name, item in sorted(packages.items())]
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise _unreadable("Pipfile.lock", error) from error
    sources = [_table({"": item}, "").get("url") for item in meta.get("sources", [])]
    return Asked(requirements=(*_index_lines(sources), *lines), is_whole=True)


def from_pipfile(text: str) -> Asked:
    """The `packages` of a Pipfile that has no lock."""
    pipfile = read_toml("Pipfile", text)
    lines = [_pipfile_line(name, item) for name, item in _table(pipfile, "packages").items()]
    sources = [_table({"": item}, "").get("url") for item in pipfile.get("source", [])]
    note = "there is no Pipfile.lock: another build may get other versions. Commit one (pipenv lock)"
    return Asked(requirements=(*_index_lines(sources), *lines), notes=(note,))


def read_toml(file: str, text: str) -> dict[str, Any]:
    """The table in it; raises `BuildError`."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: Exception) -> BuildError:
    return BuildError(f"{file} cannot be read ({error})", hint="Mend it, or make it anew")


def _poetry_packages(lock: str, python: str) -> dict[str, list[Mapping[str, Any]]]:
    """The lock's packages by normal name; those for other Pythons left out."""
    document = read_toml("poetry.lock", lock)
    old_files = _table(_table(document, "metadata"), "files")
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in document.get("package", []):
        if not isinstance(item, dict) or not allows(str(item.get("python-versions", "*")), python):
            continue
        files = item.get("files") or old_files.get(str(item.get("name")), [])
        found.setdefault(_normal(str(item.get("name", ""))), []).append({**item, "files": files})
    return found


def _poetry_roots(
    project: Mapping[str, Any], packages: Mapping[str, Sequence[Mapping[str, Any]]], *, is_locked: bool
) -> list[str]:
    standard = _table(project, "project").get("dependencies")
    poetry = _table(_table(_table(project, "tool"), "poetry"), "dependencies")
    roots: list[str] = []
    for line in standard if isinstance(standard, list) else ():
        if " @ " not in str(line):
            roots.append(str(line))
    named = {_normal(re.split(r"[\s\[<>=!~;@(]", line, maxsplit=1)[0]) for line in roots}
    for name, item in poetry.items():
        if name.lower() == "python" or (_normal(name) in named and _normal(name) not in packages):
            continue
        variants = item if isinstance(item, list) else [item]
        if isinstance(standard, list) and not any(_is_elsewhere(variant) for variant in variants):
            continue  # it only says more of what [project] has named
        locked = [found for found in packages.get(_normal(name), ()) if _source(found) in ELSEWHERE]
        roots += (
            [_poetry_constraint(found) for found in locked]
            if locked and not _is_optional(item)
            else [_poetry_line(name, variant) for variant in variants if not _is_optional(variant)]
        )
    missing = sorted(named - packages.keys()) if is_locked else []
    missing += [name for name in map(_normal, poetry) if is_locked and _is_missing(name, poetry, packages)]
    if missing:
        raise BuildError(
            f"pyproject.toml asks for {missing[0]}, which poetry.lock does not know",
            hint="Run `poetry lock` and commit the file",
        )
    return roots


def _is_missing(name: str, poetry: Mapping[str, Any], packages: Mapping[str, object]) -> bool:
    item = next(value for key, value in poetry.items() if _normal(key) == name)
    variants = item if isinstance(item, list) else [item]
    # What is only for another Python or system may have been left out above, or by poetry.
    plain = all(isinstance(variant, str) for variant in variants)
    return name != "python" and plain and name not in packages


def _poetry_line(name: str, item: Any) -> str:
    if isinstance(item, str):
        return _line(name, specifiers=as_specifiers(item))
    fields = _table({"": item}, "")
    markers = [str(fields["markers"])] if fields.get("markers") else []
    if fields.get("python"):
        markers += map(_python_marker, filter(None, as_specifiers(str(fields["python"])).split(",")))
    if fields.get("platform"):
        markers.append(f"sys_platform == '{fields['platform']}'")
    return _line(
        name,
        extras=fields.get("extras", ()),
        specifiers=as_specifiers(str(fields.get("version", "*"))),
        place=_place(fields),
        markers=markers,
    )


def _python_marker(specifier: str) -> str:
    match = re.fullmatch(r"\s*(===|==|!=|<=|>=|<|>|~=)\s*([0-9A-Za-z.*+-]+)\s*", specifier)
    if match is None:
        raise BuildError(f"pyproject.toml asks for python {specifier[:40]!r}", hint="Write a version")
    return f"python_full_version {match[1]} '{match[2]}'"


def _poetry_constraint(item: Mapping[str, Any]) -> str:
    name, source = str(item.get("name", "")), _table(item, "source")
    markers = [item["markers"]] if isinstance(item.get("markers"), str) else []
    if _source(item) == "git":
        reference = source.get("resolved_reference") or source.get("reference") or ""
        return _line(name, place=f"git+{source.get('url')}@{reference}", markers=markers)
    if _source(item) == "url":
        return _line(name, place=str(source.get("url")), markers=markers)
    if _source(item) in ("directory", "file"):
        return _line(name, place=str(source.get("url")), markers=markers)
    hashes = [str(_table({"": file}, "").get("hash", "")) for file in item.get("files", [])]
    return _line(name, specifiers=f"=={item.get('version')}", markers=markers, hashes=hashes)


def _pipfile_line(name: str, item: Any) -> str:
    if isinstance(item, str):
        return _line(name, specifiers="" if item.strip() == "*" else item)
    fields = _table({"": item}, "")
    markers = [str(fields["markers"])] if fields.get("markers") else []
    markers += [f"{key} {fields[key]}" for key in MARKER_KEYS if isinstance(fields.get(key), str)]
    version = str(fields.get("version", "*"))
    return _line(
        name,
        extras=fields.get("extras", ()),
        specifiers="" if version == "*" else version,
        place=_place(fields),
        markers=markers,
        hashes=[str(value) for value in fields.get("hashes", [])],
    )


def _place(fields: Mapping[str, Any]) -> str | None:
    """Where a package is, that is in no index."""
    below = f"#subdirectory={fields['subdirectory']}" if fields.get("subdirectory") else ""
    if fields.get("git"):
        at = fields.get("rev") or fields.get("ref") or fields.get("tag") or fields.get("branch")
        return f"git+{fields['git']}" + (f"@{at}" if at else "") + below
    for key in ("url", "file", "path"):
        if fields.get(key):
            return str(fields[key])
    return None


def _is_elsewhere(item: Any) -> bool:
    return isinstance(item, dict) and _place(item) is not None


def _is_optional(item: Any) -> bool:
    return isinstance(item, dict) and item.get("optional") is True


def _line(
    name: str,
    *,
    extras: Iterable[object] = (),
    specifiers: str = "",
    place: str | None = None,
    markers: Sequence[str] = (),
    hashes: Iterable[str] = (),
) -> str:
    """One requirement; what would be another line, or an option, is refused."""
    more = f"[{','.join(map(str, extras))}]" if extras else ""
    if place is not None and "://" not in place and not place.startswith("git+"):
        line = place if place.startswith((".", "/")) else f"./{place}"
        more = ""
    else:
        line = f"{name}{more}" + (f" @ {place}" if place else specifiers)
    joined = " and ".join(f"({marker})" for marker in markers if marker)
    line += f" ; {joined}" if joined else ""
    line += "".join(f" --hash={value}" for value in sorted(hashes) if re.fullmatch(r"\w+:[0-9a-f]+", value))
    if not NAME.fullmatch(name) or not line.isprintable() or line.startswith("-"):
        raise BuildError(f"a lock file names the package {name[:80]!a}", hint="Make the lock file anew")
    return line


def _index_lines(urls: Iterable[object]) -> list[str]:
    more = dict.fromkeys(str(url).rstrip("/") for url in urls if url)
    return [
        f"--extra-index-url {url}"
        for url in more
        if url not in PYPI and re.fullmatch(r"https?://\S+", url) and url.isprintable()
    ]


def _source(item: Mapping[str, Any]) -> str:
    return str(_table(item, "source").get("type", ""))


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
