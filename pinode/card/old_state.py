"""Why a node may have forgotten what it promised, and what becomes of it then. Pure.

Others hold the log too: then the node begins anew as a new one, unasked, for what it has is a copy at best.
It is the only one that votes: then nobody else has what it has, and a person decides.
"""

from enum import StrEnum

from pinode.errors import Conflict, PinodeError
from pinode.peers.rejoin import OTHER_HARDWARE


class Reason(StrEnum):
    """What was found. The values name folders."""

    OTHER_HARDWARE = OTHER_HARDWARE  # the card was copied, or moved to another machine
    SET_BACK = "set-back"  # others know that it was further: an old copy was put back, or two copies run
    DAMAGED_LOG = "damaged-log"  # what was safe on the disk cannot be read
    LOST_LOG = "lost-log"  # what was safe on the disk is not there
    LEFT = "left"  # it left its cluster for good
    OLD_EPOCH = "old-epoch"  # the cluster was recovered without it
    RECOVERED = "recovered"  # the cluster was recovered here: the log as it was before


class OldState(PinodeError):
    """What this node holds must not vote any more."""

    def __init__(self, reason: Reason, what: str) -> None:
        super().__init__(f"this node must not go on with what it holds: {what}")
        self.reason = reason
        self.what = what


class OnlyVoter(Conflict):
    """The same, and nobody else holds what it holds."""


def may_begin_anew(reason: Reason, *, is_only_voter: bool) -> bool:
    """Whether others have the log, so that this node may leave its own behind."""
    return reason is Reason.OLD_EPOCH or not is_only_voter


def question(old: OldState, *, cluster_name: str, data_dir: object) -> OnlyVoter:
    """What to ask the person in front of the only voter."""
    if old.reason is Reason.OTHER_HARDWARE:
        return OnlyVoter(
            f"{data_dir} comes from another machine ({old.what}), "
            f"and no other node votes in the cluster {cluster_name!r}",
            hint="If that machine is off for good, go on here with `pinode start --moved`. "
            "If it still runs, this is a copy: start with an empty data directory.",
        )
    return OnlyVoter(
        f"{old.message}. No other node votes in the cluster {cluster_name!r}, so nobody can make this good",
        hint="`pinode recover` says what is left and goes on with it; "
        "if you have a newer copy of the data directory, put that one back instead.",
    )
