"""`pinode`: finds the command and runs it. `ps:scale` and `ps scale` are the same; flags stand anywhere."""

import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pinode import errors
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import printable, say

# name -> (module, function, one line of help). Modules are imported only when their command runs.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("node_commands", "init", "write cluster.toml and cluster.key for a new cluster"),
    "start": ("start_command", "start", "run this node, in the foreground"),
    "stop": ("node_commands", "stop", "stop this node and its dynos"),
    "install": ("service_commands", "install", "start this node at boot"),
    "uninstall": ("service_commands", "uninstall", "start this node at boot no more"),
    "recover": ("recover_command", "recover", "go on with this node when a majority is lost for good"),
    "status": ("status_commands", "status", "the cluster as this node sees it"),
    "nodes": ("status_commands", "nodes", "the nodes and what they do"),
    "leave": ("member_commands", "leave", "take this node out of its cluster for good"),
    "node:remove": ("member_commands", "node_remove", "remove a node that is gone for good"),
    "node:cordon": ("member_commands", "node_cordon", "give a node no new dynos and builds"),
    "node:drain": ("member_commands", "node_drain", "move a node's dynos elsewhere"),
    "node:uncordon": ("member_commands", "node_uncordon", "let a node take dynos and builds again"),
    "leader:step-down": ("member_commands", "leader_step_down", "have the leader hand over to another node"),
    "key:rotate": ("member_commands", "key_rotate", "make old copies of the cluster key worthless"),
    "join-token": ("member_commands", "join_token", "a token that lets further Pis join"),
    "setup-code": ("node_commands", "setup_code", "the code that registers the first administrator"),
    "demo": ("demo", "demo", "three nodes on this machine, and an app"),
    "version": ("node_commands", "version", "the version of pinode"),
    "apps": ("app_commands", "apps", "all apps"),
    "apps:create": ("app_commands", "apps_create", "create an app"),
    "apps:info": ("app_commands", "apps_info", "one app"),
    "apps:rename": ("app_commands", "apps_rename", "call an app otherwise"),
    "apps:destroy": ("app_commands", "apps_destroy", "remove an app for good"),
    "deploy": ("build_commands", "deploy", "build and deploy an app from a git URL"),
    "builds": ("build_commands", "builds", "an app's builds"),
    "builds:info": ("build_commands", "builds_info", "one build"),
    "builds:output": ("build_commands", "builds_output", "what a build printed"),
    "builds:cancel": ("build_commands", "builds_cancel", "end a build"),
    "releases": ("release_commands", "releases", "an app's releases"),
    "releases:info": ("release_commands", "releases_info", "one release"),
    "rollback": ("release_commands", "rollback", "go back to an older release"),
    "ps": ("dyno_commands", "ps", "an app's dynos"),
    "ps:scale": ("dyno_commands", "ps_scale", "how many dynos of each process type"),
    "ps:restart": ("dyno_commands", "ps_restart", "start dynos again"),
    "ps:stop": ("dyno_commands", "ps_stop", "stop an app"),
    "ps:why": ("dyno_commands", "ps_why", "why a dyno is as it is"),
    "maintenance:on": ("dyno_commands", "maintenance_on", "show visitors a page instead of the app"),
    "maintenance:off": ("dyno_commands", "maintenance_off", "show visitors the app again"),
    "logs": ("dyno_commands", "logs", "what an app's dynos print"),
    "cron": ("cron_commands", "cron", "what an app runs by the clock"),
    "cron:run": ("cron_commands", "cron_run", "run an entry of cron now"),
    "run": ("run_commands", "run", "run a command in an app's sandbox"),
    "config": ("config_commands", "config", "an app's config vars"),
    "config:set": ("config_commands", "config_set", "set config vars"),
    "config:get": ("config_commands", "config_get", "one config var's value"),
    "config:import": ("config_commands", "config_import", "set config vars from a file"),
    "config:unset": ("config_commands", "config_unset", "remove config vars"),
    "git:remote": ("git_commands", "git_remote", "let git push deploy an app from this folder"),
    "git:key": ("git_commands", "git_key", "the deploy key of a private repository"),
    "hooks": ("hook_commands", "hooks", "an app's webhooks"),
    "hooks:create": ("hook_commands", "hooks_create", "let a git server deploy after a push"),
    "hooks:revoke": ("hook_commands", "hooks_revoke", "make a webhook worthless"),
    "auth:login": ("auth_commands", "auth_login", "log in to a cluster from elsewhere"),
    "auth:logout": ("auth_commands", "auth_logout", "end the login"),
    "auth:whoami": ("auth_commands", "auth_whoami", "who you are to the cluster"),
    "auth:token": ("auth_commands", "auth_token", "the token of your login, for other programs"),
    "tokens": ("token_commands", "tokens", "your tokens"),
    "tokens:create": ("token_commands", "tokens_create", "make a token, for a program or git"),
    "tokens:revoke": ("token_commands", "tokens_revoke", "make a token worthless"),
    "queue": ("queue_commands", "queue", "the topics of the queue"),
    "queue:list": ("queue_commands", "queue_list", "the jobs of a topic"),
    "queue:info": ("queue_commands", "queue_info", "one job"),
    "queue:cancel": ("queue_commands", "queue_cancel", "remove a job"),
    "queue:kick": ("queue_commands", "queue_kick", "give a topic's buried jobs another try"),
    "queue:pause": ("queue_commands", "queue_pause", "let a topic give out no jobs for a while"),
    "queue:set": ("queue_commands", "queue_set", "a topic's bounds, ageing, draining"),
}
GROUPS = {name.partition(":")[0] for name in COMMANDS if ":" in name}
# The first class that an error is one of counts.
CODE_OF_ERROR: tuple[tuple[type[errors.PinodeError], ExitCode], ...] = (
    (errors.InvalidInput, ExitCode.USAGE),
    (errors.SettingsError, ExitCode.USAGE),
    (errors.TooLarge, ExitCode.USAGE),
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.NotLoggedIn, ExitCode.NOT_ALLOWED),
    (errors.NotAllowed, ExitCode.NOT_ALLOWED),
    (errors.Conflict, ExitCode.CONFLICT),
    (errors.Unreachable, ExitCode.NO_NODE),
    (errors.NoLeader, ExitCode.NO_LEADER),
    (errors.TimedOut, ExitCode.TIMED_OUT),
)
FLAGS_WITH_VALUE = {"--config": "config", "--data-dir": "data_dir", "--server": "server"}
FLAGS = {"--json": "json", "--no-input": "no_input"}
HELP = ("-h", "--help")
APP_FLAGS = ("-a", "--app")  # may stand before the command too
ALL_COMMANDS = "`pinode --help` lists all commands."


class UnknownCommand(Failure):
    """There is no such command; the message names the nearest one."""

    def __init__(self, name: str) -> None:
        import difflib  # only needed here

        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean `pinode {near[0]}`?" if near else ALL_COMMANDS
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
            value = value if equals else left.pop(0)
            if not value or "\0" in value:
                raise Failure(
                    f"{name} is {value!r}", hint=f"give it a value: {name} VALUE", code=ExitCode.USAGE
                )
            flags[FLAGS_WITH_VALUE[name]] = value
        elif argument in FLAGS:
            flags[FLAGS[argument]] = True
        else:
            rest.append(argument)
    return flags, rest


def find_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command that the words begin with, and its arguments: `ps scale web=2` is `ps:scale`, `web=2`."""
    app, words = _leading_app(list(words))
    if not words or words[0].startswith("-"):
        what = f"there is no flag {words[0]!r} before a command" if words else "which command?"
        raise Failure(what, hint=ALL_COMMANDS, code=ExitCode.USAGE)
    first, *rest = words
    verb = rest[0] if rest else ""
    if f"{first}:{verb}" in COMMANDS:
        return f"{first}:{verb}", [*app, *rest[1:]]
    if first not in COMMANDS:
        raise UnknownCommand(first)
    if first in GROUPS and verb and not verb.startswith("-"):
        raise UnknownCommand(f"{first}:{verb}")  # none of these takes an argument
    return first, [*app, *rest]


def _leading_app(words: list[str]) -> tuple[list[str], list[str]]:
    """`-a blog` may stand before the command too."""
    if words[0].startswith("--app="):
        return words[:1], words[1:]
    return (words[:2], words[2:]) if words[0] in APP_FLAGS else ([], words)


def overview() -> str:
    """What `pinode --help` says."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join(
        [
            "pinode COMMAND [flags]",
            "",
            *lines,
            "",
            "Anywhere:",
            "  --config FILE   the settings; else ./cluster.toml, else /etc/pinode/cluster.toml",
            "  --data-dir DIR  the data directory of the node to run or to talk to",
            "  --server URL    talk to this node; several with commas between; or PINODE_SERVER",
            "  --json          answer in JSON, of every command that reads",
            "  --no-input      ask nothing",
            "",
            "PINODE_APP is the app where -a/--app names none. PINODE_TOKEN and PINODE_CA, the file of a",
            "certificate authority, go before what `pinode auth:login` keeps of a server.",
            "`pinode COMMAND --help` says more.",
            "",
            "Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 not found, 4 not allowed or not logged in,",
            "5 conflict or locked, 6 no node reachable, 7 no leader now, 8 timed out, 130 interrupted.",
        ]
    )


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run one command line and return its exit code.

    Raises `Failure` and `PinodeError` for what the user can mend.
    """
    for argument in arguments:
        if not _is_utf8(argument):
            raise Failure(f"the argument {argument!a} is not UTF-8", code=ExitCode.USAGE)
    flags, words = split_flags(arguments)
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        click.echo(overview())
        return ExitCode.OK
    if words[0] == "--version":
        words = ["version"]
    name, rest = find_command(words)
    invocation = Invocation.from_flags(flags, environment=os.environ if environment is None else environment)
    return _run_command(name, rest, invocation)


def _run_command(name: str, arguments: list[str], invocation: Invocation) -> int:
    from importlib import import_module

    module, function, _ = COMMANDS[name]
    command: click.Command = getattr(import_module(f"pinode.cli.{module}"), function)
    try:
        # Not `command.main`: that has its own mind about Ctrl-C and closed pipes.
        with command.make_context(
            f"pinode {name}", arguments, obj=invocation, help_option_names=list(HELP)
        ) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        hint = f"`pinode {name} --help` shows how."
        raise Failure(error.format_message(), hint=hint, code=ExitCode.USAGE) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return result if isinstance(result, int) else ExitCode.OK


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def exit_code(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """As `run`, with what went wrong said on stderr and as an exit code."""
    try:
        return run(arguments, environment)
    except Failure as failure:
        _say_wrong(str(failure), failure.hint)
        return failure.code
    except errors.PinodeError as error:
        _say_wrong(error.message, error.hint)
        return next((code for kind, code in CODE_OF_ERROR if isinstance(error, kind)), ExitCode.FAILED)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _say_wrong(what: str, hint: str | None) -> None:
    say("pinode: " + "\n".join(map(printable, what.splitlines())))
    if hint:
        say(f"  {printable(hint)}")


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter shows another, no traceback
            stream.reconfigure(errors="backslashreplace")
    try:
        code = exit_code(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # `pinode logs | head` is no error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    sys.exit(code)
