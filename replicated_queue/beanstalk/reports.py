"""The texts that answer `stats` and its kin: small YAML documents with beanstalkd's keys. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from replicated_queue.queue.job import BURIED, DELAYED, LEASED, READY, JobView, TopicStats

_STATES = {READY: "ready", DELAYED: "delayed", LEASED: "reserved", BURIED: "buried"}


@dataclass(frozen=True, slots=True)
class TubeUse:
    """How many connections of one door do something with a tube."""

    using: int
    watching: int
    waiting: int


def report_of_job(job: JobView, *, now: int, seconds_left: float | None) -> bytes:
    """`seconds_left` of its lease, if this door knows: extensions are in no entry of the log."""
    if seconds_left is None or job.state != LEASED:
        seconds_left = (job.due_ms - now) / 1000 if job.state in (LEASED, DELAYED) else 0
    return _document(
        {
            "id": job.id,
            "tube": job.topic,
            "state": _STATES[job.state],
            "pri": job.priority,
            "age": (now - job.created_ms) // 1000,
            "delay": job.delay_ms // 1000,
            "ttr": job.lease_ms // 1000,
            "time-left": max(0, int(seconds_left)),
            "file": 0,
            "reserves": job.reserves,
            "timeouts": job.timeouts,
            "releases": job.nacks,
            "buries": job.buries,
            "kicks": job.kicks,
        }
    )


def report_of_tube(name: str, stats: TopicStats, use: TubeUse) -> bytes:
    return _document(
        {
            "name": name,
            **_counts((stats,)),
            "total-jobs": stats.total_put,
            "current-using": use.using,
            "current-watching": use.watching,
            "current-waiting": use.waiting,
            "cmd-delete": stats.total_succeeded + stats.total_cancelled,
            "cmd-pause-tube": stats.pauses,
            "pause": stats.pause_ms // 1000,
            "pause-time-left": stats.pause_left_ms // 1000,
        }
    )


def report_of_door(stats: Iterable[TopicStats], facts: Mapping[str, object]) -> bytes:
    return _document({**_counts(tuple(stats)), **facts})


def list_of(tubes: Iterable[str]) -> bytes:
    return _framed("---\n" + "".join(f"- {tube}\n" for tube in tubes))


def _counts(stats: tuple[TopicStats, ...]) -> dict[str, object]:
    return {
        "current-jobs-urgent": sum(row.urgent for row in stats),
        "current-jobs-ready": sum(row.ready for row in stats),
        "current-jobs-reserved": sum(row.leased for row in stats),
        "current-jobs-delayed": sum(row.delayed for row in stats),
        "current-jobs-buried": sum(row.buried for row in stats),
    }


def _document(values: Mapping[str, object]) -> bytes:
    return _framed("---\n" + "".join(f"{key}: {value}\n" for key, value in values.items()))


def _framed(text: str) -> bytes:
    data = text.encode()
    return b"OK %d\r\n%s\r\n" % (len(data), data)
