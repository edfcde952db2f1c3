"""Which app a command is about: `-a/--app`, `PINODE_APP`, or the git remote `pinode` of this folder."""

import re
import subprocess
import urllib.parse
from collections.abc import Callable
from typing import Any

import click

from pinode.cli.invocation import ExitCode, Failure, Invocation


def app_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option `-a/--app` of every command about one app."""
    return click.option(
        "-a", "--app", "app", metavar="NAME", help="the app; else PINODE_APP or the git remote"
    )(function)


def chosen_app(invocation: Invocation, app: str | None) -> str:
    """The app's name. Raises `Failure` when nothing names one."""
    name = app or invocation.environment.get("PINODE_APP") or _of_git_remote()
    if not name:
        raise Failure("which app?", hint="name it with -a NAME, or set PINODE_APP", code=ExitCode.USAGE)
    return name


def app_path(name: str, *rest: str) -> str:
    """The API path of an app; the name is quoted whole, so that no name leaves its place."""
    return "/".join(["/api/v1/apps", *(urllib.parse.quote(part, safe="") for part in (name, *rest))])


def _of_git_remote() -> str | None:
    try:
        found = subprocess.run(
            ["git", "remote", "get-url", "pinode"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"/git/([a-z][a-z0-9-]{0,29})\.git", found.stdout)
    return match[1] if match else None
