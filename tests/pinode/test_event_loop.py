"""Which event loop a node runs on."""

import asyncio

import pytest

from pinode import event_loop


async def kind_of_loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_a_node_runs_on_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")

    assert event_loop.run(kind_of_loop()) == "uvloop"


def test_what_ends_the_node_comes_out_of_its_loop() -> None:
    async def fail() -> None:
        raise OSError("no more disk")

    with pytest.raises(OSError, match="no more disk"):
        event_loop.run(fail())
