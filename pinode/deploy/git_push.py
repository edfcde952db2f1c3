"""A push that has arrived, deployed: one branch or tag, built and released while its sender watches."""

import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from builders.errors import InvalidRequest
from builders.git_url import check_directory, check_ref
from pinode.apps.app import App
from pinode.apps.release import Release
from pinode.apps.source import Source
from pinode.cluster import Cluster
from pinode.deploy.build_job import request_build_of_source
from pinode.deploy.build_log import build_log
from pinode.deploy.git_protocol import PushCommands
from pinode.deploy.going_live import lines_of, until_live
from pinode.deploy.intake import Reception
from pinode.errors import InvalidInput

REF = re.compile(r"refs/(heads|tags)/(.+)")
DIRECTORY_OPTION = "dir"


def check_push(commands: PushCommands) -> None:
    """Raise `InvalidInput` for what no build comes of, before its pack is read."""
    if len(commands.updates) != 1:
        raise InvalidInput(
            f"the push names {len(commands.updates)} branches and tags, and deploys one.",
            hint="Push one of them: git push pinode main.",
        )
    update = commands.updates[0]
    match = REF.fullmatch(update.ref)
    if update.is_deletion or match is None:
        raise InvalidInput(
            f"{update.ref[:100]!r} is no branch and no tag to deploy.", hint="git push pinode main"
        )
    try:
        check_ref(match[2])
        check_directory(_directory_option(commands) or "")
    except InvalidRequest as refused:
        raise InvalidInput(f"{refused.message}.", hint=refused.hint) from refused


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was pushed, as two nodes have it: a commit by the name it was pushed to, a folder of it."""

    source: Source
    ref: str
    directory: str


async def take_in(
    cluster: Cluster,
    reception: Reception,
    commands: PushCommands,
    *,
    app: App,
    say: Callable[[str], None],
) -> Pushed:
    """Make what has arrived a source. Raises what is wrong with it."""
    update = commands.updates[0]
    directory = _directory_option(commands)
    if directory is None:
        directory = _last_directory(cluster, app)
        if directory:
            say(f"-----> The app is in {directory}, as before (git push -o dir=. pinode … for the root)")
    source = await reception.finish(
        "push",
        commit=update.new,
        directory=check_directory(directory),
        is_whole=not commands.is_shallow,
        on_line=say,
    )
    return Pushed(source, update.ref.split("/", 2)[2], check_directory(directory))


async def deploy_push(
    cluster: Cluster, pushed: Pushed, *, app: App, actor: str, say: Callable[[str], None]
) -> Release:
    """Build and release what was pushed; `say` gets the log as it is written.

    Raises why it came to nothing. Once the build is asked for it goes on, also when nobody watches any more.
    """
    build_id = await request_build_of_source(
        cluster,
        pushed.source,
        app=app,
        origin="push",
        actor=actor,
        ref=pushed.ref,
        subdirectory=pushed.directory or None,
    )
    async with aclosing(build_log(cluster, build_id, follow=True)) as chunks:
        async for line in lines_of(chunks):
            say(line)
    build = cluster.state.registry.build(build_id)
    if build is not None and build.state == "succeeded":
        say("-----> Starting it")
    return await until_live(cluster, build_id)


def _directory_option(commands: PushCommands) -> str | None:
    """`git push -o dir=services/web`."""
    directory = None
    for option in commands.options:
        name, equals, value = option.partition("=")
        if name != DIRECTORY_OPTION or not equals:
            raise InvalidInput(
                f"the push option {option[:100]!r} means nothing here.", hint="Known is -o dir=SUBDIRECTORY."
            )
        directory = value
    return directory


def _last_directory(cluster: Cluster, app: App) -> str:
    newest = next(iter(cluster.state.registry.deploys(app.name)), None)
    return (newest.subdirectory or "") if newest is not None else ""
