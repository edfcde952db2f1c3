"""Slots of a session: who waits for a job leaves room for who has one."""

import asyncio

import pytest

from replicated_queue.errors import ClientClosed
from replicated_queue.slots import Slots


def test_requests_that_linger_leave_a_quarter_of_the_slots_to_others() -> None:
    slots = Slots(count=8)

    lingering = [slots.take_free(lingers=True) for _ in range(7)]
    others = [slots.take_free() for _ in range(3)]

    assert [taken is None for taken in lingering] == [False] * 6 + [True]
    assert [taken is None for taken in others] == [False, False, True]


async def test_a_slot_that_comes_back_goes_to_others_first_and_to_who_lingers_as_far_as_they_may() -> None:
    slots = Slots(count=4)
    held = [slots.take_free(lingers=True) for _ in range(3)]
    other = slots.take_free()
    assert held[0] is not None and held[1] is not None and other is not None
    lingers, waits = asyncio.ensure_future(slots.take(lingers=True)), asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)

    slots.give_back(held[0][0], lingers=True)
    assert (await waits)[0] == held[0][0] and not lingers.done()
    slots.give_back(other[0])
    assert (await lingers)[0] == other[0] and slots.take_free(lingers=True) is None
    slots.give_back(held[1][0], lingers=True)
    assert slots.take_free(lingers=True) is not None


async def test_who_waits_for_a_slot_when_all_is_closed_hears_so_and_who_was_cancelled_keeps_none() -> None:
    slots = Slots(count=1)
    taken = slots.take_free()
    assert taken is not None
    cancelled, waits = asyncio.ensure_future(slots.take()), asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)

    slots.give_back(taken[0])
    cancelled.cancel()
    assert (await waits)[0] == taken[0]
    late = asyncio.ensure_future(slots.take())
    await asyncio.sleep(0)
    slots.close()

    with pytest.raises(ClientClosed):
        await late
