"""What a command line may look like: commands, flags anywhere, help, and what is said of the rest."""

import importlib
import json
import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pinode import __version__
from pinode.cli.invocation import ExitCode
from pinode.cli.main import COMMANDS, GROUPS, find_command, split_flags
from tests.pinode.cli_stage import CliStage, cli_stage, finish, run_here, start_process

CONTRACT = [
    "git:key",
    "hooks",
    "hooks:create",
    "hooks:revoke",
    "git:remote",
    "auth:login",
    "auth:logout",
    "auth:whoami",
    "auth:token",
    "tokens",
    "tokens:create",
    "tokens:revoke",
    "init",
    "install",
    "uninstall",
    "join-token",
    "leader:step-down",
    "key:rotate",
    "leave",
    "node:cordon",
    "node:drain",
    "node:remove",
    "node:uncordon",
    "recover",
    "start",
    "stop",
    "status",
    "nodes",
    "demo",
    "version",
    "apps:create",
    "deploy",
    "apps",
    "apps:info",
    "apps:rename",
    "apps:destroy",
    "ps",
    "ps:scale",
    "run",
    "ps:restart",
    "ps:stop",
    "ps:why",
    "maintenance:on",
    "maintenance:off",
    "logs",
    "builds",
    "builds:info",
    "builds:output",
    "releases",
    "releases:info",
    "rollback",
    "config",
    "config:set",
    "config:get",
    "config:import",
    "cron",
    "cron:run",
    "queue",
    "queue:list",
    "queue:info",
    "queue:cancel",
    "queue:kick",
    "queue:pause",
    "queue:set",
    "setup-code",
    "builds:cancel",
    "config:unset",
]
READING = ["status", "nodes", "apps", "queue", "version"]
READING_AN_APP = ["apps:info", "ps", "ps:scale", "builds", "releases", "config", "logs", "cron"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        yield stage


@pytest.mark.parametrize("name", CONTRACT)
def test_every_promised_command_is_there_and_says_what_it_does(name: str) -> None:
    ran = run_here(name, "--help")

    assert ran.code == 0
    assert ran.out.startswith(f"Usage: pinode {name}")


def test_every_row_of_the_table_is_a_command_and_nothing_else_is() -> None:
    for module, function, text in COMMANDS.values():
        command = getattr(importlib.import_module(f"pinode.cli.{module}"), function)
        assert isinstance(command, click.Command) and text

    assert set(COMMANDS) == set(CONTRACT)


def test_groups_that_are_commands_take_no_argument_so_that_a_wrong_verb_is_noticed() -> None:
    for group in GROUPS & set(COMMANDS):
        module, function, _ = COMMANDS[group]
        command = getattr(importlib.import_module(f"pinode.cli.{module}"), function)
        assert not [part for part in command.params if isinstance(part, click.Argument)]


@pytest.mark.parametrize(
    "words, name, rest",
    [
        (["ps:scale", "web=2"], "ps:scale", ["web=2"]),
        (["ps", "scale", "web=2", "-a", "blog"], "ps:scale", ["web=2", "-a", "blog"]),
        (["-a", "blog", "ps", "scale", "web=2"], "ps:scale", ["-a", "blog", "web=2"]),
        (["--app=blog", "ps"], "ps", ["--app=blog"]),
        (["apps"], "apps", []),
        (["builds", "output", "3"], "builds:output", ["3"]),
        (["config", "--reveal"], "config", ["--reveal"]),
    ],
)
def test_a_group_and_its_verb_are_joined_by_a_colon_or_a_space(
    words: list[str], name: str, rest: list[str]
) -> None:
    assert find_command(words) == (name, rest)


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "--config", "a.toml", "ps", "-a", "blog"],
        ["ps", "--config=a.toml", "-a", "blog", "--json"],
        ["ps", "--json", "-a", "blog", "--config", "a.toml"],
    ],
)
def test_flags_stand_before_or_after_the_command(words: list[str]) -> None:
    flags, rest = split_flags(words)

    assert flags == {"json": True, "config": "a.toml"}
    assert rest == ["ps", "-a", "blog"]


def test_what_follows_two_dashes_is_no_flag() -> None:
    assert split_flags(["config:set", "--", "A=1", "--json"]) == ({}, ["config:set", "--", "A=1", "--json"])


@pytest.mark.parametrize(
    "words, meant",
    [
        (["statsu"], "status"),
        (["apps:crate"], "apps:create"),
        (["apps", "creat", "blog"], "apps:create"),
        (["scale", "web=2"], "ps:scale"),
        (["builds", "outptu"], "builds:output"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest_one(words: list[str], meant: str) -> None:
    ran = run_here(*words)

    assert ran.code == 2
    assert ran.out == ""
    assert f"did you mean `pinode {meant}`?" in ran.err


@pytest.mark.parametrize(
    "words, said",
    [
        (["zzz"], "there is no command 'zzz'"),
        (["--fancy", "status"], "there is no flag '--fancy'"),
        (["-a", "blog"], "which command?"),
        (["status", "--config"], "--config wants a value"),
        (["status", "--data-dir="], "--data-dir is ''"),
        (["apps", "--fancy"], "--fancy"),
        (["init", "--expect", "0"], "0 is not in the range"),
        (["init", "--expect", "many"], "'many' is not a valid integer"),
        (["apps:create"], "NAME"),
        (["builds:cancel", "x", "-a", "blog"], "'x' is not a valid integer"),
        (["logs", "-n", "-5", "-a", "blog"], "-5 is not in the range"),
        (["ps", "-a"], "-a"),
    ],
)
def test_what_is_no_command_line_is_said_and_ends_with_2(words: list[str], said: str) -> None:
    ran = run_here(*words)

    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(words: list[str]) -> None:
    ran = run_here(*words)

    assert ran.code == 0
    assert all(f"  {name} " in ran.out for name in COMMANDS)
    assert all(f"{int(code)} " in ran.out[ran.out.index("Exit codes") :] for code in ExitCode)


@pytest.mark.parametrize("words", [["help", "ps:scale"], ["ps", "scale", "-h"], ["ps:scale", "--help"]])
def test_help_of_one_command(words: list[str]) -> None:
    assert run_here(*words).out.startswith("Usage: pinode ps:scale")


def test_the_version_in_words_and_in_json() -> None:
    assert run_here("--version").out == f"pinode {__version__}\n"
    assert run_here("version", "--json").document["version"] == __version__


def test_an_argument_that_is_not_utf8_is_named() -> None:
    ran = finish(start_process("apps:create", b"caf\xe9"))

    assert ran.code == 2
    assert "the argument 'caf\\udce9' is not UTF-8" in ran.err


def test_every_command_that_reads_answers_in_json_alone(node: CliStage) -> None:
    node.add_app("blog")
    node.release("blog")

    for name in READING:
        assert isinstance(node.run(name, "--json").document, dict), name
    for name in READING_AN_APP:
        ran = node.run("--json", name, "-a", "blog")
        assert ran.code == 0, name
        documents = ran.out.splitlines() if name == "logs" else [ran.out]
        assert documents and all(isinstance(json.loads(document), dict) for document in documents), name


def test_lists_in_json_are_whole_and_shaped_as_the_api_has_them(node: CliStage) -> None:
    for name in ("one", "two", "three"):
        node.add_app(name)

    document = node.run("apps", "--json").document

    assert document["next"] is None
    assert sorted(app["name"] for app in document["items"]) == ["one", "three", "two"]


def test_talk_goes_to_stderr_when_there_is_no_data(node: CliStage) -> None:
    for words, said in [(["apps"], "no apps yet"), (["queue"], "no topics yet")]:
        ran = node.run(*words)
        assert (ran.code, ran.out) == (0, "")
        assert said in ran.err


@pytest.mark.parametrize(
    "variables, coloured", [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_whose_owner_wants_it(
    node: CliStage, variables: dict[str, str], coloured: bool
) -> None:
    ours, theirs = pty.openpty()

    process = node.start("nodes", stdout=theirs, environment={"TERM": "xterm", **variables})
    ran = node.finish(process)
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)

    assert ran.code == 0
    assert ("\x1b[32m" in seen) is coloured
    assert "alive" in seen


def test_a_file_gets_no_colour(node: CliStage) -> None:
    assert "\x1b" not in node.finish(node.start("nodes")).out


def test_what_a_terminal_would_obey_is_not_passed_on(node: CliStage) -> None:
    node.do(lambda cluster: cluster.change_node("pi1", version="1\x1b]0;owned\x07"))

    assert "\x1b" not in node.run("nodes").out


def test_a_reader_that_has_seen_enough_is_no_error(node: CliStage) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    ran = node.finish(node.start("nodes", stdout=writing))
    os.close(writing)

    assert (ran.code, ran.err) == (0, "")


def test_ctrl_c_ends_with_130_and_without_a_traceback(node: CliStage) -> None:
    node.add_app("blog")
    build = node.do(lambda cluster: cluster.start_build("blog"))
    (node.folder / f"{build}.log").write_text("-----> Cloning\n")
    process = node.start("builds:output", "-a", "blog")
    assert process.stdout and process.stdout.readline() == b"-----> Cloning\n"

    process.send_signal(signal.SIGINT)
    ran = node.finish(process)

    assert (ran.code, ran.err) == (130, "")


def test_a_letter_that_the_terminal_lacks_is_no_traceback(node: CliStage) -> None:
    node.add_app("blog")
    build = node.do(lambda cluster: cluster.start_build("blog"))
    (node.folder / f"{build}.log").write_text("       costs 5 €\n")
    node.do(lambda cluster: cluster.complete_build(build))

    ran = node.finish(node.start("builds:output", "-a", "blog", environment={"PYTHONIOENCODING": "latin-1"}))

    assert (ran.code, ran.out) == (0, "       costs 5 \\u20ac\n")


def test_the_command_line_loads_neither_aiohttp_nor_cryptography(node: CliStage) -> None:
    ran = node.finish(node.start("status", environment={"PYTHONPROFILEIMPORTTIME": "1"}))

    loaded = {
        line.rpartition("|")[2].strip() for line in ran.err.splitlines() if line.startswith("import time")
    }
    assert "pinode.cli.main" in loaded
    heavy = {
        "aiohttp",
        "asyncio",
        "cryptography",
        "msgpack",
        "jinja2",
        "psutil",
        "git",
        "zeroconf",
        "subprocess",
    }
    assert not heavy & loaded


def test_init_needs_no_cryptography_either(tmp_path: Path) -> None:
    process = start_process(
        "init", "--dir", str(tmp_path / "new"), environment={"PYTHONPROFILEIMPORTTIME": "1"}
    )
    ran = finish(process)

    assert ran.code == 0
    assert not any(f" {name}\n" in ran.err for name in ("cryptography", "aiohttp", "asyncio"))


def test_follow_ends_when_the_build_has_ended(node: CliStage) -> None:
    node.add_app("blog")
    build = node.do(lambda cluster: cluster.start_build("blog"))
    log = node.folder / f"{build}.log"
    log.write_text("-----> Cloning\n")
    process = node.start("builds:output", "-a", "blog", str(build))
    assert process.stdout and process.stdout.readline()

    log.write_text("-----> Cloning\n-----> Done\n")
    node.do(lambda cluster: cluster.complete_build(build))
    ran = node.finish(process)

    assert (ran.code, ran.out) == (0, "-----> Done\n")
