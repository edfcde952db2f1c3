"""Static sites: `public/`, or the folder with `index.html`, served by a small server in the slug."""

import shutil
from pathlib import Path

from builders import static_server
from builders.builder import BuildContext, Built
from builders.errors import BuildError

SERVER = ".static"
ANY_PYTHON = "/usr/bin/python3"  # a link to it stands for the Python of whichever node serves the site


class StaticBuilder:
    """Nothing is built: the files are served as they are."""

    name = "static"
    wants = "index.html or public/"

    def detects(self, app: Path) -> str | None:
        if (app / "public").is_dir():
            return "public/"
        return "index.html" if (app / "index.html").is_file() else None

    async def build(self, context: BuildContext) -> Built:
        app = context.app
        if (app / SERVER).exists() or (app / SERVER).is_symlink():
            raise BuildError(f"the repository holds a {SERVER} of its own", hint="Rename it")
        folder = "public" if (app / "public").is_dir() else "."
        context.log.step(f"Static site: serving {'public/' if folder == 'public' else 'the repository'}")
        (app / SERVER).mkdir()
        shutil.copyfile(static_server.__file__, app / SERVER / "server.py")
        command = f"python3 {SERVER}/server.py {folder}"
        if not (app / ".venv").exists():
            # Where a node that lays the slug out puts its own Python: any will do.
            (app / ".venv" / "bin").mkdir(parents=True)
            for name in ("python", "python3"):
                (app / ".venv" / "bin" / name).symlink_to(ANY_PYTHON)
        if not context.procfile:
            context.log.line("names that begin with a dot are not served")
        return Built(
            process_types={"web": command},
            inferred=f"{'public/' if folder == 'public' else 'index.html'}, so web serves files",
            is_as_sent=True,
        )
