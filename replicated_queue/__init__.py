"""A priority queue on every node: one leader, one log, the same jobs on every replica.

`raft` agrees on the log, `storage` keeps it through a power cut, `queue` is what the log is about, `service`
runs a replica; `broker` stands on every node and brings requests to the leader, `client` is for programs
elsewhere. Knows nothing of pinode. The exports are lazy: who only wants an error does not pay for a client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from replicated_queue.client import QueueClient
    from replicated_queue.errors import (
        AlreadyDone,
        Busy,
        ClientClosed,
        Duplicate,
        InvalidRequest,
        InvalidTopic,
        JobNotFound,
        JobTooLarge,
        LeaseLost,
        NodeUnreachable,
        NoQuorum,
        NotAuthorized,
        OutcomeUnknown,
        QueueError,
        QueueFull,
        ReservedTopic,
        SessionExpired,
        TopicDraining,
        WrongState,
    )
    from replicated_queue.queue.job import Job, JobView, TopicStats

_EXPORTS: Final = {
    "replicated_queue.client": ("QueueClient",),
    "replicated_queue.queue.job": ("Job", "JobView", "TopicStats"),
    "replicated_queue.errors": (
        "AlreadyDone",
        "Busy",
        "ClientClosed",
        "Duplicate",
        "InvalidRequest",
        "InvalidTopic",
        "JobNotFound",
        "JobTooLarge",
        "LeaseLost",
        "NoQuorum",
        "NodeUnreachable",
        "NotAuthorized",
        "OutcomeUnknown",
        "QueueError",
        "QueueFull",
        "ReservedTopic",
        "SessionExpired",
        "TopicDraining",
        "WrongState",
    ),
}

__all__ = [
    "AlreadyDone",
    "Busy",
    "ClientClosed",
    "Duplicate",
    "InvalidRequest",
    "InvalidTopic",
    "Job",
    "JobNotFound",
    "JobTooLarge",
    "JobView",
    "LeaseLost",
    "NoQuorum",
    "NodeUnreachable",
    "NotAuthorized",
    "OutcomeUnknown",
    "QueueClient",
    "QueueError",
    "QueueFull",
    "ReservedTopic",
    "SessionExpired",
    "TopicDraining",
    "TopicStats",
    "WrongState",
]


def __getattr__(name: str) -> Any:
    for module, names in _EXPORTS.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
