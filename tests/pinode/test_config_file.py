"""A file of config vars is read as it is written: nothing is expanded, trimmed or guessed."""

import json

import pytest

from pinode.apps.errors import InvalidName
from pinode.cli.config_file import parse_config_file


def test_lines_as_people_keep_them() -> None:
    text = (
        "# database\n\nexport A=1\nB=a $HOME `id` \\ # no comment\nC=\nD='it''s'\n  E=x=y \nF=🍓\r\n"
        'G="two\\nlines \\"quoted\\""\nH="\n'
    )

    assert parse_config_file(text) == {
        "A": "1", "B": "a $HOME `id` \\ # no comment", "C": "", "D": "it''s", "E": "x=y ", "F": "🍓",
        "G": 'two\nlines "quoted"', "H": '"',
    }  # fmt: skip


def test_a_json_object_is_what_config_json_gives() -> None:
    values = {"A": "1\n2", "B": "", "C": "'"}

    assert parse_config_file(json.dumps(values, indent=2)) == values


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("A=1\nno line", "line 2 is not KEY=VALUE"),
        ("1A=1", "line 1: '1A'"),
        ("A B=1", "line 1: 'A B'"),
        ('A="\\x"', "line 1: what stands in the double quotes"),
        ('{"A": 1}', "the value of A is not a text"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_no_config_var_is_named_with_its_line(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what.replace("(", ".")):
        parse_config_file(text)


def test_a_name_in_json_is_checked_too() -> None:
    with pytest.raises(InvalidName):
        parse_config_file('{"A-B": "1"}')
