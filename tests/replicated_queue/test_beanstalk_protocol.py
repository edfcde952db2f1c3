"""What a beanstalk client says is cut into requests, whatever it says and however it comes."""

from random import Random

import pytest

from replicated_queue.beanstalk.protocol import (
    BAD_FORMAT,
    EXPECTED_CRLF,
    JOB_TOO_BIG,
    UNKNOWN_COMMAND,
    Parser,
    Refused,
    Request,
)

SCRIPT = (
    b"put 1 2 3 4\r\n\r\n\r\n\r\nuse mail\r\nput 0 0 0 70000\r\n" + b"y" * 70_002 + b"kick 3\r\n"
    b"nonsense\r\nput 1 1 1 1\r\nabcdelete 7\r\nreserve-with-timeout -1\r\npause-tube mail 5\r\n"
    + b"use " + b"x" * 500 + b"\r\nquit\r\n"
)  # fmt: skip
REQUESTS = [
    Request("put", (1, 2, 3), body=b"\r\n\r\n"),
    Request("use", tube="mail"),
    Refused(JOB_TOO_BIG, "put"),
    Request("kick", (3,)),
    Refused(UNKNOWN_COMMAND),
    Refused(EXPECTED_CRLF, "put"),
    Request("delete", (7,)),
    Request("reserve-with-timeout", (-1,)),
    Request("pause-tube", (5,), "mail"),
    Refused(BAD_FORMAT),
    Request("quit"),
]


@pytest.mark.parametrize("seed", range(20))
def test_requests_are_the_same_however_the_bytes_come(seed: int) -> None:
    random, parser, rest, found = Random(seed), Parser(), SCRIPT, []

    while rest:
        size = random.choice((1, 2, 7, 100, 5_000))
        found += parser.feed(rest[:size])
        rest = rest[size:]

    assert found == REQUESTS


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_break_the_parser_nor_make_it_keep_much(seed: int) -> None:
    random, parser = Random(seed), Parser()
    words = [
        b"put ",
        b"1 ",
        b"0 ",
        b"70000",
        b"\r\n",
        b"\r",
        b"\n",
        b"reserve",
        b"\0",
        b"\xff",
        b"use a",
        b"-",
        b" ",
    ]

    for _ in range(3_000):
        parser.feed(b"".join(random.choices(words, k=3)))

    assert len(parser._buffer) <= 65_537 + 224


def test_a_line_without_end_takes_no_memory() -> None:
    parser = Parser()

    for _ in range(1_000):
        assert parser.feed(b"x" * 1_000) == []

    assert len(parser._buffer) <= 224
    assert parser.feed(b"\r\nquit\r\n") == [Refused(BAD_FORMAT), Request("quit")]
