"""Which Python an app gets (checklist 4.5)."""

import sys

import pytest

from builders.errors import NoInterpreter
from builders.interpreters import choose, find_interpreters, pinned, required
from builders.request import Interpreter


def interpreter(version: str, *, is_own: bool = False) -> Interpreter:
    return Interpreter(path=f"/usr/bin/python{version}", version=version, root="/usr", is_own=is_own)


INSTALLED = (
    interpreter("3.13.1"),
    interpreter("3.11.2", is_own=True),
    interpreter("3.9.18"),
    interpreter("3.12.3"),
)


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        (">=3.9", "3.11.2"),
        (">=3.12", "3.12.3"),
        ("<3.11", "3.9.18"),
        ("^3.12", "3.12.3"),
        ("~=3.12.0", "3.12.3"),
    ],
)
def test_the_nodes_own_if_it_satisfies_the_app_else_the_lowest_that_does(wanted: str, version: str) -> None:
    assert choose(INSTALLED, required("pyproject.toml", wanted)).version == version


def test_without_a_wish_it_is_the_nodes_own_or_the_lowest() -> None:
    assert choose(INSTALLED, None).version == "3.11.2"
    assert choose(INSTALLED[2:], None).version == "3.9.18"


@pytest.mark.parametrize("text", ["3.13", "python-3.13.9", "cpython-3.13", "3.13.9", "==3.13.*"])
def test_a_pinned_version_is_met_by_any_patch_release_of_it(text: str) -> None:
    assert choose(INSTALLED, pinned(".python-version", text)).version == "3.13.1"


def test_if_none_satisfies_the_message_names_file_wish_and_what_is_installed() -> None:
    with pytest.raises(NoInterpreter) as missing:
        choose(INSTALLED, pinned("runtime.txt", "python-3.7.4"))

    assert all(
        text in str(missing.value)
        for text in ("runtime.txt asks for Python 3.7.4,", "3.9.18, 3.11.2, 3.12.3, 3.13.1")
    )


@pytest.mark.parametrize("text", ["pypy3.10", "latest", "$(id)", "3.x", ""])
def test_a_wish_that_names_no_version_is_told_with_its_file(text: str) -> None:
    with pytest.raises(NoInterpreter, match=r"\.python-version"):
        choose((), pinned(".python-version", text))


def test_the_interpreters_of_this_system_are_found_and_one_in_a_home_only_when_allowed() -> None:
    everywhere = find_interpreters(managed=None, homes_allowed=True)
    outside_homes = find_interpreters(managed=None, homes_allowed=False)

    own = [item for item in everywhere if item.is_own]
    assert [item.version for item in own] == ["{}.{}.{}".format(*sys.version_info[:3])]
    assert set(outside_homes) == {item for item in everywhere if not item.in_home}
