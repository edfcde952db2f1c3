"""`python -m builders [REQUEST]`: one build, as one program.

The request is JSON on standard input or in a file; the log goes to standard output; `slug.tar.gz` and
`result.json` into the request's output folder. Exit status 0: a slug was built; 1: none, and the result says
why.
"""

import asyncio
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from builders.app_json import APP_JSON_BYTES, AppJson, parse_app_json
from builders.archive import pack
from builders.builder import BuildContext, Builder, Built, ProcfileBuilder
from builders.codec import REQUEST_BYTES, decode_request, encode_outcome
from builders.errors import BoundHit, BuildError, NoBuilderFound
from builders.git_url import check_git_url
from builders.go import GoBuilder
from builders.log import BuildLog
from builders.machine_code import ANY_MACHINE, machines_in, runs_on
from builders.nodejs import NodejsBuilder
from builders.procfile import PROCFILE_BYTES, parse_procfile
from builders.python import PythonBuilder
from builders.request import MIB, RESULT_FILE, SLUG_FILE, BuildFailure, BuildRequest, BuildResult, Outcome
from builders.source import Source, fetch_source
from builders.static import StaticBuilder
from builders.steps import Steps
from builders.stored_data import storage_notes
from builders.submodules import fetch_submodules
from builders.wished_vars import check_required, first_values

# The most specific first; a Procfile alone before a static site, for it says what runs.
BUILDERS: tuple[Builder, ...] = (
    PythonBuilder(),
    GoBuilder(),
    NodejsBuilder(),
    ProcfileBuilder(),
    StaticBuilder(),
)
FOLDERS_LOOKED_AT = 200  # for an app, where the repository's root is none
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class _Build:
    """One build, from request to outcome."""

    def __init__(self, request: BuildRequest, log: BuildLog) -> None:
        self._request = request
        self._log = log
        self._commit: str | None = None

    async def run(self) -> Outcome:
        bounds = self._request.bounds
        try:
            async with asyncio.timeout(bounds.wall_seconds):
                return await self._make()
        except TimeoutError:
            return self._failed(_too_long(bounds.wall_seconds))
        except BuildError as error:
            return self._failed(error)

    async def _make(self) -> BuildResult:
        for name in ("home", "tmp"):
            (Path(self._request.work) / name).mkdir(exist_ok=True)
        source = await asyncio.to_thread(fetch_source, self._request, self._log)
        self._commit = source.commit
        await asyncio.to_thread(fetch_submodules, source, self._request, self._log)
        return await self._make_slug(source)

    async def _make_slug(self, source: Source) -> BuildResult:
        app = Path(self._request.app)
        builder, seen = _builder_for(app, self._request)
        self._log.step(f"{builder.name.capitalize()} app: the repository has {seen}")
        procfile, app_json = _read_procfile(app), _read_app_json(app)
        taken = self._take_vars(app_json)
        steps = Steps(self._request, self._log)
        built = await builder.build(
            BuildContext(
                request=self._request,
                app=app,
                log=self._log,
                run=steps.run,
                run_tool=steps.run_tool,
                attempt=steps.attempt,
                procfile=procfile,
            )
        )
        types = _process_types(procfile or built.process_types, builder)
        if built.inferred:
            self._log.step(f"No Procfile: found {built.inferred}")
        notes = built.notes
        if builder.name != "static":  # which may have a database to offer
            notes += await asyncio.to_thread(storage_notes, app)
        for note in notes:
            self._log.problem(note)
        machine = await asyncio.to_thread(_machine_of, built, app)
        self._log.step(f"Packing the slug, for {_said(machine, built.interpreter)}")
        target = Path(self._request.output) / SLUG_FILE
        layer = built.layer.packed if built.layer is not None else None
        most_bytes = self._request.bounds.slug_bytes
        packed = await asyncio.to_thread(pack, app, target, most_bytes=most_bytes, layer=layer)
        if built.layer is not None:
            await built.layer.keep(steps.run, os.environ)
        self._log.line(f"{packed.packed_bytes / MIB:.1f} MiB, sha256 {packed.sha256}")
        return BuildResult(
            commit=source.commit,
            slug_sha256=packed.sha256,
            slug_bytes=packed.packed_bytes,
            builder=builder.name,
            process_types=types,
            machine=machine,
            python=built.python,
            interpreter=built.interpreter,
            inferred=built.inferred,
            notes=(*source.notes, *notes),
            app_json=app_json,
            first_values=taken,
        )

    def _take_vars(self, app_json: AppJson) -> dict[str, str]:
        """Give the build what app.json gives to config vars that are not set; what that is."""
        present = self._request.config_vars
        found = first_values(app_json, present) if self._request.is_first else {}
        check_required(app_json, {**found, **present})
        if found:
            made = {wish.name for wish in app_json.env if wish.value is None}
            named = ", ".join(f"{name} (made up)" if name in made else name for name in found)
            self._log.step(f"app.json sets {named}")
            self._request = replace(self._request, config_vars={**found, **present})
        return found

    def _failed(self, error: BuildError) -> BuildFailure:
        message, hint = self._log.masked(error.message), self._log.masked(error.hint)
        self._log.problem(message)
        if hint:
            self._log.problem(hint)
        bound = error.bound if isinstance(error, BoundHit) else None
        return BuildFailure(code=error.code, message=message, hint=hint, commit=self._commit, bound=bound)


def _process_types(found: Mapping[str, str], builder: Builder) -> dict[str, str]:
    if not found:
        raise BuildError(
            f"nothing says what to run: no Procfile, and in this {builder.name} app none was recognised",
            hint="Write a file named Procfile with a line such as `web: gunicorn app:app`",
        )
    return dict(found)


def _machine_of(built: Built, app: Path) -> str:
    """For which machines the slug is. What was made here was made for this one, whatever else lies in it."""
    if built.machine is not None:
        return built.machine
    found = machines_in(app)
    return runs_on(found if built.is_as_sent or not found else (platform.machine(),))


def _said(machine: str, interpreter: str | None) -> str:
    kind = "nodes with any CPU" if machine == ANY_MACHINE else f"nodes with {machine}"
    return f"{kind} and {interpreter}" if interpreter else kind


def _too_long(seconds: float) -> BoundHit:
    return BoundHit(
        "wall",
        f"the build took longer than {seconds:g} s",
        hint="Make it shorter, or raise [timings] build_seconds",
    )


def _builder_for(app: Path, request: BuildRequest) -> tuple[Builder, str]:
    for builder in BUILDERS:
        if seen := builder.detects(app):
            return builder, seen
    tried = "; ".join(f"{builder.name}: {builder.wants}" for builder in BUILDERS)
    raise NoBuilderFound(
        tried=tried,
        looked_in=request.directory or "this repository",
        nearly=_nearly(app, request.directory or ""),
    )


def _nearly(app: Path, directory: str) -> str:
    """What the folder looks like to people, and what is missing; empty where that is not plain."""
    if next(app.glob("*.py"), None) is not None:
        return "It has Python files: name the packages it needs in requirements.txt (an empty one will do)"
    for folder in sorted(app.iterdir())[:FOLDERS_LOOKED_AT]:
        is_ours = PLAIN_NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
        if is_ours and any(builder.detects(folder) for builder in BUILDERS):
            below = f"{directory.rstrip('/')}/{folder.name}".lstrip("/")
            return f"The folder {below} looks like an app: deploy it with --dir {below}"
    return ""


def _read_procfile(app: Path) -> dict[str, str]:
    path = app / "Procfile"
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        return parse_procfile(file.read(PROCFILE_BYTES + 1))


def _read_app_json(app: Path) -> AppJson:
    path = app / "app.json"
    if not path.is_file():
        return AppJson()
    with path.open("rb") as file:
        return parse_app_json(file.read(APP_JSON_BYTES + 1))


def _secrets(request: BuildRequest) -> tuple[str, ...]:
    try:
        return (*request.secrets, *check_git_url(request.git_url, administrator=True).secrets)
    except BuildError:
        return request.secrets


def _write(line: str) -> None:
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """Run the build that is asked for."""
    if len(sys.argv) > 1:
        with open(sys.argv[1], "rb") as file:
            data = file.read(REQUEST_BYTES + 1)
    else:
        data = sys.stdin.buffer.read(REQUEST_BYTES + 1)
    try:
        request = decode_request(data)
    except BuildError as error:
        _write(f" !     {error}")
        return 2
    os.environ.pop("PYTHONPATH", None)  # it names where we are; what we start must not see it
    outcome = asyncio.run(_Build(request, BuildLog(_write, secrets=_secrets(request))).run())
    result = Path(request.output) / RESULT_FILE
    partial = result.with_suffix(".partial")
    partial.write_bytes(encode_outcome(outcome))
    os.replace(partial, result)
    return 0 if isinstance(outcome, BuildResult) else 1


if __name__ == "__main__":
    sys.exit(main())
