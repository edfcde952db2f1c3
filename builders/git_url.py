"""Which repositories, refs and directories a build may be asked for. Cheap to import: the web and the CLI ask
too.
"""

import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote, urlsplit, urlunsplit

from builders.errors import InvalidRequest

URL_CHARACTERS = 2_048
REF_CHARACTERS = 200
DIRECTORY_CHARACTERS = 512
SHOWN_CHARACTERS = 120  # of an offending value, in a message
ALLOWED = "https://, http://, ssh:// and user@host:path are"
SSH_STYLE = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^-:/].*|/[^/].*)"
)
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback", "localhost.localdomain")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A repository URL that a build may fetch. `url` may hold credentials; `shown` never does."""

    url: str = field(repr=False)
    transport: str  # as git's GIT_ALLOW_PROTOCOL names it
    host: str  # empty for file
    shown: str

    @property
    def bare(self) -> str:
        """The URL as git is given it: without a password, and for http without a user."""
        if self.transport in ("file", "none") or "://" not in self.url:
            return self.url
        parts = urlsplit(self.url)
        userinfo, _, host = parts.netloc.rpartition("@")
        user = userinfo.partition(":")[0]
        netloc = f"{user}@{host}" if self.transport == "ssh" and user else host
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))

    @property
    def credentials(self) -> tuple[str, str]:
        """User name and password in it, decoded; a token may stand for either."""
        if self.transport not in ("http", "https"):
            return "", ""
        user, _, password = urlsplit(self.url).netloc.rpartition("@")[0].partition(":")
        return unquote(user), unquote(password)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not appear in a log."""
        if self.transport == "file" or "://" not in self.url:
            return ()
        userinfo = urlsplit(self.url).netloc.rpartition("@")[0]
        password = userinfo.partition(":")[2]
        # A user name alone is a secret for http (a token) and none for ssh.
        alone = () if self.transport == "ssh" else (userinfo,)
        return tuple(text for text in (password, *alone) if text)


def check_git_url(url: str, *, administrator: bool) -> GitUrl:
    """The URL, if this user may have it built; raises `InvalidRequest` with the offending value and what to
    do.
    """
    _refuse_strange_text(url, "the repository URL", URL_CHARACTERS)
    if url.startswith("-"):
        raise _refused(url, "begins with '-', which git would take as an option", f"Only {ALLOWED} allowed")
    ssh_style = SSH_STYLE.fullmatch(url)
    if "://" not in url:
        if ssh_style is None:
            raise _refused(
                url, "is not a URL of a repository", f"Only {ALLOWED} allowed; a local path is not"
            )
        _check_host(ssh_style["host"], url, administrator=administrator)
        return GitUrl(url, "ssh", ssh_style["host"].lower(), url)
    return _check_parts(url, administrator=administrator)


def _check_parts(url: str, *, administrator: bool) -> GitUrl:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(url, f"cannot be read ({error})", "Write it as https://host/path") from error
    transport = url.partition("://")[0]
    if transport == "file":
        if not administrator:
            raise _refused(url, "is on this node's own disk", "Only administrators may build from file://")
        if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
            raise _refused(url, "is not an absolute path", "Write it as file:///path/to/repository")
        return GitUrl(url, "file", "", url)
    if transport not in ("https", "http", "ssh"):
        raise _refused(url, f"has the transport '{transport[:20]}'", f"Only {ALLOWED} allowed")
    userinfo, _, _ = parts.netloc.rpartition("@")
    host = parts.hostname or ""
    if userinfo.startswith("-") or port == 0 or "\\" in url:
        raise _refused(url, "has a strange user or port", "Write it as https://host/path")
    if parts.path.strip("/") == "" or parts.fragment or parts.query:
        raise _refused(url, "names no repository", "Write it as https://host/owner/repository")
    _check_host(host, url, administrator=administrator)
    keep_user = transport == "ssh" and ":" not in userinfo and userinfo
    netloc = parts.netloc if keep_user else parts.netloc.rpartition("@")[2]
    shown = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    return GitUrl(url, transport, host, shown)


def _check_host(host: str, url: str, *, administrator: bool) -> None:
    address = literal_address(host)
    if address is None and not HOST.fullmatch(host):
        raise _refused(
            url, "has a strange host name", "A host is letters, digits, '.' and '-', or an address"
        )
    if administrator:
        return
    name = host.lower().rstrip(".")
    local_name = name in LOCAL_NAMES or name.endswith(".localhost")
    if local_name or (address is not None and is_closed(address)):
        raise _refused(url, "is on loopback or link-local", "Only administrators may build from there")


def literal_address(host: str) -> Address | None:
    """The address `host` spells, also in the old forms that resolvers still take (`127.1`, `0x7f000001`)."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not re.fullmatch(r"[0-9a-fA-FxX.]+", host):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_closed(address: Address) -> bool:
    """Is it loopback, link-local or no single host at all? Those are open to administrators only."""
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return bool(
        inner.is_loopback
        or inner.is_link_local
        or inner.is_unspecified
        or inner.is_multicast
        or inner == IPv4Address("255.255.255.255")
        or (isinstance(inner, IPv4Address) and int(inner) >> 24 == 0)
    )


def check_ref(ref: str) -> str:
    """The branch, tag or commit, if git would take it as one (git-check-ref-format(1)); empty: the default
    branch.
    """
    if ref in ("", "HEAD"):
        return ""
    _refuse_strange_text(ref, "the ref", REF_CHARACTERS)
    wrong = (
        ref.startswith(("-", "/"))
        or ref.endswith(("/", "."))
        or ref == "@"
        or any(text in ref for text in ("..", "//", "@{"))
        or any(character in "~^:?*[\\" for character in ref)
        or any(part.startswith(".") or part.endswith(".lock") for part in ref.split("/"))
    )
    if wrong:
        raise InvalidRequest(
            f"{_quoted(ref)} is no name of a branch, a tag or a commit",
            hint="Use a name that `git check-ref-format` accepts, such as main or v1.2",
        )
    return ref


def is_commit(ref: str) -> bool:
    """Is it the full name of a commit?"""
    return COMMIT.fullmatch(ref) is not None


def check_directory(directory: str) -> str:
    """The subdirectory of the repository that holds the app, normalised; empty: its root."""
    if directory in ("", ".", "./"):
        return ""
    _refuse_strange_text(directory, "the directory", DIRECTORY_CHARACTERS, spaces=True)
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    strange = (
        any(part == ".." or part.lower() == ".git" for part in parts) or ":" in directory or "\\" in directory
    )
    if directory.startswith(("/", "-", "~")) or strange:
        raise InvalidRequest(
            f"{_quoted(directory)} is no directory inside the repository",
            hint="Give a relative path without '..', such as services/web",
        )
    return "/".join(parts)


def _refuse_strange_text(text: str, what: str, most: int, *, spaces: bool = False) -> None:
    if not isinstance(text, str) or not text:
        raise InvalidRequest(f"{what} is empty", hint="Give one")
    if len(text) > most:
        raise InvalidRequest(
            f"{what} {_quoted(text)} has {len(text)} characters", hint=f"At most {most} are allowed"
        )
    if not text.isascii() and what != "the directory":
        raise InvalidRequest(
            f"{what} {_quoted(text)} has characters outside ASCII", hint="Encode them, or use others"
        )
    if any(not character.isprintable() or (character.isspace() and not spaces) for character in text):
        raise InvalidRequest(f"{what} {_quoted(text)} has spaces or control characters", hint="Remove them")


def _refused(url: str, why: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"the repository URL {_quoted(without_credentials(url))} {why}", hint=hint)


def without_credentials(text: str) -> str:
    """The text with what stands between `//` and `@` of a URL in it replaced by `***`."""
    return re.sub(r"(?<=://)[^/@\s]+(:[^/\s]*)?@(?=[^/\s]*)", "***@", text)


def _quoted(text: str) -> str:
    shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return ascii(shown) if any(not character.isprintable() for character in shown) else f"'{shown}'"
