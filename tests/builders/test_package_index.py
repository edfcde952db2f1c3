"""The machine's package index settings reach a build, their credentials do not reach its log."""

from builders.log import BuildLog
from builders.package_index import index_settings

PIP = """
[global]
index-url = https://ada:s3cret@index.example.org/simple
extra-index-url =
    https://other.example.org/simple
    file:///srv/packages/simple
find-links = /srv/wheels https://links.example.org/
cert = /etc/own/ca.pem
[install]
trusted-host = index.example.org
"""


def test_settings_of_pip_are_told_to_uv() -> None:
    env = index_settings({}, [PIP]).env

    assert env == {
        "UV_DEFAULT_INDEX": "https://ada:s3cret@index.example.org/simple",
        "UV_INDEX": "https://other.example.org/simple file:///srv/packages/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/srv/wheels,https://links.example.org/",
        "SSL_CERT_FILE": "/etc/own/ca.pem",
        "UV_INSECURE_HOST": "index.example.org",
    }


def test_what_is_said_nearer_outranks_what_is_said_farther() -> None:
    env = {"PIP_INDEX_URL": "https://env.example.org/simple"}
    with_uv = {**env, "UV_DEFAULT_INDEX": "https://uv.example.org/simple"}

    assert index_settings(env, [PIP]).env["UV_DEFAULT_INDEX"] == "https://env.example.org/simple"
    assert index_settings(with_uv, [PIP]).env["UV_DEFAULT_INDEX"] == "https://uv.example.org/simple"


def test_proxies_and_certificates_are_kept_and_the_rest_of_the_environment_is_not() -> None:
    env = {
        "https_proxy": "http://ada:pr0xy@proxy:3128",
        "NO_PROXY": "localhost",
        "SSL_CERT_FILE": "/etc/own/ca.pem",
        "UV_CACHE_DIR": "/root/cache",
        "PINODE_CLUSTER_KEY": "secret",
        "PATH": "/bin",
    }

    found = index_settings(env)

    assert set(found.env) == {"https_proxy", "NO_PROXY", "SSL_CERT_FILE"}
    assert found.paths == ("/etc/own/ca.pem",)
    assert "pr0xy" in found.secrets


def test_paths_that_settings_name_are_shown_to_the_build() -> None:
    assert index_settings({}, [PIP]).paths == ("/etc/own/ca.pem", "/srv/packages", "/srv/wheels")


def test_a_file_that_is_no_configuration_is_skipped() -> None:
    assert index_settings({}, ["no section\n", "[global]\ntimeout = 7\n"]).env == {"UV_HTTP_TIMEOUT": "7"}


def test_credentials_stay_out_of_the_log() -> None:
    lines: list[str] = []
    log = BuildLog(lines.append, secrets=(*index_settings({}, [PIP]).secrets, "p@ss/word"))

    log.line("error: 401 for https://ada:s3cret@index.example.org/simple/flask/ and s3cret")
    log.line("also spelled p%40ss%2Fword, p@ss/word")

    assert "s3cret" not in lines[0]
    assert "ss" not in lines[1].replace("also spelled", "")
