"""What the pages say is there: commands, flags, files, folders, settings, make targets. The README's commands run."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pinode.cli.main import COMMANDS, FLAGS, FLAGS_WITH_VALUE, UnknownCommand, find_command, split_flags
from pinode.settings import load_settings
from tests.pinode.cli_stage import cli_stage

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
PACKAGES = ("pinode", "gossip", "replicated_queue", "builders")
COMMAND = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?pinode +((?:[a-z][\w:-]*|-{1,2}[a-z])[^`\n#]*)")


def code_of(page: Path) -> Iterator[str]:
    """The lines of code blocks of the shell, and what stands between backticks."""
    text = page.read_text()
    for block in re.findall(r"```(?:sh|console|text)?\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def commands_in(lines: Iterator[str]) -> list[str]:
    return [found.strip() for line in lines for found in COMMAND.findall(line)]


def texts_of(tree: ast.Module) -> list[str]:
    """The texts of a module that are no docstrings."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def wrong_about(command: str) -> str | None:
    """Why there is no such command line, None when there is one."""
    _, words = split_flags(shlex.split(command.replace("…", "").replace("...", "")))
    if words[0] in ("--help", "--version"):
        return None
    try:
        name, rest = find_command(words)
    except UnknownCommand as error:
        return f"pinode {command}: {error}"
    module, function, _ = COMMANDS[name]
    parsed: click.Command = getattr(importlib.import_module(f"pinode.cli.{module}"), function)
    known = {flag for parameter in parsed.params for flag in parameter.opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known]
    return f"pinode {command}: no flag {unknown}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_there_with_its_flags(page: Path) -> None:
    wrong = [reason for command in commands_in(code_of(page)) if (reason := wrong_about(command))]

    assert not wrong, "\n".join(wrong)


def test_the_pages_are_searched_for_commands_at_all() -> None:
    assert {"start", "status"} <= {command.split()[0] for command in commands_in(code_of(ROOT / "README.md"))}
    assert wrong_about("apps:create blog --git URL") is None
    assert wrong_about("auth:fly") and wrong_about("deploy --fast")
    assert set(FLAGS) | set(FLAGS_WITH_VALUE) == {
        "--json",
        "--no-input",
        "--config",
        "--data-dir",
        "--server",
    }


def test_every_command_that_a_message_recommends_is_there() -> None:
    wrong = []
    for package in PACKAGES:
        for path in [*(ROOT / package).rglob("*.py"), *(ROOT / package).rglob("*.html")]:
            text = path.read_text()
            said = [text] if path.suffix == ".html" else texts_of(ast.parse(text))
            quoted = [command for words in said for command in re.findall(r"`(pinode [^`\n{]+)", words)]
            reasons = [wrong_about(command) for command in commands_in(iter(quoted))]
            wrong += [f"{path.relative_to(ROOT)}: {reason}" for reason in reasons if reason]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())

    broken = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page.parent / path if path else page
        headings = (
            re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            if file.suffix == ".md" and file.exists()
            else []
        )
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        if not file.exists() or (anchor and anchor not in anchors):
            broken.append(target)

    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_folder_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        rf"`((?:{'|'.join(PACKAGES)}|tests|docs|benchmarks|examples)/[\w./*-]*)`", page.read_text()
    )

    missing = [name for name in named if not list(ROOT.glob(name.rstrip("/")))]

    assert not missing


def test_the_map_has_every_room_of_the_packages() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    map_of_rooms = text[text.index("## Map") : text.index("Imports point one way")]
    named = {name.removeprefix("pinode/").rstrip("/") for name in re.findall(r"`([\w./]+)`", map_of_rooms)}

    folders = {
        str(path.parent.relative_to(ROOT / package))
        for package in PACKAGES
        for path in (ROOT / package).glob("*/__init__.py")
    }
    modules = {path.name for path in (ROOT / "pinode").glob("*.py") if not path.name.startswith("__")}

    assert folders - named == set()
    assert modules - named == set()
    assert set(PACKAGES[1:]) <= named
    assert {name for name in named if name.endswith(".py")} <= modules, "the map names what is not there"


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for page in PAGES:
        for line in code_of(page):
            for target in re.findall(r"(?:^|\s)make ([a-z]+)\b", line):
                assert target in targets, f"{page.name}: make {target}"
    assert {"run", "test", "check"} <= targets


def test_every_setting_that_a_page_names_is_a_setting() -> None:
    settings = load_settings(ROOT / "cluster.toml", {"HOME": "/home/ada"})
    wrong = []

    for page in PAGES:
        for section, key in re.findall(r"`\[([a-z]+)\] ([a-z_]+)[^`]*`", page.read_text()):
            if not hasattr(getattr(settings, section, None), key):
                wrong.append(f"{page.name}: [{section}] {key}")

    assert not wrong


def test_the_ports_that_the_readme_has_opened_are_those_of_the_settings() -> None:
    listen = load_settings(ROOT / "cluster.toml", {"HOME": "/home/ada"}).listen
    doors = (listen.peer, listen.router, listen.web, listen.apps, listen.apps_tls)
    text = (ROOT / "README.md").read_text()
    table = text[text.index("| port | open to |") : text.index("**Room.**")]
    rows = re.findall(r"^\| ([^|]*) \| [^|]* \| [^|]* \|$", table, re.MULTILINE)[1:]

    named = {number for row in rows for number in re.findall(r"[0-9]{4,}", row)} - {"5353"}

    assert named == {
        *(str(door.port) for door in doors),
        str(listen.app_ports.first),
        str(listen.app_ports.last),
    }


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## Deploying") :]
    block = section[section.index("```sh\n") + 6 : section.index("```", section.index("```sh\n") + 6)]
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2")

    with cli_stage(tmp_path) as node:
        for line in block.splitlines():
            words = shlex.split(line, comments=True)[1:]
            words = [word.replace("@secret.txt", f"@{secret}") for word in words if word != "-t"]
            ran = node.run(*words, *(["--no-wait"] if words[0] == "deploy" else []))
            assert ran.code == 0, (line, ran.err)
            if words[0] == "deploy":
                node.release("blog")

        assert node.values("blog") == {"SECRET_KEY": "hunter2"}
        assert node.run("ps:scale", "-a", "blog").out == "web=2\n"
