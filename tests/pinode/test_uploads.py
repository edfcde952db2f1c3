"""An uploaded archive is built like a push; what could do harm is refused at the door (checklist 5.3)."""

import gzip
import io
import os
import ssl
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.builders.test_archive import archive_of, entry
from tests.pinode.push_stage import Node, PushStage, push_stage
from tests.pinode.web_stage import token_of
from tests.waiting import eventually

PROCFILE = entry("./Procfile", content=b"web: ./serve\n")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[PushStage]:
    async with push_stage(tmp_path) as made:
        yield made


async def send(
    node: Node, body: Any, *, query: str = "", by: str = "bob", app: str = "blog", **headers: str
) -> tuple[int, dict[str, Any]]:
    context = ssl.create_default_context(cafile=node.authority)
    named = {"Content-Type": "application/gzip", "Authorization": f"Bearer {token_of(by)}"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"https://127.0.0.1:{node.port}/api/v1/apps/{app}/builds{query}"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=named, ssl=context) as answer:
            return answer.status, await answer.json()


async def test_an_uploaded_folder_is_built_and_deployed(stage: PushStage) -> None:
    status, build = await send(stage.node, archive_of(PROCFILE).getvalue())

    assert (status, build["origin"], build["git_url"]) == (202, "upload", None), build
    await eventually(lambda: stage.version() == 1, within_seconds=30)
    assert stage.laid_out() == {"Procfile": "web: ./serve\n"}
    await eventually(stage.node.nothing_is_left)


async def test_an_upload_that_is_sent_twice_with_one_key_is_one_build(stage: PushStage) -> None:
    body = archive_of(PROCFILE).getvalue()

    first = await send(stage.node, body, Idempotency_Key="once")
    again = await send(stage.node, body, Idempotency_Key="once")

    assert first[1]["id"] == again[1]["id"]
    assert len(stage.cluster.state.registry.builds("blog")) == 1


async def test_another_folder_under_the_key_of_an_upload_is_refused(stage: PushStage) -> None:
    other = archive_of(entry("Procfile", content=b"web: ./other\n")).getvalue()
    await send(stage.node, archive_of(PROCFILE).getvalue(), Idempotency_Key="once")

    status, refused = await send(stage.node, other, Idempotency_Key="once")

    assert (status, refused["error"]["code"]) == (409, "key_reused")
    assert len(stage.cluster.state.registry.builds("blog")) == 1


async def test_a_folder_of_the_archive_can_be_named(stage: PushStage) -> None:
    body = archive_of(entry("a/Procfile", content=b"web: ./serve\n"), entry("b", content=b"b")).getvalue()

    status, _ = await send(stage.node, body, query="?dir=a")

    assert status == 202 and stage.laid_out() == {"Procfile": "web: ./serve\n"}


HARMFUL = {
    "nothing": b"",
    "no archive": b"nonsense",
    "gzip of nonsense": gzip.compress(b"nonsense"),
    "gzip of noise": gzip.compress(os.urandom(2_000)),
    "out of it": archive_of(entry("../x", content=b"x")).getvalue(),
    "absolute": archive_of(entry("/etc/x", content=b"x")).getvalue(),
    "a link to a file of the system": archive_of(entry("l", tarfile.SYMTYPE, "/etc/passwd")).getvalue(),
    "a link out of it": archive_of(entry("l", tarfile.SYMTYPE, "../..")).getvalue(),
    "a device": archive_of(entry("d", tarfile.CHRTYPE)).getvalue(),
    "a hard link": archive_of(entry("x", content=b"x"), entry("h", tarfile.LNKTYPE, "x")).getvalue(),
    "cut off": archive_of(PROCFILE).getvalue()[:-20],
}


@pytest.mark.parametrize("name", HARMFUL)
async def test_what_could_do_harm_is_refused_and_changes_nothing(stage: PushStage, name: str) -> None:
    before = stage.cluster.state.registry.digest()

    status, answer = await send(stage.node, HARMFUL[name])

    assert status == 400 and answer["error"]["message"], answer
    assert stage.cluster.state.registry.digest() == before
    assert stage.node.sources.slugs() == []
    await eventually(stage.node.nothing_is_left)


async def test_an_archive_that_unfolds_into_too_much_is_refused(tmp_path: Path) -> None:
    bomb = archive_of(entry("zeros", content=bytes(3_000_000))).getvalue()
    async with push_stage(tmp_path, limits={"clone_bytes": 1_000_000}) as stage:
        status, answer = await send(stage.node, bomb)

        assert len(bomb) < 10_000
        assert status == 400 and "grows past" in answer["error"]["message"]


async def test_a_body_beyond_its_bound_is_refused_as_it_arrives(tmp_path: Path) -> None:
    async with push_stage(tmp_path, limits={"clone_bytes": 1_000_000}) as stage:
        status, answer = await send(stage.node, io.BytesIO(os.urandom(2_000_000)))

        assert (status, answer["error"]["code"]) == (413, "too_large")
        await eventually(stage.node.nothing_is_left)


@pytest.mark.parametrize("directory", ["../x", "%2Fetc", "a%00b", "-x", "nowhere"])
async def test_a_folder_that_is_none_is_refused(stage: PushStage, directory: str) -> None:
    status, _ = await send(stage.node, archive_of(PROCFILE).getvalue(), query=f"?dir={directory}")

    assert status == 400


async def test_others_upload_nothing(stage: PushStage) -> None:
    status, _ = await send(stage.node, archive_of(PROCFILE).getvalue(), by="eve")

    assert status == 403
    assert stage.cluster.state.registry.builds("blog") == ()
