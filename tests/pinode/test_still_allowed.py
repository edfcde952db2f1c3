"""What is sent for long is deployed only if its sender still may at its end, and into the very app they meant."""

import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from pinode.apps.commands import CreateApp, DestroyApp
from pinode.deploy.git_protocol import FLUSH, NOTHING
from pinode.people.commands import EndSession
from pinode.web.caller import token_hash
from tests.builders.repositories import make_repository
from tests.builders.test_archive import archive_of, entry
from tests.pinode.push_stage import PushStage, push_stage
from tests.pinode.test_git_protocol import packet
from tests.pinode.web_stage import token_of
from tests.waiting import eventually

PROCFILE = "web: ./serve\n"
UPLOAD, PUSH = "api/v1/apps/blog/builds", "git/blog.git/git-receive-pack"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[PushStage]:
    async with push_stage(tmp_path) as made:
        yield made


@pytest.fixture(params=[UPLOAD, PUSH])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def body(way: str, tmp_path: Path) -> bytes:
    """What is sent: an archive, or all that git sends in its second request."""
    if way == UPLOAD:
        return archive_of(entry("./Procfile", content=PROCFILE.encode())).getvalue()
    repository = make_repository(tmp_path / "app", {"Procfile": PROCFILE})
    words = ["git", "pack-objects", "--all", "--stdout", "-q"]
    packed = subprocess.run(
        words, cwd=repository.path, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    head = repository.git("rev-parse", "HEAD")
    return packet(f"{NOTHING} {head} refs/heads/main\0 report-status") + FLUSH + packed.stdout


async def send(stage: PushStage, way: str, body: bytes, change: Callable[[], object]) -> tuple[int, str]:
    """As bob to his app blog; `change` happens between the first bytes and the last."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:-20]
        await eventually(lambda: not stage.node.nothing_is_left())
        change()
        yield body[-20:]

    context = ssl.create_default_context(cafile=stage.node.authority)
    headers = {"Content-Type": "application/gzip", "Authorization": f"Bearer {token_of('bob')}"}
    url = f"https://127.0.0.1:{stage.node.port}/{way}"
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(url, data=pieces(), ssl=context) as answer:
            return answer.status, (await answer.read()).decode(errors="replace")


async def test_what_arrives_slowly_is_deployed(stage: PushStage, way: str, body: bytes) -> None:
    _, said = await send(stage, way, body, lambda: None)

    await eventually(lambda: stage.version() == 1, within_seconds=30)
    assert said


async def test_it_never_lands_in_the_next_app_of_the_name(stage: PushStage, way: str, body: bytes) -> None:
    def change_hands() -> None:
        stage.cluster.apply(DestroyApp(name="blog", actor="bob"))
        stage.cluster.apply(CreateApp(name="blog", owner="eve"))

    status, said = await send(stage, way, body, change_hands)

    assert "was destroyed meanwhile" in said and (status == 404 or way == PUSH)
    assert stage.cluster.state.registry.builds("blog") == ()


async def test_a_token_revoked_meanwhile_deploys_nothing(stage: PushStage, way: str, body: bytes) -> None:
    def revoke() -> None:
        stage.cluster.apply(EndSession(token_hash=token_hash(token_of("bob"))))

    status, said = await send(stage, way, body, revoke)

    assert "ended while the request arrived" in said and (status == 401 or way == PUSH)
    assert stage.cluster.state.registry.builds("blog") == ()
