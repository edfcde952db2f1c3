"""How a node that lost its state asks its cluster to let it in again, in its old place."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pinode.errors import Conflict
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.rejoin import Rejoin, keep_rejoin

OLD_SELF_SECONDS = 60.0  # how long the name of who this node was may still be taken
COPY_SECONDS = 10.0  # the same where it may be a copy: long enough to notice that a node is gone
NAME_TAKEN = "node_name_taken"


class ComingBack:
    """One node's way back, by its note. It founds nothing, and takes part in no founding."""

    def __init__(
        self, note: Rejoin, *, data_dir: Path, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._data_dir = data_dir
        self._name = name
        self._clock = clock
        self._asked_since: float | None = None

    @property
    def replaces(self) -> str | None:
        """Whose place it wants; nobody's once it is known for a copy of who runs."""
        return None if self._note.refused_name else self._note.old_id

    @property
    def what_is_waited_for(self) -> str:
        """For the log of a node that nobody lets in."""
        moved = (
            " (were all nodes moved? then `pinode start --moved` on each)" if self._note.may_be_copy else ""
        )
        return f"waiting for the own cluster, to come back to it in place of {self._note.old_id}{moved}"

    def is_to(self, record: FoundingRecord) -> bool:
        """Whether this is the cluster that it was in."""
        return record.cluster_id == self._note.cluster_id

    def refuse_copy(self) -> None:
        """Do not ask again under a name whose holder ran: it may be away for a moment. Raises `Conflict`."""
        if self._note.refused_name == self._name:
            raise Conflict(
                f"this card is a copy of that of the node {self._name!r}, which ran when this one wanted to "
                "join under its name",
                hint='Give this node another: [node] name = "pi2". If the other one is off for good: '
                "`pinode start --moved`.",
            )

    def may_wait(self, refusal: str) -> bool:
        """Whether the name may be free soon: who this node was a moment ago is not known to be gone yet."""
        now = self._clock()
        self._asked_since = now if self._asked_since is None else self._asked_since
        patience = COPY_SECONDS if self._note.may_be_copy else OLD_SELF_SECONDS
        return refusal == NAME_TAKEN and now - self._asked_since < patience

    def note_refusal(self, refusal: str) -> None:
        """It was not let in for good; durable when this returns. Blocking."""
        if refusal == NAME_TAKEN and self._note.may_be_copy:
            self._note = replace(self._note, refused_name=self._name)
            keep_rejoin(self._data_dir, self._note)
