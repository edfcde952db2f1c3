"""Gossip as a program of its own: a shared key instead of pinode's, and streams of its own."""

import ast
import asyncio
import base64
import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip.__main__ import make, parser, table
from gossip.codec import MAX_STATE_BYTES
from gossip.keys import KeyRing, derive_from
from gossip.member import Address
from gossip.messages import MalformedMessage
from gossip.sealing import EchoSeal
from gossip.service import Gossip
from gossip.streams import LENGTH, VALUE_BYTES, SealedStreams
from tests.waiting import eventually

KEY = b"k" * 32
KEY_LINE = base64.b64encode(KEY).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def streams(key: bytes = KEY, seed: int = 1) -> SealedStreams:
    return SealedStreams(keys=KeyRing(derive_from(key)), random=Random(seed))


@contextlib.asynccontextmanager
async def listening(answer: Callable[[bytes], bytes] = bytes.upper) -> AsyncIterator[Address]:
    port = free_port()
    task = asyncio.create_task(streams(seed=2).serve(("127.0.0.1", port), answer))

    async def is_open() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(is_open)
        yield ("127.0.0.1", port)
    finally:
        task.cancel()


async def test_two_holders_of_the_key_exchange_states() -> None:
    async with listening() as where:
        answer = await streams().exchange(*where, b"all i know" * 10_000)

    assert answer == b"ALL I KNOW" * 10_000


async def test_who_has_another_key_learns_nothing_and_is_not_heard() -> None:
    heard: list[bytes] = []

    def answer(state: bytes) -> bytes:
        heard.append(state)
        return state

    async with listening(answer) as where:
        with pytest.raises((EOFError, ConnectionError)):
            await streams(b"x" * 32).exchange(*where, b"state")

    assert heard == []


async def test_a_recorded_exchange_is_not_heard_again() -> None:
    heard: list[bytes] = []
    sent: list[bytes] = []

    def answer(state: bytes) -> bytes:
        heard.append(state)
        return state

    class Recording(SealedStreams):
        def _sealed(self, payload: bytes, cipher: ChaCha20Poly1305) -> bytes:
            sent.append(super()._sealed(payload, cipher))
            return sent[-1]

    async with listening(answer) as where:
        await Recording(keys=KeyRing(derive_from(KEY)), random=Random(3)).exchange(*where, b"state")
        reader, writer = await asyncio.open_connection(*where)
        await reader.readexactly(VALUE_BYTES)
        writer.write(Random(3).randbytes(VALUE_BYTES) + sent[0])
        again = await reader.read()
        writer.close()

    assert heard == [b"state"]
    assert again == b""


@pytest.mark.parametrize("length", [0, MAX_STATE_BYTES + 100, 0xFFFF_FFFF])
async def test_a_frame_of_an_impossible_length_ends_the_connection(length: int) -> None:
    async with listening() as where:
        reader, writer = await asyncio.open_connection(*where)
        writer.write(bytes(VALUE_BYTES) + LENGTH.pack(length))
        answer = await reader.read()
        writer.close()

    assert len(answer) == VALUE_BYTES, "its fresh value, and no more"


async def test_a_state_that_is_refused_ends_the_connection_and_not_the_server() -> None:
    def answer(state: bytes) -> bytes:
        if state == b"bad":
            raise MalformedMessage("bad")
        return state

    async with listening(answer) as where:
        with pytest.raises(EOFError):
            await streams().exchange(*where, b"bad")
        good = await streams(seed=4).exchange(*where, b"good")

    assert good == b"good"


def test_a_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="16 or more"):
        derive_from(b"secret")


def test_seals_of_one_key_open_each_other_and_no_others() -> None:
    here = ("10.0.0.1", 7300)

    def seal(node_id: str, key: bytes = KEY) -> EchoSeal:
        return EchoSeal(node_id, keys=KeyRing(derive_from(key)), cluster_id=b"home", random=Random(node_id))

    one, two, stranger = seal("11" * 8), seal("22" * 8), seal("33" * 8, b"x" * 32)
    challenge = two.open(one.seal(b"hello", to=here), source=here).replies[0]
    echo = one.open(challenge, source=here).replies[0]

    assert two.open(echo, source=here).payload == b"hello"
    assert two.open(stranger.seal(b"hello", to=here), source=here).replies == ()


def arguments(folder: Path, *more: str, key: str = KEY_LINE) -> list[str]:
    (folder / "key").write_text(key)
    return ["--key-file", str(folder / "key"), *more]


async def test_the_table_names_members_their_statistics_and_the_counters(tmp_path: Path) -> None:
    given = parser().parse_args(arguments(tmp_path, "--bind", "127.0.0.1:7399", "--name", "pi1"))
    program = make(given)

    program.gossip.publish(b"load 0.12")
    shown = table(program, now=asyncio.get_running_loop().time())

    assert "pi1 " in shown
    assert "alive" in shown
    assert "load 0.12 (0 s ago)" in shown
    assert "sent 0 datagrams" in shown


@pytest.mark.parametrize("wrong", ["", "pi1", "pi1:", ":7300", "pi1:0", "pi1:70000", "pi1:x"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--bind", wrong, "--key-file", "key"])


def start_program(
    folder: Path, name: str, *, port: int, join: int, key: str = KEY_LINE
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gossip", "--bind", f"127.0.0.1:{port}", "--every", "0.2"]
    command += ["--join", f"127.0.0.1:{join}", *arguments(folder, "--name", name, key=key)]
    with (folder / name).open("wb") as out, (folder / "errors").open("ab") as errors:
        return subprocess.Popen(command, stdout=out, stderr=errors, cwd=Path(__file__).parents[2])


async def test_two_programs_find_each_other_and_say_goodbye(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    programs = [
        start_program(tmp_path, name, port=port, join=ports[0])
        for name, port in zip(("one", "two"), ports, strict=True)
    ]

    def shows(name: str, *words: str) -> bool:
        return any(all(word in line for word in words) for line in (tmp_path / name).read_text().splitlines())

    try:
        await eventually(lambda: shows("one", "two", "alive"), within_seconds=20)
        await eventually(lambda: shows("two", "one", "alive", "load"), within_seconds=40)
        os.kill(programs[1].pid, signal.SIGTERM)
        await eventually(lambda: shows("one", "two", "left"), within_seconds=20)
        assert await asyncio.to_thread(programs[1].wait, 10) == 0
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_the_page_names_what_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs/gossip.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = re.findall(r"^\| `(?:await )?(\w+)", page, re.MULTILINE)

    tree = compile(code, "docs/gossip.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]

    for node in imports:
        for alias in node.names:
            assert hasattr(importlib.import_module(str(node.module)), alias.name)
    assert len(names) > 8
    assert not [name for name in names if not hasattr(Gossip, name) and name != "counters"]
