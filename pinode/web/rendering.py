"""Pages from templates, and the files they need. Jinja2 is imported with the first page."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent
CONTENT_TYPES = {
    "pinode.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
QUOTED = re.compile(r"`([^`\n]{1,200})`")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Rendering:
    """Turns a template and values into a page; every value is escaped."""

    def __init__(self) -> None:
        self._environment: Environment | None = None
        self._assets: dict[str, bytes] = {}

    def page(self, template: str, **values: Any) -> str:
        """Render `templates/<template>.html`."""
        if self._environment is None:
            self._environment = self._make_environment()
        return self._environment.get_template(f"{template}.html").render(**values)

    def asset(self, name: str) -> bytes:
        """Return a file of `static/`; `name` is one of `CONTENT_TYPES`."""
        if name not in self._assets:
            self._assets[name] = (FOLDER / "static" / name).read_bytes()
        return self._assets[name]

    def asset_url(self, name: str) -> str:
        """Its address changes with its content, so that browsers may keep it for ever."""
        return f"/static/{name}?v={hashlib.sha256(self.asset(name)).hexdigest()[:12]}"

    def _make_environment(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(ago=ago, span=span, size=size, sentence=sentence, said=said)
        environment.globals["asset"] = self.asset_url
        return environment


def plain_text(log: bytes) -> str:
    """What programs print, without colours and control characters."""
    return CONTROLS.sub("", ESCAPES.sub("", log.decode("utf-8", "replace")))


def span(seconds: float | None) -> str:
    """A duration in words."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"


def ago(seconds: float | None) -> str:
    """How long ago, in words."""
    return "" if seconds is None else "just now" if seconds < 5 else f"{span(seconds)} ago"


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def sentence(text: str | None) -> str:
    """An error's words as a sentence: it begins large and ends with a full stop."""
    text = (text or "").strip()
    if not text:
        return ""
    first = text.split(maxsplit=1)[0].rstrip(".,:;")  # a name, such as web.1 or pi3, is left as it is
    begins = text[0].upper() + text[1:] if first.isalpha() and first.islower() else text
    return begins if begins[-1] in ".!?…:" else begins + "."


def said(text: str | None) -> "Markup":
    """An error's words as a sentence of a page, with what stands in backticks as code."""
    from markupsafe import Markup, escape

    return Markup(QUOTED.sub(r"<code>\1</code>", str(escape(sentence(text)))))
