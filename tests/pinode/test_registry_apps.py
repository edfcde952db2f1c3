"""Apps, their config and their formation, as the cluster agrees on them."""

import pytest

from pinode.apps.commands import CreateApp, DestroyApp, MakeReleaseLive, Place, SetConfig, SetFormation
from pinode.apps.errors import (
    AppExists,
    AppNotFound,
    ConfigTooLarge,
    InvalidName,
    InvalidValue,
    NoPortLeft,
    ProcessTypeNotFound,
    TooManyApps,
    TooManyDynos,
)
from tests.pinode.agreement import Agreement


@pytest.fixture
def agreed() -> Agreement:
    return Agreement()


def test_every_app_gets_the_smallest_free_port(agreed: Agreement) -> None:
    first = agreed.do(CreateApp(name="a", owner="ada"))
    second = agreed.do(CreateApp(name="b", owner="ada"))

    agreed.do(DestroyApp(name="a", actor="ada"))

    assert (first, second) == (0, 1)
    assert agreed.do(CreateApp(name="c", owner="ada")) == 0


def test_a_taken_name_is_refused_and_changes_nothing(agreed: Agreement) -> None:
    agreed.create("blog")
    before = agreed.registry.digest()

    with pytest.raises(AppExists, match="'blog'"):
        agreed.do(CreateApp(name="blog", owner="bob"))
    assert agreed.registry.digest() == before


@pytest.mark.parametrize(
    "name", ["", "Blog", "1blog", "-blog", "a" * 31, "blog\n", "blög", "a/b", "a..b", "a b", "a;b", "a\0"]
)
def test_a_name_outside_its_pattern_is_refused_with_the_name(agreed: Agreement, name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        agreed.do(CreateApp(name=name, owner="ada"))

    assert repr(name) in refused.value.message
    assert not agreed.registry.apps()


def test_a_user_has_at_most_so_many_apps(agreed: Agreement) -> None:
    agreed.do(CreateApp(name="a", owner="ada", apps_per_user=1))

    with pytest.raises(TooManyApps):
        agreed.do(CreateApp(name="b", owner="ada", apps_per_user=1))
    agreed.do(CreateApp(name="b", owner="bob", apps_per_user=1))


def test_without_a_free_port_no_app_is_made(agreed: Agreement) -> None:
    agreed.do(CreateApp(name="a", owner="ada", app_ports=1))

    with pytest.raises(NoPortLeft):
        agreed.do(CreateApp(name="b", owner="ada", app_ports=1))


def test_a_change_of_config_makes_a_release_of_the_same_slug(agreed: Agreement) -> None:
    agreed.create()
    agreed.deploy(slug="5")

    version = agreed.do(
        SetConfig(app="blog", set_values={"KEY": b"1", "DEBUG": b"2"}, unset=("OLD",), actor="ada")
    )

    release = agreed.registry.release("blog", 2)
    assert version == 2 and release is not None
    assert release.slug_digest == "5" * 64
    assert release.state == "pending"
    assert dict(release.config.values) == {"DEBUG": b"2", "KEY": b"1"}
    assert release.description == "Set DEBUG, KEY config vars; Unset OLD config var"


def test_config_before_the_first_release_waits_for_it(agreed: Agreement) -> None:
    agreed.create()

    assert agreed.do(SetConfig(app="blog", set_values={"KEY": b"1"}, actor="ada")) is None
    agreed.deploy()

    release = agreed.registry.newest_release("blog")
    assert release is not None and release.config.values == {"KEY": b"1"}


def test_unsetting_what_is_not_set_makes_no_release(agreed: Agreement) -> None:
    agreed.create()
    agreed.deploy()

    assert agreed.do(SetConfig(app="blog", unset=("NOTHING",), actor="ada")) is None
    assert len(agreed.registry.releases("blog")) == 1


def test_config_values_are_kept_byte_for_byte(agreed: Agreement) -> None:
    agreed.create()
    values = {"A": b"", "B": bytes(range(256)), "C": "$'\"\\ \n=# 🍓".encode()}

    agreed.do(SetConfig(app="blog", set_values=values, actor="ada"))

    app = agreed.registry.app("blog")
    assert app is not None and app.config.values == values


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A\n", "Ä", "A" * 129])
def test_a_config_name_outside_its_pattern_is_refused(agreed: Agreement, name: str) -> None:
    agreed.create()

    with pytest.raises(InvalidName):
        agreed.do(SetConfig(app="blog", set_values={name: b""}, actor="ada"))


def test_config_over_its_bound_is_refused(agreed: Agreement) -> None:
    agreed.create()
    agreed.do(SetConfig(app="blog", set_values={"A": b"x" * 40_000}, actor="ada"))

    with pytest.raises(ConfigTooLarge):
        agreed.do(SetConfig(app="blog", set_values={"B": b"x" * 40_000}, actor="ada"))


def test_config_values_do_not_show_in_a_representation(agreed: Agreement) -> None:
    agreed.create()
    agreed.do(SetConfig(app="blog", set_values={"KEY": b"hidden"}, actor="ada"))
    agreed.deploy()

    assert "hidden" not in repr(agreed.registry.apps()) + repr(agreed.registry.releases("blog"))


def test_the_first_release_brings_one_web_dyno_and_what_the_app_wishes(agreed: Agreement) -> None:
    agreed.create()
    agreed.deploy(
        process_types={"web": "x", "worker": "y", "clock": "z", "release": "r"},
        default_formation={"clock": 2},
    )

    app = agreed.registry.app("blog")
    assert app is not None and app.formation == {"clock": 2, "web": 1, "worker": 0}


def test_a_later_release_does_not_touch_what_was_scaled(agreed: Agreement) -> None:
    agreed.create()
    agreed.deploy()
    agreed.do(SetFormation(app="blog", quantities={"web": 0}, actor="ada"))

    agreed.deploy(process_types={"web": "x", "worker": "y"}, default_formation={"web": 3, "worker": 1})

    app = agreed.registry.app("blog")
    assert app is not None and app.formation == {"web": 0, "worker": 1}


def test_an_app_that_wishes_more_dynos_than_its_owner_may_have_gets_what_is_left(agreed: Agreement) -> None:
    agreed.create()
    agreed.deploy(process_types={"web": "x", "worker": "y"}, default_formation={"web": 2, "worker": 99})

    app = agreed.registry.app("blog")
    assert app is not None and app.formation == {"web": 2, "worker": 18}


def test_scaling_over_the_bound_of_all_apps_together_is_refused(agreed: Agreement) -> None:
    agreed.create("a")
    agreed.create("b")
    agreed.do(SetFormation(app="a", quantities={"web": 15}, actor="ada"))

    with pytest.raises(TooManyDynos):
        agreed.do(SetFormation(app="b", quantities={"web": 6}, actor="ada"))
    agreed.do(SetFormation(app="b", quantities={"web": 5}, actor="ada"))


def test_over_the_bound_scaling_down_is_always_allowed(agreed: Agreement) -> None:
    agreed.create()
    agreed.do(SetFormation(app="blog", quantities={"web": 15}, actor="ada"))

    agreed.do(SetFormation(app="blog", quantities={"web": 14}, actor="ada", dynos_per_user=3))


@pytest.mark.parametrize(
    ("quantities", "refusal"),
    [
        ({"web": -1}, InvalidValue),
        ({"web": 101}, InvalidValue),
        ({"release": 1}, InvalidValue),
        ({"we b": 1}, InvalidName),
        ({"worker": 1}, ProcessTypeNotFound),
    ],
)
def test_scaling_what_cannot_be_is_refused(
    agreed: Agreement, quantities: dict[str, int], refusal: type[Exception]
) -> None:
    agreed.create()
    agreed.deploy()

    with pytest.raises(refusal):
        agreed.do(SetFormation(app="blog", quantities=quantities, actor="ada"))


def test_a_destroyed_app_leaves_nothing_behind(agreed: Agreement) -> None:
    agreed.create()
    empty = Agreement().registry.size_bytes
    agreed.deploy()
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.do(Place(app="blog", version=1, process_type="web", ordinal=1, node_id="a"))
    agreed.request()

    agreed.do(DestroyApp(name="blog", actor="ada"))

    registry = agreed.registry
    assert not (registry.apps() or registry.placements() or registry.slugs() or registry.releases("blog"))
    assert not registry.builds("blog") and registry.size_bytes == empty
    assert not agreed.queue.jobs
    with pytest.raises(AppNotFound):
        agreed.do(DestroyApp(name="blog", actor="ada"))


def test_the_first_release_takes_the_first_config_where_nothing_is_set(agreed: Agreement) -> None:
    agreed.create()
    agreed.do(SetConfig(app="blog", set_values={"MINE": b"mine"}, actor="ada"))

    agreed.deploy(first_config={"MINE": b"theirs", "MODE": b"fast"})

    release, app = agreed.registry.newest_release("blog"), agreed.registry.app("blog")
    assert release is not None and app is not None
    assert release.config.values == app.config.values == {"MINE": b"mine", "MODE": b"fast"}


def test_what_was_unset_after_the_first_release_is_not_set_again(agreed: Agreement) -> None:
    agreed.create()
    agreed.deploy(first_config={"MODE": b"fast"})
    agreed.do(SetConfig(app="blog", unset=("MODE",), actor="ada"))

    agreed.deploy(first_config={"MODE": b"fast"})

    release = agreed.registry.newest_release("blog")
    assert release is not None and not release.config.values


@pytest.mark.parametrize(
    ("config", "error"), [({"1A": b""}, InvalidName), ({"A": b"x" * 80_000}, ConfigTooLarge)]
)
def test_a_first_config_that_may_not_be_is_refused_and_changes_nothing(
    agreed: Agreement, config: dict[str, bytes], error: type[Exception]
) -> None:
    agreed.create()
    agreed.request()
    build_id, token = agreed.start()
    before = agreed.registry.digest()

    with pytest.raises(error):
        agreed.complete(build_id, token, first_config=config)

    assert agreed.registry.digest() == before
