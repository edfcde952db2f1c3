"""The buttons of an app's page that concern its dynos: restart, stop, maintenance."""

from aiohttp import web

from pinode.apps.commands import SetMaintenance
from pinode.errors import InvalidInput
from pinode.web.app_pages import app_page
from pinode.web.dyno_api import restart, stop
from pinode.web.forms import form_of
from pinode.web.messages import shown
from pinode.web.problems import REFUSALS, problem_of
from pinode.web.site import caller, managed_app, site_of


async def control(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/dynos {do: restart or stop}"""
    form, app, cluster = await form_of(request), managed_app(request), site_of(request).cluster
    verb = form.get("do", "")
    try:
        match verb:
            case "restart":
                await restart(cluster, caller(request), app, form.get("dyno") or None)
            case "stop":
                await stop(cluster, caller(request), app)
            case _:
                raise InvalidInput(f"{shown(verb)} is neither restart nor stop.")
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note={verb}#dynos-card")


async def set_maintenance(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/maintenance {on: 1 or 0}"""
    form, app = await form_of(request), managed_app(request)
    on = form.get("on", "")
    try:
        if on not in ("0", "1"):
            raise InvalidInput(f"{shown(on)} is neither 0 nor 1.")
        command = SetMaintenance(
            app=app.name, on=on == "1", actor=caller(request).name, created_index=app.created_index
        )
        await site_of(request).cluster.execute(command)
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note=maintenance-{'on' if on == '1' else 'off'}#dynos-card")
