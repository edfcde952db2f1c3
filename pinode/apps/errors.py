"""What the registry refuses, each with what to do about it.

A refusal is decided from agreed state, so it is the same on every node, and it changed nothing. It travels
back to whoever asked as its `code`, its message and its `details`, and is raised there as the same class.
"""

from pinode.errors import Conflict, InvalidInput, NotFound, PinodeError, TooLarge

Detail = str | int | None


class Refused(PinodeError):
    """Root of the refusals of the registry and of people; `details` are the arguments it was made with."""

    code = "refused"

    def __init__(self, message: str, *, hint: str = "", code: str = "", **details: Detail) -> None:
        super().__init__(message, hint=hint, code=code)
        self.details = details


class RegistryError(Refused):
    """Root of what the registry refuses."""


class AppExists(RegistryError, Conflict):
    """The name is taken."""

    code = "app_exists"

    def __init__(self, *, app: str) -> None:
        super().__init__(f"there is an app named {app!r} already.", hint="Choose another name.", app=app)


class AppNotFound(RegistryError, NotFound):
    """No app of this name."""

    code = "app_not_found"

    def __init__(self, *, app: str) -> None:
        super().__init__(
            f"there is no app named {app[:100]!r}.", hint="`pinode apps` lists the apps you have.", app=app
        )


class AppDestroyed(RegistryError, NotFound):
    """The app that was meant is gone; if there is one of its name again, it is another one."""

    code = "app_destroyed"

    def __init__(self, *, app: str) -> None:
        super().__init__(
            f"the app {app[:100]!r} was destroyed meanwhile.",
            hint="`pinode apps` lists the apps you have.",
            app=app,
        )


class TooManyApps(RegistryError, Conflict):
    """The owner has as many apps as one user may have."""

    code = "too_many_apps"

    def __init__(self, *, owner: str, bound: int) -> None:
        super().__init__(
            f"{owner!r} has {bound} apps, as many as one user may have.",
            hint="Destroy an app first, or raise `[limits] apps_per_user`.",
            owner=owner,
            bound=bound,
        )


class NoPortLeft(RegistryError, Conflict):
    """Every port of `[listen] app_ports` belongs to an app."""

    code = "no_port_left"

    def __init__(self, *, bound: int) -> None:
        super().__init__(
            f"all {bound} ports for apps are taken.",
            hint="Destroy an app first, or widen `[listen] app_ports`.",
            bound=bound,
        )


class TooManyDynos(RegistryError, Conflict):
    """More dynos than one user may have."""

    code = "too_many_dynos"

    def __init__(self, *, owner: str, wanted: int, bound: int) -> None:
        super().__init__(
            f"{wanted} dynos are more than the {bound} that {owner!r} may have in all apps together.",
            hint="Scale something down first, or raise `[limits] dynos_per_user`.",
            owner=owner,
            wanted=wanted,
            bound=bound,
        )


class InvalidName(RegistryError, InvalidInput):
    """A name breaks the rule for its kind."""

    code = "invalid_name"

    def __init__(self, *, kind: str, name: str, rule: str) -> None:
        shown = name if len(name) <= 100 else name[:100] + "…"
        super().__init__(f"{shown!r} is no {kind}: {rule}.", kind=kind, name=shown, rule=rule)


class InvalidValue(RegistryError, InvalidInput):
    """A value is outside what is allowed."""

    code = "invalid_value"

    def __init__(self, *, what: str, rule: str) -> None:
        super().__init__(f"{what} {rule}.", what=what, rule=rule)


class ConfigTooLarge(RegistryError, TooLarge):
    """All config vars of an app together are over their bound."""

    code = "config_too_large"

    def __init__(self, *, app: str, size_bytes: int, bound_bytes: int) -> None:
        super().__init__(
            f"the config vars of {app!r} would have {size_bytes} bytes, more than {bound_bytes}.",
            hint="Unset some, or put large values into a file of the repository.",
            app=app,
            size_bytes=size_bytes,
            bound_bytes=bound_bytes,
        )


class ProcessTypeNotFound(RegistryError, NotFound):
    """The app's newest release has no such process type."""

    code = "process_type_not_found"

    def __init__(self, *, app: str, process_type: str, known: str) -> None:
        super().__init__(
            f"{app!r} has no process type {process_type[:100]!r}; it has {known}.",
            hint="Name it in the app's Procfile and deploy, or scale another one.",
            app=app,
            process_type=process_type,
            known=known,
        )


class DynoNotFound(RegistryError, NotFound):
    """No dyno of the live release has this name or process type."""

    code = "dyno_not_found"

    def __init__(self, *, app: str, dyno: str) -> None:
        super().__init__(
            f"{app!r} runs no dyno {dyno[:100]!r}.",
            hint="`pinode ps` lists those that run.",
            app=app,
            dyno=dyno,
        )


class BuildNotFound(RegistryError, NotFound):
    """No build of this id; only the newest builds of an app are kept."""

    code = "build_not_found"

    def __init__(self, *, build_id: int) -> None:
        super().__init__(
            f"there is no build {build_id}.",
            hint="`pinode builds` lists those that are kept.",
            build_id=build_id,
        )


class BuildFinished(RegistryError, Conflict):
    """The build has ended already."""

    code = "build_finished"

    def __init__(self, *, build_id: int, state: str) -> None:
        super().__init__(
            f"build {build_id} has {_ENDED.get(state, state)} already.",
            hint="Nothing is left to do for it; `pinode deploy` begins a new one.",
            build_id=build_id,
            state=state,
        )


_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


class LeaseLost(RegistryError, Conflict):
    """The build's lease ended: it may have gone to another node, and this result must not count."""

    code = "lease_lost"

    def __init__(self, *, build_id: int) -> None:
        super().__init__(
            f"the lease of build {build_id} has ended, so what was done under it does not count.",
            hint="Drop this work; the build goes to another worker.",
            build_id=build_id,
        )


class BuildQueueFull(RegistryError, Conflict):
    """The queue takes no further job."""

    code = "build_queue_full"

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"the build cannot be queued: {reason}",
            hint="Try again when some jobs are done; `pinode queue` shows them.",
            reason=reason,
        )


class ReleaseNotFound(RegistryError, NotFound):
    """No release of this version; only the newest releases are kept."""

    code = "release_not_found"

    def __init__(self, *, app: str, version: int) -> None:
        super().__init__(
            f"{app!r} has no release v{version}.",
            hint="`pinode releases` lists those that are kept.",
            app=app,
            version=version,
        )


class ReleaseNotPending(RegistryError, Conflict):
    """The release is past the state in which this could be decided."""

    code = "release_not_pending"

    def __init__(self, *, app: str, version: int, state: str) -> None:
        super().__init__(
            f"release v{version} of {app!r} is {state}, no longer pending.",
            hint="`pinode releases` shows what became of it.",
            app=app,
            version=version,
            state=state,
        )


class NothingToRollBackTo(RegistryError, Conflict):
    """No release served before the one that serves now."""

    code = "nothing_to_roll_back_to"

    def __init__(self, *, app: str) -> None:
        super().__init__(
            f"no release of {app!r} served before the present one.",
            hint="`pinode releases` lists those that are kept; `pinode deploy` makes another one.",
            app=app,
        )


class CannotRollBackTo(RegistryError, Conflict):
    """The named release never served, or serves now."""

    code = "cannot_roll_back_to"

    def __init__(self, *, app: str, version: int, state: str) -> None:
        super().__init__(
            f"v{version} of {app!r} is {state}: only a release that served before can be rolled back to.",
            hint="`pinode releases` shows which ones served.",
            app=app,
            version=version,
            state=state,
        )


class ReleaseCommandStarted(RegistryError, Conflict):
    """The `release:` command of a release runs once, and it has begun."""

    code = "release_command_started"

    def __init__(self, *, app: str, version: int) -> None:
        super().__init__(
            f"the release command of v{version} of {app!r} has begun already, and it runs once.",
            hint="A new release runs it again: `pinode deploy`.",
            app=app,
            version=version,
        )


class SlugNotFound(RegistryError, NotFound):
    """No release refers to this slug."""

    code = "slug_not_found"

    def __init__(self, *, digest: str) -> None:
        super().__init__(
            f"no release refers to slug {digest[:12]}.",
            hint="It may be deleted from the disk.",
            digest=digest,
        )


class AlreadyPlaced(RegistryError, Conflict):
    """The dyno has a placement already, other than the one to be replaced."""

    code = "already_placed"

    def __init__(self, *, app: str, dyno: str, number: int) -> None:
        super().__init__(
            f"dyno {dyno} of {app!r} is placed already (placement {number}).",
            hint="Plan again from the present state.",
            app=app,
            dyno=dyno,
            number=number,
        )


class PlacementNotFound(RegistryError, NotFound):
    """No placement of this number (for this dyno)."""

    code = "placement_not_found"

    def __init__(self, *, number: int) -> None:
        super().__init__(
            f"there is no placement {number}.", hint="Plan again from the present state.", number=number
        )


class HookNotFound(RegistryError, NotFound):
    """The app has no such webhook."""

    code = "hook_not_found"

    def __init__(self, *, hook: str) -> None:
        super().__init__(
            f"there is no webhook {hook[:50]!r}.",
            hint="`pinode hooks` lists those there are.",
            hook=hook[:50],
        )


class AlreadyDelivered(RegistryError, Conflict):
    """The very same was delivered to this webhook before."""

    code = "already_delivered"

    def __init__(self, *, hook: str) -> None:
        super().__init__(
            "this was delivered before, and is not built again.", hint="`pinode deploy` builds it.", hook=hook
        )


class TooManyHooks(RegistryError, Conflict):
    """The app has as many webhooks as one may have."""

    code = "too_many_hooks"

    def __init__(self, *, app: str, bound: int) -> None:
        super().__init__(
            f"{app!r} has {bound} webhooks, as many as one app may have.",
            hint="Revoke one first: `pinode hooks:revoke`.",
            app=app,
            bound=bound,
        )


class RegistryFull(RegistryError, TooLarge):
    """What is agreed about all apps together is at its bound."""

    code = "registry_full"

    def __init__(self, *, bound_bytes: int) -> None:
        super().__init__(
            f"the cluster's records of apps, builds and releases have reached {bound_bytes} bytes.",
            hint="Destroy apps that are no longer needed, or unset large config vars.",
            bound_bytes=bound_bytes,
        )


class MalformedCommand(RegistryError, InvalidInput):
    """Bytes that are no command, or a command with a value of the wrong type."""

    code = "malformed_command"

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"not a command: {reason}", reason=reason)
