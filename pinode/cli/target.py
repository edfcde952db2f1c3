"""Which app a command is about: `-a/--app`, `PINODE_APP`, or the git remote `pinode` of this folder."""

import re
from collections.abc import Callable
from typing import Any

import click

from pinode.apps.checks import check_app_name
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import say

GIT_SECONDS = 5
REMOTE = "pinode"
REMOTE_APP = re.compile(r"/git/([a-z][a-z0-9-]{0,29})\.git")


def app_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option `-a/--app` of every command about one app."""
    return click.option(
        "-a", "--app", "app", metavar="NAME", help="the app; else PINODE_APP or the git remote"
    )(function)


def chosen_app(invocation: Invocation, app: str | None) -> str:
    """The app's name. Raises `Failure` when nothing names one, `InvalidName` when it cannot be one."""
    name = app if app is not None else invocation.environment.get("PINODE_APP") or _of_git_remote()
    if name is None:
        raise Failure("which app?", hint="name it with -a NAME, or set PINODE_APP", code=ExitCode.USAGE)
    check_app_name(name)
    return name


def app_path(name: str, *rest: str) -> str:
    """The API path of an app."""
    return "/".join(["/api/v1/apps", name, *rest])


def follow_rename(old: str, new: str) -> None:
    """Have the git remote `pinode` of this folder push to the app by its new name, if it pushes to it."""
    url = _git_remote("get-url", REMOTE)
    if _app_in(url) != old:
        return
    renamed = REMOTE_APP.sub(f"/git/{new}.git", url.strip())
    _git_remote("set-url", REMOTE, renamed)
    if _app_in(_git_remote("get-url", REMOTE)) == new:
        say(f"the remote {REMOTE} of this folder is {renamed} now")


def _of_git_remote() -> str | None:
    return _app_in(_git_remote("get-url", REMOTE))


def _app_in(url: str) -> str | None:
    match = REMOTE_APP.search(url)
    return match[1] if match else None


def _git_remote(*words: str) -> str:
    """What git says; nothing where there is no git, no repository or no such remote."""
    import subprocess  # most commands name their app

    try:
        done = subprocess.run(["git", "remote", *words], capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
