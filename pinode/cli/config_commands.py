"""Commands about config vars. A value is what was given, byte for byte: no shell, no quoting, no trimming."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.config_file import parse_config_file
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import say, show_json
from pinode.cli.target import app_option, app_path, chosen_app

IMPORT_BYTES = 512 * 1024
IMPORT_HINT = 'a line is KEY=VALUE, KEY="VALUE", empty or a # comment; or the file is a JSON object'
VALUE_BYTES = 64 * 1024  # all of an app's config vars together have no more


@click.command()
@app_option
@click.option("--reveal", is_flag=True, help="show the values")
@click.pass_obj
def config(invocation: Invocation, app: str | None, reveal: bool) -> int:
    """The names of the config vars; the values only with --reveal.

    A value that does not fit on a line is shown in JSON's quotes; --json shows all of them so.
    """
    path = app_path(chosen_app(invocation, app), "config")
    document = ApiClient(invocation).get(path, reveal=1 if reveal else None)
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    for name, value in sorted(document.items()):
        click.echo(f"{name}={value if value.isprintable() else json.dumps(value)}" if reveal else name)
    if not document:
        say("no config vars yet: pinode config:set KEY=VALUE")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE …")
@click.pass_obj
def config_set(invocation: Invocation, pairs: tuple[str, ...], app: str | None) -> int:
    """Set config vars and release them. `KEY=-` reads the value from stdin, `KEY=@FILE` from a file."""
    name = chosen_app(invocation, app)
    values: dict[str, str] = {}
    words = [pair.partition("=") for pair in pairs]
    for (key, equals, _), pair in zip(words, pairs, strict=True):
        if not equals or not key:
            hint = "for example: SECRET_KEY=@secret.txt"
            raise Failure(f"{pair!r} is not KEY=VALUE", hint=hint, code=ExitCode.USAGE)
    if [word for _, _, word in words].count("-") > 1:
        raise Failure("only one value can come from stdin", hint="the others: KEY=@FILE", code=ExitCode.USAGE)
    for key, _, word in words:
        values[key] = _value(invocation, key, word)
    _change(invocation, name, values, said=f"set {', '.join(sorted(values))}")
    return ExitCode.OK


def _change(invocation: Invocation, app: str, changes: Mapping[str, str | None], *, said: str) -> None:
    """Have it changed, and say which release carries it."""
    client = ApiClient(invocation)
    before = client.get(app_path(app))["last_version"]
    document = client.request("PATCH", app_path(app, "config"), body=dict(changes))
    if invocation.json:
        show_json(document)
    after = client.get(app_path(app))["last_version"]
    if after != before:
        said += f"; v{after} brings it up: pinode releases:info -a {app}"
    elif before:
        said += "; nothing is different now, so nothing is released"
    say(said)


@click.command()
@app_option
@click.argument("name")
@click.pass_obj
def config_get(invocation: Invocation, name: str, app: str | None) -> int:
    """The value of one config var, byte for byte and without a newline after it."""
    chosen = chosen_app(invocation, app)
    document = ApiClient(invocation).get(app_path(chosen, "config"), reveal=1)
    if name not in document:
        raise Failure(
            f"{chosen} has no config var {name!r}",
            hint=f"which ones there are: pinode config -a {chosen}",
            code=ExitCode.NOT_FOUND,
        )
    if invocation.json:
        show_json({name: document[name]})
    else:
        click.echo(document[name], nl=sys.stdout.isatty())
    return ExitCode.OK


@click.command()
@app_option
@click.argument("file", metavar="FILE")
@click.pass_obj
def config_import(invocation: Invocation, file: str, app: str | None) -> int:
    """Set config vars from a file, in one release: KEY=VALUE lines, or a JSON object; - is stdin."""
    name = chosen_app(invocation, app)
    try:
        content = sys.stdin.buffer.read(IMPORT_BYTES + 1) if file == "-" else _bytes_of(Path(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"cannot read {file!r}: {reason}", code=ExitCode.USAGE) from error
    if len(content) > IMPORT_BYTES:
        raise Failure(f"{file} is larger than {IMPORT_BYTES // 1024} KiB", code=ExitCode.USAGE)
    try:
        values = parse_config_file(content.decode("utf-8-sig"))
    except ValueError as error:
        raise Failure(f"{file}: {error}", hint=IMPORT_HINT, code=ExitCode.USAGE) from error
    if not values:
        raise Failure(f"{file} sets nothing", hint=IMPORT_HINT, code=ExitCode.USAGE)
    _change(invocation, name, values, said=f"set {len(values)} config vars from {file}")
    return ExitCode.OK


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(IMPORT_BYTES + 1)


def _value(invocation: Invocation, key: str, word: str) -> str:
    if word == "-":
        if invocation.may_ask:
            return str(click.prompt(f"{key} (not shown)", hide_input=True, default="", err=True))
        return _text(key, sys.stdin.buffer.read(VALUE_BYTES + 1), source="stdin")
    if not word.startswith("@"):
        return word
    path = Path(word[1:])
    try:
        with path.open("rb") as file:
            content = file.read(VALUE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(
            f"cannot read {word[1:]!r} for {key}: {reason}",
            hint=f"a value that begins with @: printf %s '@…' | pinode config:set {key}=-",
            code=ExitCode.USAGE,
        ) from error
    return _text(key, content, source=str(path))


def _text(key: str, content: bytes, *, source: str) -> str:
    if len(content) > VALUE_BYTES:
        raise Failure(
            f"{source} is larger than {VALUE_BYTES // 1024} KiB, too large for {key}",
            hint="an app's config vars have 64 KiB together",
            code=ExitCode.USAGE,
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Failure(
            f"{source} is not UTF-8 text: byte {content[error.start]:#04x} at offset {error.start}",
            hint=f"encode it, for example as base64, and let the app decode {key}",
            code=ExitCode.USAGE,
        ) from error
    if text.endswith("\n"):
        say(f"{key} ends with a newline, as {source} does; without one: printf %s VALUE")
    return text


@click.command()
@app_option
@click.argument("names", nargs=-1, required=True, metavar="KEY …")
@click.pass_obj
def config_unset(invocation: Invocation, names: tuple[str, ...], app: str | None) -> int:
    """Remove config vars and release that."""
    changes: dict[str, str | None] = dict.fromkeys(names)
    _change(invocation, chosen_app(invocation, app), changes, said=f"unset {', '.join(names)}")
    return ExitCode.OK
