"""Settings: defaults, what overrides what, and what is said of a wrong one."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from pinode.errors import SettingsError
from pinode.node_parts import facts_of
from pinode.sandbox.sandbox import find_isolation
from pinode.settings import (
    Address,
    PortRange,
    Settings,
    load_settings,
    parse_address,
    parse_port_range,
    parse_size,
)

DOCUMENTED = Path(__file__).parents[2] / "cluster.toml"
HOME = {"HOME": "/home/pi"}


def written(folder: Path, text: str) -> Path:
    file = folder / "cluster.toml"
    file.write_text(text)
    return file


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    documented = load_settings(DOCUMENTED, HOME)

    assert documented == load_settings(written(tmp_path, ""), HOME)
    keys = {section: set(keys) for section, keys in tomllib.loads(DOCUMENTED.read_text()).items()}
    assert keys == {
        section.name: {key.name for key in fields(getattr(documented, section.name))}
        for section in fields(Settings)
    }


def test_every_documented_key_has_a_comment_above_it_or_above_its_group() -> None:
    lines = DOCUMENTED.read_text().splitlines()

    explained = False
    for line in lines:
        if line.startswith("#"):
            explained = True
        elif not line or line.startswith("["):
            explained = False
        else:
            assert explained, line


def test_a_missing_file_is_a_working_node_and_a_named_one_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load_settings(None, HOME)

    assert (settings.cluster.expect, settings.listen.peer) == (1, Address("0.0.0.0", 7300))
    with pytest.raises(SettingsError, match="no settings file"):
        load_settings(tmp_path / "other.toml", HOME)


def test_the_environment_overrides_the_file_and_flags_override_both(tmp_path: Path) -> None:
    file = written(tmp_path, '[cluster]\nname = "attic"\nexpect = 2\n[limits]\nmemory_per_user = "1 GiB"\n')
    environ = {
        **HOME,
        "PINODE_CLUSTER_EXPECT": "3",
        "PINODE_CLUSTER_JOIN": "pi1, pi2:7400",
        "PINODE_SANDBOX_REQUIRED": "false",
        "PINODE_LIMITS_SLUG_BYTES": "1.5 MiB",
        "PINODE_NODE_ROLES": "build",
    }

    settings = load_settings(
        file,
        environ,
        {"cluster.expect": 5, "listen.web": "127.0.0.1:8443", "listen.apps_tls": "127.0.0.1:443"},
    )

    assert (settings.cluster.name, settings.cluster.expect) == ("attic", 5)
    assert settings.cluster.join == (Address("pi1", 7300), Address("pi2", 7400))
    assert (settings.sandbox.required, settings.node.roles) == (False, ("build",))
    assert (settings.limits.memory_per_user, settings.limits.slug_bytes) == (1024**3, 1_572_864)
    assert settings.listen.web == Address("127.0.0.1", 8443)


def test_other_variables_that_begin_with_pinode_are_none_of_ours() -> None:
    environ = {**HOME, "PINODE_APP": "blog", "PINODE_SERVER": "https://pi1:8000", "PINODE_NODE": "pi1"}

    assert load_settings(None, environ) == load_settings(None, HOME)


def test_paths_follow_the_file_or_the_data_directory(tmp_path: Path) -> None:
    relative = written(tmp_path, '[cluster]\nkey_file = "cluster.key"\n[node]\ndata_dir = "~/pinode"\n')

    named = load_settings(relative, HOME)
    moved = load_settings(None, HOME, {"node.data_dir": "/srv/pinode"})

    assert named.cluster.key_file == tmp_path / "cluster.key"
    assert named.node.data_dir == Path("/home/pi/pinode")
    assert moved.cluster.key_file == Path("/srv/pinode/cluster.key")


WRONG = [
    ("[cluster]\nexpct = 3", "unknown key 'expct' in [cluster]", 'name = "home"'),
    ("[clutser]\nexpect = 3", "unknown section [clutser]", "cluster, node, listen"),
    ("expect = 3", "'expect' stands outside of a section", "[cluster]"),
    ("[cluster]\nexpect = 0", "[cluster] expect = 0 is not a whole number from 1 to 64", "expect = 1"),
    ("[cluster]\nexpect = true", "[cluster] expect = True is not", "expect = 1"),
    ('[cluster]\nexpect = "3"', "[cluster] expect = '3' is not", "expect = 1"),
    ('[cluster]\nname = "Home Sweet"', "is not 1 to 30 lower-case", 'name = "home"'),
    ('[cluster]\ndiscovery = "dns"', 'is not "mdns" or "off"', 'discovery = "mdns"'),
    ('[cluster]\njoin = "pi1"', "is not a list", 'join = ["pi1", "pi2:7300"]'),
    ('[cluster]\njoin = ["-oProxyCommand=x y"]', "is not a list", 'join = ["pi1"'),
    ('[cluster]\njoin = ["pi1:99999"]', "is not a list", 'join = ["pi1"'),
    ('[node]\nname = "pi_1"', "is not lower-case letters", 'name = "pi1"'),
    ('[node]\nadvertise = "pi1; rm -rf"', "is not an address others can dial", "192.168"),
    ('[node]\nroles = ["web"]', 'is not a list of "build" and "deploy"', "roles = "),
    ("[node]\nroles = []", "leaves the only node with nothing to do", "roles = "),
    ('[node]\ndata_dir = "a\\u0000b"', "is not a path", "data_dir = "),
    ('[listen]\npeer = "7300"', "is not host:port", 'peer = "0.0.0.0:7300"'),
    ('[listen]\npeer = "0.0.0.0:0"', "is not host:port", "peer = "),
    ('[listen]\nweb = "0.0.0.0:7300"', "web and peer share port 7300", "web = "),
    ('[listen]\napp_ports = "9999-9000"', "is not a range of ports", 'app_ports = "9000-9999"'),
    ('[listen]\napp_ports = "8000-8999"', "app_ports = 8000-8999 contains a port of web", "app_ports = "),
    ('[listen]\ndyno_ports = "9500-9600"', "contains a port of app_ports", "dyno_ports = "),
    ('[listen]\nbeanstalk = "0.0.0.0:11300"', "would let everybody", 'beanstalk = "127.0.0.1:11300"'),
    ('[listen]\nbeanstalk = "127.0.0.1"', 'is not host:port, or ""', '"127.0.0.1:11300"'),
    ('[listen]\nbeanstalk = "127.0.0.1:8000"', "beanstalk and web share port 8000", "beanstalk = "),
    ('[apps]\ndomain = "a..b"', "is not a domain name", 'domain = "local"'),
    ('[sandbox]\nrequired = "yes"', "is not true or false", "required = true"),
    ('[builds]\npython_downloads = "always"', 'is not "auto" or "never"', "python_downloads = "),
    ('[limits]\nmemory_per_user = "2 gigs"', "is not a size in bytes or with a unit", '"2 GiB"'),
    ("[limits]\nslug_bytes = -1", "is not a size", '"2 GiB"'),
    ("[limits]\nslug_bytes = 1.5", "is not a size", '"2 GiB"'),
    ("[timings]\nbuild_seconds = 1", "is not a whole number from 10 to 86400", "build_seconds = 10"),
    ("[cluster\n", "cannot be read", "[cluster]"),
    ("[cluster]\nname = " + '"' + "x" * 5000 + '"', "is not 1 to 30", 'name = "home"'),
]


@pytest.mark.parametrize(("text", "message", "hint"), WRONG, ids=[text[:40] for text, _, _ in WRONG])
def test_a_wrong_setting_is_refused_with_file_key_and_a_valid_example(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    file = written(tmp_path, text)

    with pytest.raises(SettingsError) as refused:
        load_settings(file, HOME)

    assert refused.value.message.startswith(str(file))
    assert message in refused.value.message
    assert hint in refused.value.hint
    assert refused.value.code == "invalid_settings"
    assert len(refused.value.message) < 300 + len(str(file))


@pytest.mark.parametrize(
    ("environ", "overrides", "message"),
    [
        ({"PINODE_CLUSTER_EXPECT": "three"}, {}, "PINODE_CLUSTER_EXPECT: [cluster] expect = 'three'"),
        ({"PINODE_LISTEN_WEP": "x"}, {}, "PINODE_LISTEN_WEP: unknown key 'wep'"),
        ({}, {"cluster.expect": "0"}, "flag for cluster.expect: [cluster] expect = '0'"),
    ],
)
def test_a_wrong_variable_or_flag_is_named(
    environ: dict[str, str], overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load_settings(None, {**HOME, **environ}, overrides)


def test_bytes_that_are_no_text_are_refused_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_bytes(b'[cluster]\nname = "\xff\xfe"\n')

    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(file, HOME)


def test_addresses_ranges_and_sizes_are_read_as_people_write_them() -> None:
    assert parse_address("pi1", default_port=7300) == Address("pi1", 7300)
    assert parse_address("[fd00::0:1]:7300") == Address("fd00::1", 7300)
    assert parse_address("fd00::0:1", default_port=7300) == Address("fd00::1", 7300)
    assert str(Address("fd00::1", 7300)) == "[fd00::1]:7300"
    assert parse_port_range("9000-9001") == PortRange(9000, 9001)
    assert (len(PortRange(9000, 9001)), 9001 in PortRange(9000, 9001), list(PortRange(1, 2))) == (
        2,
        True,
        [1, 2],
    )
    assert [parse_size(size) for size in ("2 GiB", "1kB", "0.5 MiB", 7)] == [2 * 1024**3, 1000, 524_288, 7]


def test_a_beanstalk_door_on_loopback_is_opened_by_its_address_and_elsewhere_must_be_meant(
    tmp_path: Path,
) -> None:
    near = load_settings(written(tmp_path, '[listen]\nbeanstalk = "127.0.0.1:11300"'), HOME)
    text = '[listen]\nbeanstalk = "0.0.0.0:11300"\nbeanstalk_open = true'
    far = load_settings(written(tmp_path, text), HOME)

    assert near.listen.beanstalk == Address("127.0.0.1", 11300)
    assert far.listen.beanstalk == Address("0.0.0.0", 11300)


def test_a_beanstalk_door_that_is_open_to_the_network_is_a_warning(tmp_path: Path) -> None:
    text = '[listen]\nbeanstalk = "0.0.0.0:11300"\nbeanstalk_open = true'
    settings = load_settings(written(tmp_path, text), HOME)

    warnings = facts_of(settings, find_isolation(required=False)).warnings

    assert any("beanstalk" in warning for warning in warnings)
