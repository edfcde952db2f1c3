"""The button of an app's page that runs an entry of cron now."""

import re

from aiohttp import web

from pinode.errors import InvalidInput
from pinode.scheduler.cron_now import run_now
from pinode.web.app_pages import app_page
from pinode.web.forms import form_of
from pinode.web.messages import shown
from pinode.web.problems import REFUSALS, problem_of
from pinode.web.site import caller, managed_app, site_of


async def run(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/cron {id}"""
    form, app = await form_of(request), managed_app(request)
    text = form.get("id", "")
    try:
        if not re.fullmatch(r"[0-9]{1,4}", text):
            raise InvalidInput(f"{shown(text)} is not the number of an entry.")
        await run_now(site_of(request).cluster, app, int(text), actor=caller(request).name)
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note=cron-runs#cron-card")
