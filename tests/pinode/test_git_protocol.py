"""The receiving side of `git push`, as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinode.deploy.git_protocol import (
    COMMANDS_BYTES,
    FLUSH,
    NOTHING,
    PushAnswer,
    PushCommands,
    PushReader,
    RefUpdate,
    advertisement,
)
from pinode.errors import InvalidInput

A, B = "a" * 40, "b" * 40
PACK = b"PACK\0\0\0\2\0\0\0\0"


def packet(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return b"%04x" % (len(data) + 4) + data


def push(*lines: str | bytes, options: tuple[str, ...] | None = None) -> bytes:
    body = b"".join(map(packet, lines)) + FLUSH
    if options is not None:
        body += b"".join(map(packet, options)) + FLUSH
    return body + PACK


def read(body: bytes, *, size: int = 10**9) -> tuple[PushCommands, bytes]:
    reader, pack = PushReader(), b""
    for at in range(0, len(body), size):
        pack += reader.feed(body[at : at + size])
    assert reader.commands is not None
    return reader.commands, pack


@pytest.mark.parametrize("size", [1, 3, 7, 100, 10**9])
def test_commands_options_and_pack_are_told_apart_in_whatever_pieces_they_come(size: int) -> None:
    body = push(
        f"shallow {B}\n",
        f"{NOTHING} {A} refs/heads/main\0 report-status side-band-64k push-options agent=git/2.39\n",
        options=("dir=web",),
    )

    commands, pack = read(body, size=size)

    assert commands.updates == (RefUpdate(ref="refs/heads/main", new=A),)
    assert "side-band-64k" in commands.capabilities
    assert (commands.options, commands.is_shallow, pack) == (("dir=web",), True, PACK)


def test_a_push_of_several_refs_and_a_deletion_is_read_whole() -> None:
    commands, pack = read(
        push(f"{NOTHING} {A} refs/heads/main\0report-status", f"{A} {NOTHING} refs/heads/old")
    )

    assert [(update.ref, update.is_deletion) for update in commands.updates] == [
        ("refs/heads/main", False),
        ("refs/heads/old", True),
    ]
    assert pack == PACK


def test_the_probe_before_a_large_push_asks_for_nothing() -> None:
    reader = PushReader()

    assert reader.feed(FLUSH) == b""
    assert reader.commands is not None and reader.commands.updates == ()


@pytest.mark.parametrize(
    "body",
    [
        b"GET / HTTP/1.1\r\n", b"0001", b"0003abc", b"00zz", packet("nonsense\n"), packet(f"{A} {B}\n"),
        packet(f"{A[:-1]} {B} refs/heads/x\n"), packet(f"{A} {B} refs/heads/x\ny\n"), packet(b"\xff" * 90),
        packet(f"{NOTHING} {A} refs/heads/main\0push-options") + FLUSH + packet("o" * 2_000),
        packet(f"{NOTHING} {A} refs/heads/main\0push-options") + FLUSH + packet("") * 17,
        b"".join(packet(f"{NOTHING} {A} refs/tags/{'t' * 900}{number}\n") for number in range(1_200)),
    ],
)  # fmt: skip
def test_what_git_would_not_send_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        PushReader().feed(body)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_are_read_or_refused_and_never_kept_beyond_the_bound(pieces: list[bytes]) -> None:
    reader = PushReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except InvalidInput:
        pass
    assert len(reader._rest) <= COMMANDS_BYTES


def test_no_branch_is_advertised_and_known_commits_are() -> None:
    nothing, something = advertisement([]), advertisement([A, B])

    assert nothing.startswith(b"001f# service=git-receive-pack\n0000")
    assert f"{NOTHING} capabilities^{{}}\0".encode() in nothing and nothing.endswith(FLUSH)
    assert f"{A} .have\0".encode() in something and f"{B} .have\n".encode() in something
    assert b"refs/" not in nothing + something
    assert b"no-thin" in nothing and b"delete-refs" not in nothing


def commands(*capabilities: str) -> PushCommands:
    return PushCommands(
        updates=(RefUpdate(ref="refs/heads/main", new=A),), capabilities=frozenset(capabilities)
    )


def test_the_end_says_for_each_ref_whether_it_was_taken() -> None:
    plain = PushAnswer(commands("report-status"))
    banded = PushAnswer(commands("report-status", "side-band-64k"))

    assert plain.end(None) == packet("unpack ok\n") + packet("ok refs/heads/main\n") + FLUSH
    assert packet("ng refs/heads/main build failed\n") in plain.end("build\nfailed")
    assert banded.end(None) == packet(b"\x01" + plain.end(None)) + FLUSH


def test_lines_are_shown_to_clients_that_can_show_them() -> None:
    assert PushAnswer(commands("side-band-64k")).line("hello") == packet(b"\x02hello\n")
    assert PushAnswer(commands()).line("hello") == PushAnswer(commands()).alive() == b""
    assert PushAnswer(commands("side-band-64k")).alive() == packet(b"\x02")


def test_a_long_line_is_cut_into_packets_that_fit() -> None:
    said = PushAnswer(commands("side-band-64k")).line("x" * 200_000)

    assert said.startswith(b"fff0\x02") and said.count(b"x") == 200_000
