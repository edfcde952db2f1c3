"""`python -m builders.intake`: what was pushed or uploaded becomes a source: one archive of the app's files.

The request is JSON on standard input, the log goes to standard output; `source.tar.gz` and `result.json` into
the request's output folder. It runs in a sandbox like a build, for packs and archives are written by
strangers. Nothing of what they hold runs. Exit status 0: a source was made; 1: none, and the result says why.
"""

import os
import shutil
import struct
import sys
import time
from pathlib import Path

from builders.archive import ArchiveBounds, pack
from builders.errors import BoundHit, BuildError, CloneFailed, IncompletePush, InvalidRequest
from builders.git_command import GitCommand, GitError
from builders.git_url import check_directory
from builders.intake_request import (
    PACK,
    SOURCE_FILE,
    Intake,
    IntakeOutcome,
    IntakeRequest,
    decode_intake_request,
    encode_intake_outcome,
)
from builders.log import BuildLog
from builders.request import MIB, RESULT_FILE, BuildFailure
from builders.source import lay_out_commit
from builders.upload import lay_out_upload

LEVEL = 1  # a source is read a few times and then forgotten: speed counts for more than bytes
REQUEST_BYTES = 64 * 1024
SAID_SUBMODULES = 5


def take_in(request: IntakeRequest, log: BuildLog) -> IntakeOutcome:
    """Make the source. What goes wrong is told in the log and in the outcome."""
    try:
        commit = _take_push(request, log) if request.kind == "push" else _take_upload(request, log)
        target = Path(request.output) / SOURCE_FILE
        root = Path(request.app)
        made = pack(root, target, most_bytes=request.bounds.clone_bytes, what="source", level=LEVEL)
        return Intake(sha256=made.sha256, source_bytes=made.packed_bytes, commit=commit or made.sha256)
    except BuildError as error:
        bound = error.bound if isinstance(error, BoundHit) else None
        return BuildFailure(code=error.code, message=error.message, hint=error.hint, bound=bound)


def _take_push(request: IntakeRequest, log: BuildLog) -> str:
    git = GitCommand(Path(request.work), request.bounds, log, objects=request.objects)
    git.run(["init", "--quiet", "--bare", "."])
    if request.given:
        _index(git, Path(request.given), request.objects)
    try:
        commit = git.run(["rev-parse", "--verify", "--quiet", f"{request.commit}^{{commit}}"]).strip()
    except GitError as error:
        raise CloneFailed(
            f"{request.commit[:12]} is no commit, or came without its objects",
            hint="Push a branch, or a tag of a commit",
        ) from error
    try:  # the commit alone counts, its history may be missing: a shallow clone can be pushed too
        git.run(["rev-list", "--objects", "--no-walk", "--quiet", commit])
    except GitError as error:
        raise _incomplete(request.objects, error) from error
    directory = check_directory(request.directory)
    source = lay_out_commit(git, commit, directory, request.app, request.bounds, log)
    for submodule in source.submodules[:SAID_SUBMODULES]:
        log.problem(f"submodule {submodule.path} is left out: it is not part of what is pushed")
    return source.commit


def _index(git: GitCommand, given: Path, objects: str) -> None:
    """Have the pack in the repository. It is indexed where it lies, without a copy; it is not thin."""
    with given.open("rb") as file:
        head = file.read(12)
    if len(head) < 12 or not head.startswith(b"PACK"):
        raise InvalidRequest("what was pushed is no git pack", hint="Push with git")
    if struct.unpack(">I", head[8:])[0] == 0:
        return
    packs = git.folder / "objects" / "pack"
    packs.mkdir(exist_ok=True)
    os.replace(given, packs / PACK)
    try:
        git.run(["index-pack", f"objects/pack/{PACK}"])
    except GitError as error:
        raise _incomplete(objects, error) from error


def _incomplete(objects: str, error: GitError) -> IncompletePush:
    hint = "Push once more; all is sent then" if objects else "`git fsck` in your repository says more"
    return IncompletePush(f"what was pushed is not whole ({error.last_line})", hint=hint)


def _take_upload(request: IntakeRequest, log: BuildLog) -> str:
    directory = check_directory(request.directory)
    into = Path(request.app) if not directory else Path(request.work) / "upload"
    into.mkdir(exist_ok=True)
    bounds = ArchiveBounds(total_bytes=request.bounds.clone_bytes, members=2 * request.bounds.clone_files)
    with open(request.given, "rb") as archive:
        files = lay_out_upload(archive, into, bounds=bounds)
    log.line(f"{files} files")
    if directory:
        _move_directory(into, directory, Path(request.app))
    return ""


def _move_directory(root: Path, directory: str, app: Path) -> None:
    found = (root / directory).resolve()
    if not found.is_dir() or not found.is_relative_to(root.resolve()):
        raise InvalidRequest(
            f"what was sent has no directory '{directory}'",
            hint="Check --dir; it is relative to what is sent",
        )
    shutil.copytree(found, app, symlinks=True, dirs_exist_ok=True)


def _write(line: str) -> None:
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """Do the intake that is asked for."""
    log = BuildLog(_write)
    try:
        request = decode_intake_request(sys.stdin.buffer.read(REQUEST_BYTES))
    except BuildError as error:
        log.problem(str(error))
        return 2
    os.environ.pop("PYTHONPATH", None)  # it names where we are; git must not see it
    began = time.monotonic()
    outcome = take_in(request, log)
    if isinstance(outcome, Intake):
        log.line(f"{outcome.source_bytes / MIB:.1f} MiB in {time.monotonic() - began:.1f} s")
    result = Path(request.output) / RESULT_FILE
    partial = result.with_suffix(".partial")
    partial.write_bytes(encode_intake_outcome(outcome))
    os.replace(partial, result)
    return 0 if isinstance(outcome, Intake) else 1


if __name__ == "__main__":
    sys.exit(main())
