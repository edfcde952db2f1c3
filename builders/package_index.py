"""Where packages come from: the machine's own settings for pip and uv, as environment for uv in a sandbox.

Pure: environment and configuration files in; environment, the paths it names, and the credentials in it, out.
"""

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

TAKEN_OVER = re.compile(
    r"UV_(INDEX|INDEX_URL|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|INDEX_STRATEGY|INSECURE_HOST"
    r"|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|OFFLINE|PYTHON_INSTALL_MIRROR|PYTHON_DOWNLOADS_JSON_URL|INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD))"
    r"|SSL_CERT_(FILE|DIR)|SSL_CLIENT_CERT|(?i:https?|all|no)_(?i:proxy)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|GIT_SSL_CAINFO|GO(PROXY|SUMDB|PRIVATE|NOPROXY|NOSUMDB|INSECURE)|(npm_config|NPM_CONFIG)_(registry|REGISTRY)"
    r"|PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|CERT|TRUSTED_HOST|NO_INDEX|PROXY)"
)
PIP_KEYS = (
    "index-url",
    "extra-index-url",
    "find-links",
    "cert",
    "trusted-host",
    "no-index",
    "proxy",
    "timeout",
)
SECRET_NAMES = re.compile(r"UV_INDEX_[A-Z0-9_]+_PASSWORD")
PATHS_IN = ("/usr", "/etc/ssl/certs")  # seen in every sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """What a build is told. `paths` must be visible to it, read-only; `secrets` must not be in its log."""

    env: Mapping[str, str] = field(repr=False)
    paths: tuple[str, ...]
    secrets: tuple[str, ...] = field(repr=False)


def index_settings(env: Mapping[str, str], pip_files: Iterable[str] = ()) -> IndexSettings:
    """`pip_files` are the contents of pip's configuration files, the most general first; PIP_* outranks
    them.
    """
    settings = {name: value for name, value in env.items() if TAKEN_OVER.fullmatch(name) and value}
    pip = _pip_settings(env, pip_files)
    for name, value in _as_uv(pip).items():
        settings.setdefault(name, value)
    words = [word for value in settings.values() for word in re.split(r"[\s,]+", value)]
    return IndexSettings(
        env=settings,
        paths=tuple(sorted({path for word in words for path in _paths(word)})),
        secrets=tuple(
            sorted({secret for name, value in settings.items() for secret in _secrets(name, value)})
        ),
    )


def _pip_settings(env: Mapping[str, str], files: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue  # pip itself says so to whoever runs it
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    found |= {
        name[4:].lower().replace("_", "-"): value for name, value in env.items() if name.startswith("PIP_")
    }
    if "default-timeout" in found:
        found.setdefault("timeout", found["default-timeout"])
    return {key: found[key] for key in PIP_KEYS if found.get(key, "").strip()}


def _as_uv(pip: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    if "index-url" in pip:
        settings["UV_DEFAULT_INDEX"] = pip["index-url"].strip()
    if "extra-index-url" in pip:
        settings["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the best version of all indexes
    if "find-links" in pip:
        settings["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if "cert" in pip:
        settings["SSL_CERT_FILE"] = pip["cert"].strip()
    if "trusted-host" in pip:
        settings["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    if pip.get("no-index", "").strip().lower() in ("1", "true", "yes", "on"):
        settings["UV_NO_INDEX"] = "1"
    if "proxy" in pip:
        settings["ALL_PROXY"] = pip["proxy"].strip()
    if pip.get("timeout", "").strip().isdecimal():
        settings["UV_HTTP_TIMEOUT"] = pip["timeout"].strip()
    return settings


def _paths(word: str) -> list[str]:
    """Folders and files a setting names. A simple index links to files beside it, so its parent is named."""
    path = unquote(urlsplit(word).path) if word.startswith("file://") else word
    path = path.rstrip("/")
    if not path.startswith("/") or any(path == seen or path.startswith(seen + "/") for seen in PATHS_IN):
        return []
    parent = path.removesuffix("/simple")
    return [parent or path]


def _secrets(name: str, value: str) -> list[str]:
    if SECRET_NAMES.fullmatch(name):
        return [value]
    found = re.findall(r"://([^/@\s]+)@", value)
    return [text for userinfo in found for text in (userinfo, userinfo.partition(":")[2]) if text]
