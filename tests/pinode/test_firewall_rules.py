"""What the packet filter is told, and which ports of loopback a build needs."""

import pytest

from pinode.sandbox.firewall_rules import close_to_builds, give_port, loopback_port, loopback_ports, rules


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:3000/joe/blog.git", 3000),
        ("http://localhost/blog.git", 80),
        ("https://git.localhost/blog.git", 443),
        ("ssh://git@[::1]/blog.git", 22),
        ("ssh://git@127.8.8.8:2222/blog.git", 2222),
        ("https://github.com/joe/blog.git", None),
        ("http://192.168.1.20:3000/blog.git", None),
        ("file:///srv/git/blog", None),
        ("git@localhost:blog.git", None),  # its port is ssh's, which no build should need on its own machine
        ("http://127.0.0.1:99999/", None),
        ("", None),
    ],
)
def test_a_url_on_loopback_names_its_port(url: str, port: int | None) -> None:
    assert loopback_port(url) == port


def test_the_machines_own_index_and_proxy_are_found_where_they_are_on_loopback() -> None:
    environment = {
        "UV_INDEX_URL": "http://127.0.0.1:3141/root/pypi/+simple/",
        "PIP_EXTRA_INDEX_URL": "https://pypi.example.org/simple http://localhost:8081/simple",
        "GOPROXY": "http://127.0.0.1:3300|direct",
        "HTTPS_PROXY": "http://joe:secret@proxy.lan:3128",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }

    assert loopback_ports(environment) == {3141, 8081, 3300}


def test_a_table_is_replaced_in_one_step() -> None:
    script = rules(doors=[8000], app_ports="9000-9999", dyno_ports="20000-29999")

    assert script.startswith("table inet pinode {}\ndelete table inet pinode\ntable inet pinode {\n")


def test_a_port_that_another_app_had_is_taken_from_it() -> None:
    assert give_port(300_001, 20_000, last_owner=300_002) == (
        "delete element inet pinode own_ports { 300002 . 20000 }\n"
        "add element inet pinode own_ports { 300001 . 20000 }\n"
    )


def test_ports_are_closed_also_when_the_table_was_put_up_anew_meanwhile() -> None:
    assert close_to_builds({22, 80}).startswith("add element inet pinode build_ports { 22, 80 }\n")
