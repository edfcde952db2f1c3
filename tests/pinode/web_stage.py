"""The web application over a `FakeCluster`, with people on it and ways to ask as each of them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from pinode.apps.commands import CreateApp
from pinode.people.commands import StartSession
from pinode.web.application import make_application
from pinode.web.caller import CSRF_FIELD, SESSION_COOKIE, csrf_token, token_hash
from pinode.web.passwords import Cost, Passwords
from pinode.web.site import Site
from tests.pinode.described import check_described
from tests.pinode.fake_cluster import FakeCluster

CHEAP = Cost(log2_n=4, r=1, p=1)
CA_PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read."""

    status: int
    text: str
    headers: dict[str, str]
    cookies: list[str]

    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.json()["error"]["message"])


class Stage:
    """ada is administrator, bob and eve are members; each has a token `token-of-<name>`."""

    def __init__(self, cluster: FakeCluster, site: Site, client: TestClient[Any, Any]) -> None:
        self.cluster, self.site, self.client = cluster, site, client

    @property
    def origin(self) -> str:
        return f"https://{self.client.host}:{self.client.port}"

    def add_people(self, *names: str) -> None:
        for name in names:
            self.cluster.add_user(name)
            self.cluster.apply(
                StartSession(token_hash=token_hash(token_of(name)), user=name, lifetime_ms=HOUR_MS)
            )

    def add_app(self, name: str, owner: str = "bob", git_url: str | None = None) -> None:
        self.cluster.apply(CreateApp(name=name, owner=owner, git_url=git_url))

    async def api(
        self, method: str, path: str, body: Any = None, *, by: str | None = "bob", **headers: str
    ) -> Answer:
        """Ask as a program with a token."""
        if by is not None:
            headers["Authorization"] = f"Bearer {token_of(by)}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | type(None)) else json.dumps(body)
        read = await _read(await self.client.request(method, path, data=data, headers=sent))
        check_described(method, path, read.status, read.headers, read.text)
        return read

    async def browse(
        self,
        path: str,
        form: dict[str, str] | None = None,
        *,
        by: str | None = "bob",
        csrf: str | None = None,
        cookie: str | None = None,
        **headers: str,
    ) -> Answer:
        """Ask as a browser does: a page, or a form with everything that comes along with it."""
        method = "GET" if form is None else "POST"
        if by is not None:
            cookie = f"{SESSION_COOKIE}={token_of(by)}"
        if cookie is not None:
            headers["Cookie"] = cookie
        if form is not None:
            secret = cookie.partition("=")[2] if cookie else ""
            form = {CSRF_FIELD: csrf_token(secret) if csrf is None else csrf, **form}
            headers.setdefault("Origin", self.origin)
        response = await self.client.request(method, path, data=form, headers=headers, allow_redirects=False)
        return await _read(response)


@asynccontextmanager
async def stage(*people: str, cluster: FakeCluster | None = None) -> AsyncIterator[Stage]:
    cluster = cluster or FakeCluster()
    site = Site(cluster=cluster, ca_pem=CA_PEM, passwords=Passwords(CHEAP))
    server = TestServer(make_application(site), skip_url_asserts=True)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        made = Stage(cluster, site, client)
        made.add_people(*people)
        yield made


def token_of(name: str) -> str:
    return f"token-of-{name}".ljust(40, "-")


async def _read(response: ClientResponse) -> Answer:
    text = await response.text()
    return Answer(response.status, text, dict(response.headers), response.headers.getall("Set-Cookie", []))
