"""The pages: what browsers are told, and what people see."""

import re
from collections.abc import AsyncIterator

import pytest

from pinode.apps.commands import FailBuild, RequestBuild
from pinode.apps.source import Source
from pinode.deploy.build_log import serve_build_logs
from pinode.web.caller import FORM_COOKIE, SESSION_COOKIE
from pinode.web.routes import ROUTES
from tests.pinode.fake_cluster import SETUP_CODE
from tests.pinode.web_stage import Stage, stage, token_of

URL = "https://git.example.org/bob/blog.git"
NASTY = "<script>alert('x')</script>"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        yield made


async def form_cookie(web: Stage, path: str) -> str:
    """Open a page without a login; the cookie that its form hangs on."""
    page = await web.browse(path, by=None)
    return next(cookie for cookie in page.cookies if cookie.startswith(FORM_COOKIE)).partition(";")[0]


async def test_somebody_registers_logs_in_and_creates_an_app_from_a_git_url_in_one_form() -> None:
    async with stage() as web:
        cookie = await form_cookie(web, "/register")
        person = {"username": "ada", "password": "four random words"}

        registered = await web.browse(
            "/register", {**person, "setup_code": SETUP_CODE}, by=None, cookie=cookie
        )
        logged_in = await web.browse("/login", {**person, "next": "/apps/new"}, by=None, cookie=cookie)
        session = next(c for c in logged_in.cookies if c.startswith(SESSION_COOKIE)).partition(";")[0]
        created = await web.browse("/apps/new", {"name": "blog", "git_url": URL}, by=None, cookie=session)
        page = await web.browse("/apps/blog", by=None, cookie=session)

        assert registered.headers["Location"] == "/login?note=registered"
        assert (logged_in.status, logged_in.headers["Location"]) == (303, "/apps/new")
        assert (created.status, created.headers["Location"]) == (303, "/apps/blog")
        assert "Waiting for a node that builds it" in page.text
        assert [build.git_url for build in web.cluster.state.registry.builds("blog")] == [URL]


async def test_session_cookies_are_for_this_host_secure_unreadable_and_same_site() -> None:
    async with stage() as web:
        cookie = await form_cookie(web, "/register")
        person = {"username": "ada", "password": "four random words"}
        await web.browse("/register", {**person, "setup_code": SETUP_CODE}, by=None, cookie=cookie)

        answer = await web.browse("/login", person, by=None, cookie=cookie)

        session = next(c for c in answer.cookies if c.startswith("__Host-pinode_session="))
        for flag in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age="):
            assert flag in session
        assert "Domain" not in session


async def test_after_logging_out_the_old_cookie_opens_nothing(web: Stage) -> None:
    out = await web.browse("/logout", {})
    after = await web.browse("/")

    assert out.headers["Location"] == "/login"
    assert any(c.startswith(f'{SESSION_COOKIE}=""') or "Max-Age=0" in c for c in out.cookies)
    assert after.headers["Location"] == "/login"


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/register",
        "/",
        "/apps/new",
        "/apps/blog",
        "/cluster",
        "/queue",
        "/queue/mail",
        "/account",
        "/x",
    ],
)
async def test_every_page_forbids_foreign_and_inline_code_and_frames(web: Stage, path: str) -> None:
    web.add_app("blog")
    web.cluster.put_job("mail")
    page = await web.browse(path, by=None if path in ("/login", "/register") else "bob")

    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in page.headers
    assert not re.search(r"\son\w+=|\sstyle=|javascript:|<style|<script(?! type=\"module\" src=)", page.text)


async def test_every_page_has_a_title_a_main_part_a_way_past_the_head_and_labelled_fields(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    web.cluster.complete_build(web.cluster.start_build("blog"))

    for path in ("/", "/apps/new", "/apps/blog", "/cluster", "/queue", "/account"):
        page = (await web.browse(path)).text

        assert re.search(r"<title>[^<]+ · home</title>", page)
        assert page.count("<h1") == 1
        assert '<html lang="en">' in page
        assert 'href="#main"' in page and 'id="main"' in page
        for tag in re.findall(r"<(?:input|textarea)[^>]*>", page):
            if 'type="hidden"' not in tag:
                name = re.search(r'id="([^"]+)"', tag)
                assert name and f'for="{name[1]}"' in page, tag


TOPIC = "/queue/mail%2F$(x)"
FORMS = [route for route in ROUTES if route.is_page and route.method == "POST"]


@pytest.mark.parametrize("route", FORMS, ids=lambda route: route.path)
async def test_a_form_without_its_token_or_from_another_site_changes_nothing(web: Stage, route) -> None:
    web.add_app("blog", git_url=URL)
    path = route.path.format(app="blog", id=web.cluster.start_build("blog"), node="pi2", topic="mail")
    before = web.cluster.state.digest()
    form = {"name": "new", "git_url": URL, "confirm": "blog", "scale.web": "5", "value": "x"}

    answers = [
        await web.browse(path, form, csrf=""),
        await web.browse(path, form, csrf="0" * 64),
        await web.browse(path, form, Origin="https://evil.example"),
        await web.browse(path, form, Origin="null"),
        await web.browse(path, form, Origin=""),
        await web.browse(path, form, Origin=web.origin.replace("https", "http")),
    ]

    assert [answer.status for answer in answers] == [403] * 6
    assert "<h1>Please send it again</h1>" in answers[0].text
    assert web.cluster.state.digest() == before


async def test_the_api_takes_a_browsers_cookie_only_with_the_token_and_the_origin(web: Stage) -> None:
    web.add_app("blog")
    cookie = {"Cookie": f"{SESSION_COOKIE}={token_of('bob')}"}

    read = await web.api("GET", "/api/v1/apps/blog", by=None, **cookie)
    forged = await web.api("DELETE", "/api/v1/apps/blog", by=None, **cookie, Origin=web.origin)

    assert read.status == 200
    assert (forged.status, forged.code) == (403, "wrong_csrf_token")


@pytest.mark.parametrize(
    "after", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1", "/ x"]
)
async def test_a_login_leads_only_to_places_on_this_site(web: Stage, after: str) -> None:
    page = await web.browse(f"/login?next={after}", by="bob")

    assert (page.status, page.headers["Location"]) == (303, "/")


async def test_what_users_wrote_is_shown_as_text(web: Stage, tmp_path) -> None:
    web.add_app("blog", git_url=f"https://git.example.org/{NASTY}")
    build_id = web.cluster.start_build("blog", git_url=f"https://git.example.org/{NASTY}")
    (tmp_path / f"{build_id}.log").write_bytes(f"\x1b[31m{NASTY}\x1b[0m \x07 & co\n".encode())
    serve_build_logs(web.cluster, tmp_path)
    version = web.cluster.complete_build(build_id, web=NASTY)
    placement = web.cluster.bring_up("blog", version)
    web.cluster.report(placement, "crashed", detail=f"it said {NASTY}")
    web.cluster.put_job("mail/$(x)", NASTY.encode())
    web.cluster.change_node("pi2", warnings=(NASTY,), version=NASTY)

    pages = [
        (await web.browse(path)).text
        for path in ("/", "/apps/blog", f"/apps/blog/builds/{build_id}", "/cluster", "/queue", TOPIC)
    ]

    assert not any("<script>alert" in page for page in pages)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;  &amp; co" in pages[2]
    assert "&lt;script&gt;" in pages[1] and "&lt;script&gt;" in pages[3]


async def test_a_refused_form_says_why_and_keeps_what_was_typed_but_for_passwords() -> None:
    async with stage() as web:
        cookie = await form_cookie(web, "/register")
        form = {"username": "Ada Lovelace", "password": "four random words", "email": "a@b.c"}

        page = await web.browse("/register", {**form, "setup_code": SETUP_CODE}, by=None, cookie=cookie)

        assert page.status == 400
        assert "&#39;Ada Lovelace&#39; is no name for a user" in page.text
        assert 'value="Ada Lovelace"' in page.text and 'value="a@b.c"' in page.text
        assert "four random words" not in page.text


async def test_a_wrong_login_keeps_the_name_and_says_nothing_about_who_exists(web: Stage) -> None:
    cookie = await form_cookie(web, "/login")

    page = await web.browse("/login", {"username": "ada", "password": "guess"}, by=None, cookie=cookie)

    assert page.status == 401
    assert "The user name or the password is wrong." in page.text
    assert 'value="ada"' in page.text


async def test_a_new_app_with_a_refused_url_is_not_created(web: Stage) -> None:
    page = await web.browse("/apps/new", {"name": "blog", "git_url": "ext::sh -c x", "ref": "main"})

    assert page.status == 400
    assert "&#39;ext::sh -c x&#39;" in page.text
    assert 'value="blog"' in page.text and 'value="main"' in page.text
    assert web.cluster.state.registry.app("blog") is None


async def test_an_app_page_tells_the_story_of_its_deploys(web: Stage, tmp_path) -> None:
    web.add_app("blog", git_url=URL)
    serve_build_logs(web.cluster, tmp_path)
    version = web.cluster.complete_build(web.cluster.start_build("blog"))
    web.cluster.bring_up("blog", version)
    await web.browse("/apps/blog/config", {"name": "KEY", "value": "a\r\nb"})
    await web.browse("/apps/blog/formation", {"scale.web": "2"})

    page = (await web.browse("/apps/blog?note=scaled")).text
    app = web.cluster.state.registry.app("blog")

    assert "http://192.0.2.1:9000/" in page
    assert "web.1" in page and "v1 on pi1" in page
    assert "<code>KEY</code>" in page and "a\nb" not in page
    assert "Scaled. The dynos follow." in page
    assert app.formation == {"web": 2}
    assert web.cluster.reveal(app.config.values["KEY"]) == "a\nb"


async def test_the_form_that_scales_offers_what_runs_as_dynos_and_not_the_release_command(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    build_id = web.cluster.start_build("blog")
    web.cluster.complete_build(build_id, release="./migrate", web="./serve", worker="./work")

    page = (await web.browse("/apps/blog")).text
    offered = re.findall(r'name="(scale\.[^"]+)"', page)
    scaled = await web.browse("/apps/blog/formation", dict.fromkeys(offered, "2"))

    assert offered == ["scale.web", "scale.worker"]
    assert scaled.status == 303
    assert web.cluster.state.registry.app("blog").formation == {"web": 2, "worker": 2}


async def test_the_list_of_apps_says_what_runs_since_when_and_why_a_deploy_failed(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    web.cluster.bring_up("blog", web.cluster.complete_build(web.cluster.start_build("blog")))
    web.cluster.now_ms += 120_000
    web.add_app("shop", git_url=URL)
    build = web.cluster.state.registry.build(web.cluster.start_build("shop"))
    web.cluster.apply(FailBuild(build_id=build.id, token=build.token, failure="no `web:` in <the Procfile>"))

    page = (await web.browse("/")).text

    assert ">web 1</span>" in page and "v1, 2 min ago" in page
    assert f"Build {build.id} did not succeed. No <code>web:</code> in &lt;the Procfile&gt;." in page


async def test_an_app_is_destroyed_only_when_its_name_is_typed(web: Stage) -> None:
    web.add_app("blog")

    wrong = await web.browse("/apps/blog/destroy", {"confirm": "blo"})
    right = await web.browse("/apps/blog/destroy", {"confirm": "blog"})

    assert (wrong.status, right.status) == (400, 303)
    assert "&#39;blo&#39; is not the app&#39;s name" in wrong.text
    assert web.cluster.state.registry.app("blog") is None


async def test_a_failed_build_is_told_on_the_app_page_with_the_way_to_its_log(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    build_id = web.cluster.start_build("blog")
    build = web.cluster.state.registry.build(build_id)
    web.cluster.apply(FailBuild(build_id=build_id, token=build.token, failure="no requirements.txt: add one"))

    page = (await web.browse("/apps/blog")).text

    assert "No requirements.txt: add one." in page
    assert f'href="/apps/blog/builds/{build_id}"' in page


async def test_the_cluster_page_shows_the_sick_nodes_first_and_each_problem_with_what_to_do(
    web: Stage,
) -> None:
    web.cluster.change_node("pi3", state="dead", stats_age_seconds=65.0)

    page = (await web.browse("/cluster")).text

    assert page.index(">pi3</h2>") < page.index(">pi1</h2>")
    assert "2 of 3 nodes alive" in page
    assert "pi3 is dead (last heard 1 min ago). Check its power and network" in page


async def test_without_a_quorum_every_page_says_so_and_forms_say_why_nothing_changed(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    web.cluster.has_quorum = False

    page = await web.browse("/apps/blog")
    refused = await web.browse("/apps/blog/builds", {"git_url": URL, "ref": "main"})

    assert (page.status, refused.status) == (200, 503)
    assert "No majority of the nodes is in reach." in page.text
    assert "nothing can be changed now" in refused.text and 'value="main"' in refused.text


@pytest.mark.parametrize(
    "route", [form for form in FORMS if form.access != "public"], ids=lambda route: route.path
)
async def test_what_answers_a_refused_form_names_a_page_that_is_fetched_when_something_changes(
    web: Stage, route
) -> None:
    """The form's own address answers no GET; or a page with an error stands still, and complains."""
    web.add_app("blog", git_url=URL)
    build_id = web.cluster.start_build("blog")
    web.cluster.put_job("mail/x")
    web.cluster.has_quorum = False
    names = {"app": "blog", "id": str(build_id), "node": "pi2", "topic": "mail%2Fx"}

    refused = await web.browse(route.path.format_map(names), {"do": "cordon"})
    named = re.search(r'data-page="([^"]+)"', refused.text)

    if route.path == "/logout":
        return
    assert refused.status >= 400 and named is not None
    assert (await web.browse(named[1])).status == 200


async def test_a_build_whose_node_is_away_still_has_a_page(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    build_id = web.cluster.start_build("blog", node="pi2")
    web.cluster.peers.unreachable.add(web.cluster.state.registry.build(build_id).node_id)

    page = await web.browse(f"/apps/blog/builds/{build_id}")

    assert page.status == 200
    assert "pi2, which has this part of the log, does not answer." in page.text


async def test_static_files_are_kept_for_ever_under_an_address_that_follows_their_content(web: Stage) -> None:
    page = await web.browse("/login", by=None)
    address = re.search(r'href="(/static/pinode\.css\?v=\w+)"', page.text)

    file = await web.browse(address[1], by=None)
    other = await web.browse("/static/..%2Fserver.py", by=None)

    assert file.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in file.headers["Cache-Control"]
    assert other.status == 404


async def test_an_app_page_says_how_to_push_and_where_the_files_came_from(web: Stage) -> None:
    web.add_app("shop", "bob")
    source = Source(app="shop", digest="1" * 64, source_bytes=10, commit="c" * 40)
    request = RequestBuild(
        app="shop", git_url=None, ref="<main>", subdirectory=None, actor="bob", origin="push", source=source
    )
    before = await web.browse("/apps/shop")
    build_id = web.cluster.apply(request)

    after = await web.browse("/apps/shop")
    build = await web.browse(f"/apps/shop/builds/{build_id}")

    assert "pinode git:remote -a shop\ngit push pinode main" in before.text
    assert f"{web.origin}/git/shop.git" in before.text
    assert "pushed with git (&lt;main&gt;) by bob" in after.text
    assert "pushed with git" in build.text
