"""How many long requests a node answers at once, and how many of one user."""

import asyncio
from collections.abc import Iterable

import pytest

from pinode.rate_limit import TooMany
from pinode.web.site import Streams


async def hold(streams: Streams, users: Iterable[str]) -> list["asyncio.Task[None]"]:
    """Tasks that stream, until they are cancelled."""

    async def stream(user: str) -> None:
        with streams.one_more(user):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(stream(user)) for user in users]
    await asyncio.sleep(0)
    return tasks


async def test_one_user_cannot_take_all_places() -> None:
    streams = Streams(4, "pushes", each=2)
    await hold(streams, ["bob", "bob"])

    with pytest.raises(TooMany, match="too many pushes of yours"):
        with streams.one_more("bob"):
            pass
    with streams.one_more("eve"):
        pass


async def test_all_users_together_have_no_more_than_there_are_and_what_ends_makes_room() -> None:
    streams = Streams(3, "pushes", each=2)
    tasks = await hold(streams, ["bob", "bob", "eve"])

    with pytest.raises(TooMany, match="too many pushes on this node"):
        with streams.one_more("ada"):
            pass
    streams.end()
    await asyncio.gather(*tasks, return_exceptions=True)
    with streams.one_more("ada"):
        pass
