"""What a private repository wants to see: a user name and a token, or a deploy key; as files, for git alone.

An argument list can be read by every user of the system, and an environment by what inherits it: so neither
holds a secret. The files lie in the build's private folder, and are gone before anything of the app runs.
"""

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ASKPASS = """\
#!/bin/sh
case "$1" in
Username*) exec cat "${0%/*}/user" ;;
*) exec cat "${0%/*}/password" ;;
esac
"""
SSH = (
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=20 -oForwardAgent=no "
    "-oPermitLocalCommand=no -oLogLevel=ERROR -oIdentitiesOnly=yes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAccess:
    """Secrets for one repository. `known_hosts` is a folder that is kept: a server's key is believed the
    first time it is seen, and then no other one, until there is another deploy key.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    deploy_key: str = field(default="", repr=False)
    known_hosts: str = ""

    def write(self, folder: Path) -> Mapping[str, str]:
        """Write the files into the new directory `folder`; what git's environment says of them."""
        folder.mkdir(mode=0o700)
        ssh = [SSH, f"-oUserKnownHostsFile={shlex.quote(str(self._known_hosts_file()))}"]
        if self.deploy_key:
            _write(folder / "key", self.deploy_key.rstrip("\n") + "\n")
            ssh.append(f"-i {shlex.quote(str(folder / 'key'))}")
        env = {"GIT_SSH_COMMAND": " ".join(ssh), "GIT_ASKPASS": "/bin/false"}
        if self.user or self.password:
            _write(folder / "user", self.user)
            _write(folder / "password", self.password)
            _write(folder / "askpass", ASKPASS, mode=0o700)
            env["GIT_ASKPASS"] = str(folder / "askpass")
        return env

    def _known_hosts_file(self) -> Path:
        if not self.known_hosts:
            return Path("/dev/null")
        name = hashlib.sha256(self.deploy_key.encode()).hexdigest()[:16]
        return Path(self.known_hosts) / f"known_hosts-{name}"


def _write(path: Path, text: str, *, mode: int = 0o600) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
