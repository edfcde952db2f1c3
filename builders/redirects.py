"""Where a repository's URL really leads: redirects and names are followed by ourselves, and each step is
checked.

git would follow a redirect to anywhere, also to a service on loopback that trusts whoever reaches it.
"""

import http.client
import os
import socket
import urllib.error
import urllib.request
from email.message import Message
from ipaddress import ip_address
from typing import IO
from urllib.parse import urljoin, urlsplit, urlunsplit

from builders.errors import CloneFailed, InvalidRequest
from builders.git_url import GitUrl, check_git_url, is_closed

ADVERTISEMENT = "/info/refs?service=git-upload-pack"
MOST_REDIRECTS = 5
SECONDS = 20


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the redirect is raised as an HTTPError."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def follow_redirects(url: GitUrl, *, administrator: bool) -> GitUrl:
    """The URL under which the repository answers. Raises `InvalidRequest` when a step may not be taken."""
    for _ in range(MOST_REDIRECTS):
        check_addresses(url, administrator=administrator)
        target = _redirect_of(url)
        if target is None:
            return url
        following = check_git_url(target, administrator=administrator)
        if following.transport not in ("http", "https") or (url.transport, following.transport) == (
            "https",
            "http",
        ):
            raise InvalidRequest(
                f"{url.shown} redirects to {following.shown}", hint="Use a URL that does not"
            )
        same_place = urlsplit(url.url).hostname == following.host
        url = _with_credentials_of(url, following) if same_place else following
    raise CloneFailed(f"{url.shown} redirects more than {MOST_REDIRECTS} times", hint="Use the final address")


def check_addresses(url: GitUrl, *, administrator: bool) -> None:
    """Refuse a host whose name stands for loopback or link-local; a name nobody knows is left to git to
    report.
    """
    if administrator:
        return
    try:
        found = socket.getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for _, _, _, _, address in found:
        if is_closed(ip_address(str(address[0]).partition("%")[0])):
            raise InvalidRequest(
                f"the host {url.host} stands for {address[0]}, which is loopback or link-local",
                hint="Only administrators may build from there",
            )


def _redirect_of(url: GitUrl) -> str | None:
    parts = urlsplit(url.url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    context_file = os.environ.get("GIT_SSL_CAINFO") or os.environ.get("SSL_CERT_FILE")
    handlers: list[urllib.request.BaseHandler] = [_Stay()]
    if parts.scheme == "https":
        import ssl

        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=context_file)))
    request = urllib.request.Request(bare + ADVERTISEMENT, headers={"User-Agent": "git/2 pinode"})
    try:
        urllib.request.build_opener(*handlers).open(request, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        location = error.headers.get("Location", "")
        if error.code not in (301, 302, 303, 307, 308) or not location:
            return None
        target = urljoin(bare + ADVERTISEMENT, location)
        return target.removesuffix(ADVERTISEMENT).rstrip("/") or None
    except (OSError, http.client.HTTPException, ValueError):
        return None  # git meets the same, and says it better
    return None


def _with_credentials_of(url: GitUrl, following: GitUrl) -> GitUrl:
    userinfo = urlsplit(url.url).netloc.rpartition("@")[0]
    if not userinfo:
        return following
    parts = urlsplit(following.url)
    carried = urlunsplit((parts.scheme, f"{userinfo}@{parts.netloc}", parts.path, "", ""))
    return GitUrl(carried, following.transport, following.host, following.shown)
