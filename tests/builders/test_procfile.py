"""What a Procfile says (contract: apps)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.errors import BuildError
from builders.procfile import parse_procfile


def test_types_and_commands_are_read_as_they_stand() -> None:
    text = b"\xef\xbb\xbf# what runs\r\n\r\nweb: gunicorn app:app --bind $HOST:$PORT\r\nmail_worker-2:   python -m mail\t\n"

    types = parse_procfile(text)

    assert types == {"web": "gunicorn app:app --bind $HOST:$PORT", "mail_worker-2": "python -m mail"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"web gunicorn", "line 1"),
        (b"\nweb:", "line 2"),
        (b"w e b: x", "line 1"),
        (b"../web: x", "line 1"),
        ("w\u0435b: x".encode(), "line 1"),
        (b"web: x\0y", "line 1"),
        (b"web: a\nweb: b", "line 2"),
        (b"a" * 64 + b": x", "line 1"),
        (b"\xff\xfe", "UTF-8"),
        (b"web: " + b"x" * 70_000, "bytes"),
        (b"".join(b"t%d: x\n" % number for number in range(65)), "65"),
    ],
)
def test_anything_else_is_refused_with_its_line(text: bytes, named: str) -> None:
    with pytest.raises(BuildError, match=named) as refused:
        parse_procfile(text)

    assert str(refused.value).isprintable()


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    try:
        types = parse_procfile(data)
    except BuildError:
        return

    assert all(name.isascii() and command.strip() for name, command in types.items())
