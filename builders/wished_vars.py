"""Config vars that an app's app.json asks for, and nobody has set."""

import secrets
from collections.abc import Mapping

from builders.app_json import AppJson
from builders.errors import BuildError

SECRET_BYTES = 32  # of `"generator": "secret"`; 64 hexadecimal digits, as Heroku makes them


class ConfigVarMissing(BuildError):
    """app.json requires a config var that has no value."""

    code = "config_var_missing"


def first_values(wishes: AppJson, present: Mapping[str, str]) -> dict[str, str]:
    """What a first deploy sets: the values that app.json gives, and secrets that are made up here."""
    return {
        wish.name: secrets.token_hex(SECRET_BYTES) if wish.value is None else wish.value
        for wish in wishes.env
        if wish.name not in present and (wish.value is not None or wish.is_generated)
    }


def check_required(wishes: AppJson, present: Mapping[str, str]) -> None:
    """Raises `ConfigVarMissing`: the first by name and with what it is for, all of them in the command."""
    missing = [wish for wish in wishes.env if wish.is_required and wish.name not in present]
    if not missing:
        return
    first, more = missing[0], len(missing) - 1
    purpose = f" ({' '.join(first.description.split())[:200]})" if first.description else ""
    others = f", and {more} more" if more else ""
    pairs = " ".join(f"{wish.name}=…" for wish in missing[:10])
    raise ConfigVarMissing(
        f"app.json requires the config var {first.name}{purpose}{others}, which is not set",
        hint=f"Set it with `pinode config:set {pairs}` and deploy again",
    )
