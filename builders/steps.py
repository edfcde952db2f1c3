"""The commands of a build: what is ours first, then what is the app's; each within the build's bounds."""

from collections import deque
from collections.abc import Callable, Mapping

from builders.command import Command, CommandBounds, run
from builders.errors import BoundHit, StepFailed
from builders.log import BuildLog
from builders.request import BuildRequest
from builders.walls import walled

KEPT_LINES = 500


class Steps:
    """Runs commands in the app's folder. Once code of the app ran, nothing runs beside it with more rights:
    it could have laid out links for a later tool to follow.
    """

    def __init__(self, request: BuildRequest, log: BuildLog) -> None:
        self._request = request
        self._log = log
        self._app_ran = False

    async def run(self, step: str, argv: list[str], env: Mapping[str, str]) -> None:
        """A command that may run the app's own code. Raises `StepFailed`, `BoundHit`."""
        self._app_ran = True
        hidden = (self._request.cache, self._request.output)
        await self._run(step, walled(argv, bwrap=self._request.bwrap, hidden=hidden), env, self._log.line)

    async def run_tool(self, step: str, argv: list[str], env: Mapping[str, str]) -> None:
        """A command that runs nothing of the app, and sees the shared cache. Raises as `run` does."""
        assert not self._app_ran, f"{step} would follow the app's own code with more rights"
        await self._run(step, argv, env, self._log.line)

    async def attempt(self, step: str, argv: list[str], env: Mapping[str, str]) -> bool:
        """As `run_tool`; whether it went well. What it says is shown only then."""
        assert not self._app_ran, f"{step} would follow the app's own code with more rights"
        said: list[str] = []
        try:
            await self._run(step, argv, env, said.append)
        except StepFailed:
            return False
        for line in said:
            self._log.line(line)
        return True

    async def _run(
        self, step: str, argv: list[str], env: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        bounds = self._request.bounds
        within = CommandBounds(
            wall_seconds=bounds.wall_seconds,
            silence_seconds=bounds.silence_seconds,
            output_bytes=bounds.output_bytes,
        )
        command = Command(argv=argv, env=env, cwd=self._request.app, bounds=within)
        said: deque[str] = deque(maxlen=KEPT_LINES)

        def heard(line: str) -> None:
            said.append(line)
            on_line(line)

        try:
            code = await run(command, on_line=heard)
        except BoundHit as hit:
            raise BoundHit(hit.bound, f"{step} was ended: {hit.message}", hint=hit.hint) from hit
        except OSError as error:
            raise StepFailed(
                f"{step} could not be started ({error})", hint="Look at this node's installation"
            ) from error
        if code != 0:
            raise StepFailed(
                f"{step} failed with exit status {code}", hint="The lines above say why", said=tuple(said)
            )
