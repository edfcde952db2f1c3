"""An app and the names it may have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
CONFIG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")
CONFIG_BYTES = 64 * 1024  # all names and values of one app together


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedConfig:
    """Config vars of an app at one moment, each value sealed under the cluster's data key (see
    docs/security.md).
    """

    values: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"SealedConfig({len(self.values)} vars)"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What a user deploys. `formation` says how many dynos each process type wants; `web` defaults to one."""

    name: str
    owner: str  # user name
    port_index: int  # the app answers at app_ports.first + port_index on every node
    created_at_ms: int  # cluster time
    created_index: int = 0  # log index: what has a lower number was of another app of this name
    git_url: str | None = None  # of the newest build; without credentials
    sealed_credentials: bytes | None = field(default=None, repr=False)  # of `git_url`, under the data key
    sealed_deploy_key: bytes | None = field(default=None, repr=False)  # for ssh, under the data key
    deploy_key_public: str | None = None
    formation: Mapping[str, int] = field(default_factory=dict)
    config: SealedConfig = field(default_factory=SealedConfig)
    last_version: int = 0  # of its releases; 0: none yet
    live_version: int | None = None  # the release that serves
    in_maintenance: bool = False  # routers answer with a page of their own
    is_stopped: bool = False  # no dyno runs, whatever the formation says, until a restart or a deploy
    folder: str = ""  # see `folder_name`; empty: the name

    @property
    def folder_name(self) -> str:
        """Names it for ever, and it alone, where nodes keep something of it: logs, caches, the user of its
        dynos. It is the name the app began with, unless that was another's.
        """
        return self.folder or self.name
