"""The names that this node announces, those that another machine has, and what is to be done next."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pinode.lan_names.wanted import LanName

# An announcement is said again: a packet may be lost, and the leader before may have answered meanwhile.
AGAIN_SECONDS = (1.0, 2.0)
ASK_AGAIN_SECONDS = 120.0  # whether another machine still has a name


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done now, in this order."""

    withdraw: tuple[str, ...] = ()  # answer no more for these apps, and say nothing: another node takes over
    part: tuple[LanName, ...] = ()  # answer no more, and tell that the name is gone
    announce: tuple[LanName, ...] = ()  # answer with this, and tell it
    probe: tuple[str, ...] = ()  # ask the network whether somebody has it; then `conclude`


class NameBook:
    """A name is asked for before it is announced, and announced again when its addresses have changed."""

    def __init__(self) -> None:
        self._held: dict[str, LanName] = {}
        self._free: set[str] = set()  # asked for, nobody has it
        self._taken: dict[str, float] = {}  # another machine has it: when to ask again
        self._again: dict[
            str, tuple[float, int]
        ] = {}  # when an announcement is repeated, and which time that is
        self._reserved: frozenset[str] = frozenset()

    @property
    def held(self) -> Mapping[str, LanName]:
        """What is announced."""
        return self._held

    @property
    def taken(self) -> tuple[str, ...]:
        """Apps that have no name on the network because another machine has it, sorted."""
        return tuple(sorted(self._taken.keys() | self._reserved))

    def steps(
        self, wanted: Mapping[str, LanName] | None, *, reserved: Collection[str] = (), now: float
    ) -> Steps:
        """Note what is wanted (None: this node does not lead) and return what is to be done.

        `reserved` are names that machines of the cluster have: no app is announced under one.
        """
        if wanted is None:
            return Steps(withdraw=self._withdraw_all())
        self._reserved = frozenset(app for app in wanted if app in reserved)
        wanted = {app: name for app, name in wanted.items() if app not in self._reserved}
        self._forget_unwanted(wanted)
        part = tuple(self._held.pop(app) for app in sorted(self._held.keys() - wanted.keys()))
        announce = tuple(wanted[app] for app in sorted(wanted) if self._is_to_be_told(wanted[app], now))
        for name in announce:
            self._note_told(name, now)
        probe = tuple(
            app for app in sorted(wanted) if app not in self._held and self._taken.get(app, now) <= now
        )
        return Steps(part=part, announce=announce, probe=probe)

    def conclude(self, probed: Collection[str], answered: Collection[str], *, now: float) -> None:
        """These were asked for, and for some of them another machine answered."""
        for app in probed:
            if app in answered:
                self._taken[app] = now + ASK_AGAIN_SECONDS
            else:
                self._taken.pop(app, None)
                self._free.add(app)

    def lose(self, app: str, *, now: float) -> bool:
        """Another machine says that it has this name, and keeps it. Whether that was announced."""
        if self._held.pop(app, None) is None:
            return False
        self._again.pop(app, None)
        self._taken[app] = now + ASK_AGAIN_SECONDS
        return True

    def wait_seconds(self, now: float) -> float | None:
        """When there is something to do even if nothing changes; None: never."""
        if self._free:
            return 0.0
        due = [at for at, _ in self._again.values()] + list(self._taken.values())
        return max(0.0, min(due) - now) if due else None

    def _withdraw_all(self) -> tuple[str, ...]:
        withdrawn = tuple(sorted(self._held))
        for table in (self._held, self._taken, self._again):
            table.clear()
        self._free, self._reserved = set(), frozenset()
        return withdrawn

    def _forget_unwanted(self, wanted: Mapping[str, LanName]) -> None:
        self._free &= wanted.keys()
        for table in (self._taken, self._again):
            for app in table.keys() - wanted.keys():
                del table[app]

    def _is_to_be_told(self, name: LanName, now: float) -> bool:
        if name.app not in self._held:
            return name.app in self._free
        if self._held[name.app] != name:
            return True
        due, _ = self._again.get(name.app, (now + 1, 0))
        return due <= now

    def _note_told(self, name: LanName, now: float) -> None:
        is_new = self._held.get(name.app) != name
        times = 0 if is_new else self._again[name.app][1] + 1
        self._free.discard(name.app)
        self._held[name.app] = name
        if times < len(AGAIN_SECONDS):
            self._again[name.app] = now + AGAIN_SECONDS[times], times
        else:
            del self._again[name.app]
