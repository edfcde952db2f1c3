"""When a schedule comes next, by the wall clock of its time zone."""

from datetime import datetime
from zoneinfo import ZoneInfo

from builders.app_json import cron_fields

MOST_KEPT = 4_096  # schedules whose next moment is remembered


class Occurrences:
    """Remembers what it found, for the same is asked again at every change of the cluster."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, int | None]] = {}

    def after(self, schedule: str, timezone: str, moment: float) -> int | None:
        """The first minute after `moment` (both Unix seconds); None where no clock here will show one.

        What falls into an hour that the clock leaves out comes right after it; an hour that it shows twice
        counts once for a schedule of certain hours (as cronsim, and cron of Debian, have it).
        """
        key = schedule, timezone
        since = int(moment)
        known = self._found.get(key)
        if known is not None and known[0] <= since and (known[1] is None or since < known[1]):
            return known[1]
        found = _first_after(schedule, timezone, since)
        if len(self._found) >= MOST_KEPT:
            self._found.clear()
        self._found[key] = since, found
        return found


def _first_after(schedule: str, timezone: str, since: int) -> int | None:
    from cronsim import CronSim, CronSimError  # only where an app has a schedule

    try:
        start = datetime.fromtimestamp(since, ZoneInfo(timezone))
        return int(next(CronSim(cron_fields(schedule), start)).timestamp())
    except (StopIteration, CronSimError, LookupError, ValueError, OSError, OverflowError):
        return None  # a time zone that this machine does not know, say: the build's machine knew it


def in_words(schedule: str, timezone: str) -> str:
    """For people, in English: "At 03:00 every day"."""
    from cronsim import CronSim, CronSimError

    try:
        words = CronSim(cron_fields(schedule), datetime(2000, 1, 1)).explain()
    except CronSimError:
        return schedule
    return words if timezone == "UTC" else f"{words}, {timezone}"
