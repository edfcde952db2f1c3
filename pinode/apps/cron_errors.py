"""Refusals about cron; see `pinode.apps.errors`."""

from pinode.apps.errors import RegistryError
from pinode.errors import Conflict, NotFound


class ReleaseNotLive(RegistryError, Conflict):
    """Only the live release has its cron fired."""

    code = "release_not_live"

    def __init__(self, *, app: str, version: int, state: str) -> None:
        super().__init__(
            f"v{version} of {app!r} is {state}, not live.",
            hint="`pinode releases` shows which one is.",
            app=app,
            version=version,
            state=state,
        )


class CronEntryNotFound(RegistryError, NotFound):
    """The app's live release has no cron entry of this number."""

    code = "cron_entry_not_found"

    def __init__(self, *, app: str, ordinal: int, known: int) -> None:
        some = f"it has cron.1 to cron.{known}" if known else "its app.json has no cron"
        super().__init__(
            f"{app!r} has no cron.{ordinal}: {some}.",
            hint=f"`pinode cron -a {app}` lists them; they stand in its app.json.",
            app=app,
            ordinal=ordinal,
            known=known,
        )


class CronFired(RegistryError, Conflict):
    """This minute of the cron entry, or a later one, was fired before."""

    code = "cron_fired"

    def __init__(self, *, app: str, ordinal: int, minute: int) -> None:
        super().__init__(
            f"cron.{ordinal} of {app!r} was fired for this minute before.",
            app=app,
            ordinal=ordinal,
            minute=minute,
        )


class CronStillRuns(RegistryError, Conflict):
    """Runs of this cron entry, or of the whole app, have to end first."""

    code = "cron_still_runs"

    def __init__(self, *, app: str, ordinal: int, bound: int) -> None:
        super().__init__(
            f"cron.{ordinal} of {app!r} runs now, and its concurrency_policy forbids a second one"
            f" (or {bound} runs of the app have not ended).",
            hint=f"`pinode cron -a {app}` shows it. Wait for its end.",
            app=app,
            ordinal=ordinal,
            bound=bound,
        )


class CronRunNotFound(RegistryError, NotFound):
    """No such run, or it has ended."""

    code = "cron_run_not_found"

    def __init__(self, *, number: int) -> None:
        super().__init__(f"there is no run {number} of cron that could still begin or end.", number=number)


class CronRunStarted(RegistryError, Conflict):
    """A run of cron begins once, and this one has begun."""

    code = "cron_run_started"

    def __init__(self, *, app: str, number: int) -> None:
        super().__init__(
            f"run {number} of cron of {app!r} has begun already, and it runs once.", app=app, number=number
        )
