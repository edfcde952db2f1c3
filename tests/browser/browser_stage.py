"""A web server over TLS with a cluster that tests play, and a real browser in front of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from pinode.deploy.build_log import serve_build_logs
from pinode.local_door import LocalDoor
from pinode.logs.app_log import AppLogs
from pinode.settings import Address, Settings
from pinode.web.server import WebServer
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_certificate import free_port, make_certificate
from tests.waiting import eventually

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PHONE = {"width": 360, "height": 740}


@dataclass
class Stage:
    """`folder` holds the logs of builds and apps, as on a node."""

    cluster: FakeCluster
    browser: Browser
    url: str
    folder: Path
    complaints: list[str]

    async def open(self, path: str = "/", **options: Any) -> Page:
        """A page of a browser that has seen nothing before."""
        options = {"ignore_https_errors": True, "base_url": self.url, **options}
        context = await self.browser.new_context(**options)
        page = await context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        await page.goto(path)
        return page


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser, which takes a second to start: one for many tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def browser_stage(browser: Browser, folder: Path) -> AsyncIterator[Stage]:
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    settings, port = Settings(), free_port()
    settings = replace(settings, listen=replace(settings.listen, web=Address("127.0.0.1", port)))
    cluster = FakeCluster(settings=settings)
    cluster.peers.unreachable = {node_id for node_id in cluster.views if node_id != cluster.node_id}
    for name in ("builds", "logs"):
        (folder / name).mkdir()
    serve_build_logs(cluster, folder / "builds")
    AppLogs(cluster, folder / "logs").serve()
    server = WebServer(
        cluster,
        ssl_context=context,
        ca_pem=certificate.read_bytes(),
        local_door=LocalDoor(path=folder / "pinode.sock"),
    )
    serving = asyncio.ensure_future(server.run())
    await eventually((folder / "pinode.sock").is_socket)
    try:
        yield Stage(cluster, browser, f"https://127.0.0.1:{port}", folder, [])
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def register_and_log_in(page: Page, name: str, password: str, setup_code: str) -> None:
    """As the first user of a new cluster does."""
    await page.get_by_label("Setup code").fill(setup_code)
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Register").click()
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("heading", name="Apps", exact=True).wait_for()
