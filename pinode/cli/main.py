"""`pinode`: finds the command and runs it. `ps:scale` and `ps scale` are the same; flags stand anywhere."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.errors import PinodeError

# name -> (module, function, one line of help). Modules are imported only when their command runs.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("node_commands", "init", "write cluster.toml and cluster.key for a new cluster"),
    "start": ("node_commands", "start", "run this node, in the foreground"),
    "stop": ("node_commands", "stop", "stop this node and its dynos"),
    "status": ("node_commands", "status", "the cluster as this node sees it"),
    "nodes": ("node_commands", "nodes", "the nodes and what they do"),
    "setup-code": ("node_commands", "setup_code", "the code that registers the first administrator"),
    "demo": ("demo", "demo", "three nodes on this machine, and an app"),
    "version": ("node_commands", "version", "the version of pinode"),
    "apps": ("app_commands", "apps", "all apps"),
    "apps:create": ("app_commands", "apps_create", "create an app"),
    "apps:info": ("app_commands", "apps_info", "one app"),
    "apps:destroy": ("app_commands", "apps_destroy", "remove an app for good"),
    "deploy": ("build_commands", "deploy", "build and deploy an app from a git URL"),
    "builds": ("build_commands", "builds", "an app's builds"),
    "builds:output": ("build_commands", "builds_output", "what a build printed"),
    "builds:cancel": ("build_commands", "builds_cancel", "end a build"),
    "releases": ("build_commands", "releases", "an app's releases"),
    "ps": ("app_commands", "ps", "an app's dynos"),
    "ps:scale": ("app_commands", "ps_scale", "how many dynos of each process type"),
    "logs": ("app_commands", "logs", "what an app's dynos print"),
    "config": ("app_commands", "config", "an app's config vars"),
    "config:set": ("app_commands", "config_set", "set config vars"),
    "config:unset": ("app_commands", "config_unset", "remove config vars"),
    "queue": ("queue_commands", "queue", "the topics of the queue"),
}
CODE_OF_ERROR = {
    "invalid": ExitCode.USAGE, "invalid_settings": ExitCode.USAGE, "not_found": ExitCode.NOT_FOUND,
    "not_logged_in": ExitCode.NOT_ALLOWED, "not_allowed": ExitCode.NOT_ALLOWED, "conflict": ExitCode.CONFLICT,
    "unreachable": ExitCode.NO_NODE, "no_leader": ExitCode.NO_LEADER, "timed_out": ExitCode.TIMED_OUT,
}  # fmt: skip
FLAGS_WITH_VALUE = {"--config": "config", "--data-dir": "data_dir", "--server": "server"}
FLAGS = {"--json": "json", "--no-input": "no_input"}


class UnknownCommand(Failure):
    """There is no such command; the message names the nearest one."""

    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean `pinode {near[0]}`?" if near else "`pinode --help` lists all commands."
        super().__init__(f"there is no command {name!r}", hint=hint, code=ExitCode.USAGE)


def split_flags(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take pinode's own flags out of the arguments, wherever they stand before a `--`."""
    flags: dict[str, Any] = {}
    rest: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":
            return flags, [*rest, argument, *left]
        if name in FLAGS_WITH_VALUE:
            if not equals and not left:
                raise Failure(f"{name} wants a value", hint=f"{name} VALUE", code=ExitCode.USAGE)
            flags[FLAGS_WITH_VALUE[name]] = value if equals else left.pop(0)
        elif argument in FLAGS:
            flags[FLAGS[argument]] = True
        else:
            rest.append(argument)
    return flags, rest


def find_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command that the words begin with, and its arguments: `ps scale web=2` is `ps:scale`, `web=2`."""
    first = words[0]
    if len(words) > 1 and f"{first}:{words[1]}" in COMMANDS:
        return f"{first}:{words[1]}", list(words[2:])
    if first in COMMANDS:
        return first, list(words[1:])
    raise UnknownCommand(first)


def overview() -> str:
    """What `pinode --help` says."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    flags = "  --config FILE  --data-dir DIR  --server URL  --json  --no-input"
    return "\n".join(
        [
            "pinode COMMAND [flags]",
            "",
            *lines,
            "",
            "Anywhere:",
            flags,
            "",
            "`pinode COMMAND --help` says more.",
        ]
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Raises `Failure` for what the user can mend."""
    flags, words = split_flags(arguments)
    if not words or words[0] in ("--help", "-h", "help"):
        click.echo(overview())
        return ExitCode.OK
    if words[0] == "--version":
        words = ["version"]
    name, rest = find_command(words)
    module, function, _ = COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(f"pinode.cli.{module}"), function)
    invocation = Invocation.from_flags(flags, environment=os.environ)
    try:
        result = command.main(args=rest, prog_name=f"pinode {name}", standalone_mode=False, obj=invocation)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        hint = f"`pinode {name} --help` shows how."
        raise Failure(error.format_message(), hint=hint, code=ExitCode.USAGE) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return result if isinstance(result, int) else ExitCode.OK


def main() -> None:
    """Entry point of the console script."""
    try:
        sys.exit(run(sys.argv[1:]))
    except Failure as failure:
        click.echo(f"pinode: {failure}", err=True)
        if failure.hint:
            click.echo(f"  {failure.hint}", err=True)
        sys.exit(failure.code)
    except PinodeError as error:
        click.echo(f"pinode: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(CODE_OF_ERROR.get(error.code, ExitCode.FAILED))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `pinode logs | head` is no error
        sys.exit(ExitCode.OK)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
