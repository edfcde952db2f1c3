"""What a browser's form says: texts by name."""

from aiohttp import web

from pinode.errors import InvalidInput
from pinode.web.messages import LONE_SURROGATE, shown


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of the form, the first of each name. Raises `InvalidInput` for files and broken text.

    Browsers send line ends as CR LF, whatever was typed; they are put back to LF.
    """
    fields: dict[str, str] = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str) or LONE_SURROGATE.search(name + value):
            raise InvalidInput(f"the field {shown(name)} is not a text.")
        fields.setdefault(name, value.replace("\r\n", "\n"))
    return fields
