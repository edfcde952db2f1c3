"""Config vars from the command line arrive byte for byte, or are refused by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pinode.cli_stage import CliStage, cli_stage

VALUES = {
    "DOLLAR": "$HOME ${PATH} $(id) `id`",
    "QUOTES": "it's \"quoted\" 'twice'",
    "BACKSLASH": "C:\\new\\table \\\\ \\0",
    "LINES": "one\ntwo\r\nthree\n",
    "TAB": "\tindented ",
    "EQUALS": "a=b=c==",
    "HASH": "#not a comment # really",
    "EMOJI": "🍓 Raspberry π",
    "EMPTY": "",
    "SPACE": " ",
    "DASHES": "--json",
    "PERCENT": "%41 %(x)s {y}",
    "ESCAPE": "\x1b[31mred\x7f",
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    (tmp_path / "node").mkdir()
    with cli_stage(tmp_path / "node") as stage:
        stage.add_app("blog")
        yield stage


def test_values_arrive_byte_for_byte_from_the_command_line(node: CliStage) -> None:
    ran = node.run("config:set", "-a", "blog", *(f"{name}={value}" for name, value in VALUES.items()))

    assert ran.code == 0
    assert node.values("blog") == VALUES


def test_values_arrive_byte_for_byte_from_real_arguments_files_and_stdin(
    node: CliStage, tmp_path: Path
) -> None:
    for name, value in VALUES.items():
        (tmp_path / name).write_bytes(value.encode())
    everything = "".join(VALUES.values())
    words = [f"{name}_ARG={value}" for name, value in VALUES.items()]
    words += [f"{name}=@{tmp_path / name}" for name in VALUES]

    ran = node.finish(node.start("config:set", "-a", "blog", *words, "STDIN=-"), everything.encode())

    assert ran.code == 0
    expected = {f"{name}_ARG": value for name, value in VALUES.items()}
    assert node.values("blog") == {**expected, **VALUES, "STDIN": everything}


def test_values_are_shown_exactly_in_json_and_on_one_line_each_otherwise(node: CliStage) -> None:
    node.run("config:set", "-a", "blog", *(f"{name}={value}" for name, value in VALUES.items()))

    exact = node.run("config", "-a", "blog", "--reveal", "--json").document
    lines = node.run("config", "-a", "blog", "--reveal").out.splitlines()

    assert exact == VALUES
    assert len(lines) == len(VALUES)
    assert "DOLLAR=$HOME ${PATH} $(id) `id`" in lines and "EMPTY=" in lines
    assert 'LINES="one\\ntwo\\r\\nthree\\n"' in lines
    assert not any("\x1b" in line for line in lines)


def test_without_reveal_only_names_are_shown_and_no_value_is_said_when_it_is_set(node: CliStage) -> None:
    ran = node.run("config:set", "-a", "blog", "SECRET=hunter2")

    shown, document = node.run("config", "-a", "blog"), node.run("config", "-a", "blog", "--json").document

    assert (shown.out, document) == ("SECRET\n", {"SECRET": None})
    assert "hunter2" not in ran.out + ran.err + shown.err


def test_config_vars_are_unset(node: CliStage) -> None:
    node.run("config:set", "-a", "blog", "A=1", "B=2", "C=3")

    ran = node.run("config:unset", "A", "B", "-a", "blog")

    assert ran.code == 0
    assert node.values("blog") == {"C": "3"}


def test_a_newline_at_the_end_is_kept_and_pointed_out(node: CliStage) -> None:
    ran = node.finish(node.start("config:set", "-a", "blog", "KEY=-"), b"secret\n")

    assert node.values("blog") == {"KEY": "secret\n"}
    assert "KEY ends with a newline" in ran.err


def test_a_file_that_is_not_utf8_is_refused_with_the_place(node: CliStage, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9 au lait")

    ran = node.run("config:set", "-a", "blog", "GOOD=1", f"BAD=@{tmp_path / 'latin'}")

    assert ran.code == 2
    assert "is not UTF-8 text: byte 0xe9 at offset 3" in ran.err and "BAD" in ran.err
    assert node.values("blog") == {}


def test_stdin_that_is_not_utf8_is_refused_in_the_same_way(node: CliStage) -> None:
    ran = node.finish(node.start("config:set", "-a", "blog", "BAD=-"), b"\xff\xfe")

    assert ran.code == 2
    assert "stdin is not UTF-8 text: byte 0xff at offset 0" in ran.err
    assert node.values("blog") == {}


def test_a_file_that_is_not_there_or_too_large_or_endless_is_refused(node: CliStage, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))

    missing = node.run("config:set", "-a", "blog", "KEY=@nowhere.txt")
    folder = node.run("config:set", "-a", "blog", f"KEY=@{tmp_path}")
    large = node.run("config:set", "-a", "blog", f"KEY=@{tmp_path / 'large'}")
    endless = node.run("config:set", "-a", "blog", "KEY=@/dev/zero")

    assert [ran.code for ran in (missing, folder, large, endless)] == [2, 2, 2, 2]
    assert "cannot read 'nowhere.txt' for KEY: No such file" in missing.err
    assert "Is a directory" in folder.err
    assert "larger than 64 KiB" in large.err and "larger than 64 KiB" in endless.err
    assert node.values("blog") == {}


def test_only_one_value_comes_from_stdin(node: CliStage) -> None:
    ran = node.run("config:set", "-a", "blog", "A=-", "B=-")

    assert ran.code == 2
    assert "only one value can come from stdin" in ran.err


@pytest.mark.parametrize("pair", ["KEY", "=value", ""])
def test_what_is_no_pair_is_named(node: CliStage, pair: str) -> None:
    ran = node.run("config:set", "-a", "blog", "GOOD=1", pair)

    assert ran.code == 2
    assert f"{pair!r} is not KEY=VALUE" in ran.err
    assert node.values("blog") == {}


@pytest.mark.parametrize("name", ["1ST", "WITH-DASH", "WITH SPACE", "Ünicode", "A\nB", "$X", "A;id"])
def test_a_name_outside_its_pattern_is_named_and_nothing_is_set(node: CliStage, name: str) -> None:
    ran = node.run("config:set", "-a", "blog", "GOOD=1", f"{name}=x")

    assert ran.code == 2
    assert "name for a config var" in ran.err
    assert name.split("\n")[0] in ran.err
    assert node.values("blog") == {}


def test_a_value_that_is_too_large_is_refused_by_the_node(node: CliStage) -> None:
    words = [f"KEY{number}={'x' * 30_000}" for number in range(3)]

    ran = node.run("config:set", "-a", "blog", *words)

    assert ran.code == 2
    assert "blog" in ran.err
    assert node.values("blog") == {}


def test_one_value_comes_out_byte_for_byte(node: CliStage) -> None:
    node.run("config:set", "A=two\nlines ", "-a", "blog")

    ran = node.run("config:get", "A", "-a", "blog")

    assert (ran.code, ran.out) == (0, "two\nlines ")
    assert node.run("config:get", "B", "-a", "blog").code == 3
    assert node.run("config:get", "A", "-a", "blog", "--json").document == {"A": "two\nlines "}


def test_a_file_is_imported_in_one_release(node: CliStage, tmp_path: Path) -> None:
    node.release("blog")
    (tmp_path / "env").write_text("A=1\nB='x y'\n")

    ran = node.run("config:import", str(tmp_path / "env"), "-a", "blog")
    again = node.run("config:import", str(tmp_path / "env"), "-a", "blog")
    broken = node.run("config:import", str(tmp_path / "none"), "-a", "blog")

    assert (ran.code, again.code, broken.code) == (0, 0, 2)
    assert node.values("blog") == {"A": "1", "B": "x y"}
    assert "v2 brings it up" in ran.err and "nothing is released" in again.err
    assert [release.version for release in node.cluster.state.registry.releases("blog")] == [2, 1]


def test_what_config_shows_can_be_imported_again(node: CliStage, tmp_path: Path) -> None:
    values = {"A": "two\nlines", "B": " = # $x ", "C": "", "D": "\t🍓"}
    node.run("config:set", *(f"{name}={value}" for name, value in values.items()), "-a", "blog")
    for words in (("--reveal",), ("--reveal", "--json")):
        (tmp_path / "env").write_text(node.run("config", *words, "-a", "blog").out)
        node.run("config:unset", *values, "-a", "blog")

        assert node.run("config:import", str(tmp_path / "env"), "-a", "blog").code == 0
        assert node.values("blog") == values
