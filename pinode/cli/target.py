"""Which app a command is about: `-a/--app`, `PINODE_APP`, or the git remote `pinode` of this folder."""

import re
from collections.abc import Callable
from typing import Any

import click

from pinode.apps.checks import check_app_name
from pinode.cli.invocation import ExitCode, Failure, Invocation

GIT_SECONDS = 5


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


def _of_git_remote() -> str | None:
    import subprocess  # most commands name their app

    try:
        found = subprocess.run(
            ["git", "remote", "get-url", "pinode"], capture_output=True, text=True, timeout=GIT_SECONDS
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"/git/([a-z][a-z0-9-]{0,29})\.git", found.stdout)
    return match[1] if match else None
