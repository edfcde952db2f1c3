"""What can go wrong between a git URL and a slug; each error says what happened, to what, and what to do."""


class BuildError(Exception):
    """Root of the package's errors; `message` and `hint` are shown to people as they are."""

    code = "build_failed"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.message = message
        self.hint = hint


class InvalidRequest(BuildError):
    """A URL, a ref, a directory or the request itself is outside what is allowed."""

    code = "invalid"


class CloneFailed(BuildError):
    """The repository, or the commit in it, could not be fetched."""

    code = "clone_failed"


class IncompletePush(BuildError):
    """Objects are missing in what was pushed."""

    code = "incomplete"


class NoBuilderFound(BuildError):
    """The repository is of no kind we can build."""

    code = "no_builder"

    def __init__(self, *, tried: str, looked_in: str, nearly: str = "") -> None:
        super().__init__(
            f"no builder matches {looked_in} (tried {tried})",
            hint=nearly or "Add one of these; an app in a subdirectory is deployed with --dir",
        )


class NoInterpreter(BuildError):
    """No installed Python satisfies the app."""

    code = "no_interpreter"


class StepFailed(BuildError):
    """A command of the build ended with an error; `said` are the last lines it printed (at most 500)."""

    code = "step_failed"

    def __init__(self, message: str, *, hint: str = "", said: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.said = said


class NoToolchain(BuildError):
    """What a language needs is not installed, or not in the version the app asks for."""

    code = "no_toolchain"


class BoundHit(BuildError):
    """Something took more than it may; `bound` names what: wall, silence, output, clone, disk,
    files, memory, processes, slug.
    """

    code = "bound_hit"

    def __init__(self, bound: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.bound = bound


class ArchiveRefused(BuildError):
    """An archive holds what it may not, is damaged, or grows past its bound."""

    code = "archive_refused"
