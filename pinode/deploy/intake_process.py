"""One intake as a child process: a pack or an archive in, a source out; in a sandbox, within its bounds."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from builders.command import Command, CommandBounds, run
from builders.errors import BoundHit
from builders.intake_request import (
    OUTCOME_BYTES,
    PACK,
    SOURCE_FILE,
    IntakeOutcome,
    IntakeRequest,
    decode_intake_outcome,
    encode_intake_request,
)
from builders.request import MIB, RESULT_FILE, Bounds, BuildFailure
from pinode.deploy.build_machine import BuildersProgram
from pinode.deploy.build_usage import tree_exceeded, usage
from pinode.deploy.result_file import read_result
from pinode.deploy.sandbox_end import await_end_of_namespace, kill_marked
from pinode.sandbox.limits import Limits, uid_of_app
from pinode.sandbox.sandbox import Isolation, prepared
from pinode.sandbox.spec import Bind, SandboxSpec

GRACE_SECONDS = 1.0
PROCESSES = 64
NICENESS = 5
MARK = "PINODE_INTAKE"
GIVEN = "given"
OBJECTS = "/objects"  # where the push cache is seen
FOLDERS = {"work": "/build", "app": "/app", "output": "/output", "tmp": "/tmp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOrder:
    """What came in, in the file `work/given` of `folder`, which is this intake's alone."""

    kind: Literal["push", "upload"]
    app: str  # its folder's name
    folder: Path
    commit: str = ""
    directory: str = ""
    objects: Path | None = None  # of earlier pushes
    bounds: Bounds = field(default_factory=Bounds)


def make_folders(folder: Path, *, app: str, isolation: Isolation) -> Path:
    """Make the folders of an intake, and say where what comes in is to be written. Blocking."""
    folder.mkdir(mode=0o711, parents=True)
    for name in FOLDERS:
        (folder / name).mkdir()
        if isolation.own_uids:
            uid = uid_of_app(app)
            os.chown(folder / name, uid, uid)
    return folder / "work" / GIVEN


def source_path(folder: Path) -> Path:
    """Where an intake leaves its source; written by what read strangers' bytes: never follow it as a link."""
    return folder / "output" / SOURCE_FILE


def pack_path(folder: Path) -> Path:
    """Where the intake of a push leaves the pack, if it had one, and its index."""
    return folder / "work" / "repository.git" / "objects" / "pack" / PACK


async def run_intake(
    order: IntakeOrder, program: BuildersProgram, isolation: Isolation, *, on_line: Callable[[str], None]
) -> IntakeOutcome:
    """Do it and say what came of it. Cancelled, it returns when the whole process tree is gone."""
    status_file = order.folder / "status"
    status = os.open(status_file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def end_all() -> None:
        if isolation.available:
            await_end_of_namespace(status_file)
        else:
            kill_marked(f"{MARK}={order.folder}".encode())

    def exceeded(pid: int) -> BoundHit | None:
        return tree_exceeded(pid, order.bounds) or _disk_exceeded(order)

    try:
        spec = _spec(order, program, isolation, status if isolation.available else None)
        with prepared(spec, isolation) as ready:
            command = Command(
                argv=ready.argv,
                env=ready.env,
                cwd=ready.cwd,
                pass_fds=ready.pass_fds,
                user=ready.user,
                given=encode_intake_request(_request(order, isolation)),
                bounds=CommandBounds(
                    wall_seconds=order.bounds.wall_seconds + GRACE_SECONDS,
                    silence_seconds=order.bounds.wall_seconds + GRACE_SECONDS,
                    output_bytes=order.bounds.output_bytes,
                ),
                watch=exceeded,
            )
            code = await run(command, on_line=on_line, after_end=end_all)
    except BoundHit as hit:
        return BuildFailure(code=hit.code, message=f"taking it in was ended: {hit.message}", hint=hit.hint)
    finally:
        os.close(status)
    return await asyncio.to_thread(_read_outcome, order.folder / "output" / RESULT_FILE, code)


def _request(order: IntakeOrder, isolation: Isolation) -> IntakeRequest:
    def seen(name: str) -> str:
        return FOLDERS[name] if isolation.available else str(order.folder / name)

    objects = "" if order.objects is None else OBJECTS if isolation.available else str(order.objects)
    return IntakeRequest(
        kind=order.kind,
        given=f"{seen('work')}/{GIVEN}",
        objects=objects,
        commit=order.commit,
        directory=order.directory,
        work=seen("work"),
        app=seen("app"),
        output=seen("output"),
        bounds=order.bounds,
    )


def _spec(
    order: IntakeOrder, program: BuildersProgram, isolation: Isolation, status_fd: int | None
) -> SandboxSpec:
    binds = [Bind(str(order.folder / name), target, writable=True) for name, target in FOLDERS.items()]
    if order.objects is not None:
        binds.append(Bind(str(order.objects), OBJECTS))
    return SandboxSpec(
        command=(program.python, "-P", "-m", "builders.intake"),
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": FOLDERS["work"] if isolation.available else str(order.folder / "work"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": program.python_path,
            "PYTHONDONTWRITEBYTECODE": "1",
            MARK: str(order.folder),
        },
        cwd=FOLDERS["work"],
        binds=(*binds, *program.binds),
        uid=uid_of_app(order.app) if isolation.own_uids else None,
        die_with_parent=True,
        status_fd=status_fd,
        tmp_bytes=None,
        hostname="intake",
        limits=Limits(
            processes=PROCESSES, file_bytes=2 * order.bounds.clone_bytes + 2**20, niceness=NICENESS
        ),
    )


def _disk_exceeded(order: IntakeOrder) -> BoundHit | None:
    written, _ = usage(order.folder)
    if written <= order.bounds.disk_bytes:
        return None
    return BoundHit(
        "disk",
        f"it wrote {written // MIB} MiB; {order.bounds.disk_bytes // MIB} MiB are allowed",
        hint="Send less, or raise [limits] build_disk_bytes",
    )


def _read_outcome(path: Path, code: int) -> IntakeOutcome:
    """What the child left; it may be a link, a device, a lie or nothing."""
    try:
        return read_result(path, decode_intake_outcome, most_bytes=OUTCOME_BYTES)
    except (OSError, ValueError) as error:
        return BuildFailure(
            code="intake_failed",
            message=f"taking it in ended with status {code} and left no result ({error})",
            hint="Try again; this node's log may say more",
        )
