"""Deploy keys: sealed, never shown, and handed to the build that fetches."""

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.pinode.web_stage import Stage, stage

PATH = "/api/v1/apps/blog/deploy-key"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        made.add_app("blog", "bob", "git@git.example.org:bob/blog.git")
        yield made


def stored(web: Stage) -> str:
    app = web.cluster.state.registry.app("blog")
    assert app is not None and app.sealed_deploy_key is not None
    return web.cluster.reveal(app.sealed_deploy_key)


async def test_a_key_that_is_made_here_shows_its_public_part_alone(web: Stage) -> None:
    made = await web.api("POST", PATH, {})
    shown = await web.api("GET", PATH)

    assert made.status == 201
    assert made.json()["public_key"].startswith("ssh-ed25519 ") and made.json() == shown.json()
    private = stored(web)
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert private not in made.text + shown.text + repr(web.cluster.state.registry.apps())
    assert private not in repr(web.cluster.commands)


async def test_a_key_of_ones_own_is_taken_and_removed(web: Stage) -> None:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()

    given = await web.api("POST", PATH, {"private_key": private})
    kept = stored(web)
    removed = await web.api("DELETE", PATH)

    assert (given.status, removed.status) == (201, 204)
    assert kept.split() == private.split()
    assert (await web.api("GET", PATH)).json() == {"public_key": None}


async def test_what_is_no_key_is_refused_without_showing_it(web: Stage) -> None:
    for given in ("", "nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "x" * 10_000):
        answer = await web.api("POST", PATH, {"private_key": given})

        assert answer.status == 400
        assert not given or given[:30] not in answer.text
