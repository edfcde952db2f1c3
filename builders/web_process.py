"""What serves an app's web traffic when no Procfile says so: read from its sources, without running them."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE_BYTES = 512 * 1024
MOST_FILES = 500
LIKELY_FILES = ("wsgi", "asgi", "app", "main", "application", "server", "api", "run", "__init__")
SKIPPED_FOLDERS = ("test", "tests", "docs", "doc", "node_modules", "migrations", "static", "templates")
FACTORIES = ("create_app", "make_app", "get_app", "init_app")
WSGI, ASGI, AIOHTTP = "gunicorn", "uvicorn", "gunicorn with aiohttp"
# The class whose instance is the app: its framework's name, and the server that runs it.
CLASSES = {
    "Flask": ("Flask", WSGI),
    "FastAPI": ("FastAPI", ASGI),
    "Starlette": ("Starlette", ASGI),
    "Quart": ("Quart", ASGI),
    "Litestar": ("Litestar", ASGI),
    "Bottle": ("Bottle", WSGI),
    "Application": ("aiohttp", AIOHTTP),  # where aiohttp is imported; other frameworks have one too
}
SETTINGS_MODULE = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([A-Za-z0-9_.]+)["']""")


@dataclass(frozen=True, slots=True)
class WebProcess:
    """A command for `web`, the server package it needs, and what to tell people about the choice."""

    command: str
    server: str
    because: str


@dataclass(frozen=True, slots=True)
class _Found:
    """An app object, or a function that makes one, in a module."""

    module: str
    name: str
    framework: str
    server: str
    is_factory: bool
    rank: tuple[int, ...]


def infer_web_process(app: Path) -> WebProcess | None:
    """Django first, then an app object at the top of a module, then a factory; None when nothing is
    recognised.
    """
    if django := _django(app):
        return django
    found = sorted(_objects(app), key=lambda item: item.rank)
    if not found:
        return None
    best = found[0]
    target = f"{best.module}:{best.name}"
    because = f"{best.framework} {'factory' if best.is_factory else 'app'} {target}"
    if best.server == AIOHTTP:  # its worker calls a factory by itself
        return WebProcess(f"gunicorn {target} --worker-class aiohttp.GunicornWebWorker", WSGI, because)
    if best.server == WSGI:
        command = f"gunicorn '{target}()'" if best.is_factory else f"gunicorn {target}"
    else:
        command = f"uvicorn {target} {'--factory ' if best.is_factory else ''}--host 127.0.0.1 --port $PORT"
    return WebProcess(command, best.server, because)


def is_django(app: Path) -> bool:
    """Is there a manage.py of Django's?"""
    manage = app / "manage.py"
    return manage.is_file() and "django" in _text(manage)


def _django(app: Path) -> WebProcess | None:
    if not is_django(app):
        return None
    named = SETTINGS_MODULE.search(_text(app / "manage.py"))
    package = named[1].split(".")[0] if named else ""
    places = [path for path in app.glob("*/wsgi.py") if _is_name(path.parent.name)]
    places += [
        path for path in app.glob("*/*/wsgi.py") if all(map(_is_name, path.relative_to(app).parts[:-1]))
    ]
    modules = sorted(".".join(path.relative_to(app).with_suffix("").parts) for path in places)
    if not modules:
        return None
    best = next((module for module in modules if module.split(".")[0] == package), modules[0])
    return WebProcess(f"gunicorn {best}", WSGI, f"Django project {best.removesuffix('.wsgi')}")


def _objects(app: Path) -> Iterator[_Found]:
    trees = list(_modules(app))
    frameworks = [kind for _, tree in trees for kind in _kinds_in(tree, tree)]
    for module, tree in trees:
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                yield from _instances(module, node, tree, frameworks)
            elif (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and node.name in FACTORIES
                and _needs_nothing(node)
            ):
                for kind in _kinds_in(node, tree)[:1]:
                    if kind[1] == AIOHTTP or isinstance(node, ast.FunctionDef):
                        yield _found(module, node.name, kind, is_factory=True)


def _instances(
    module: str, node: ast.Assign | ast.AnnAssign, tree: ast.Module, frameworks: Sequence[tuple[str, str]]
) -> Iterator[_Found]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    made_by = _called(node.value)
    kind = _kind(made_by, tree) or (frameworks[0] if made_by in FACTORIES and frameworks else None)
    if kind is not None:
        for name in names[:1]:
            yield _found(module, name, kind, is_factory=False)


def _found(module: str, name: str, kind: tuple[str, str], *, is_factory: bool) -> _Found:
    last = module.rpartition(".")[2]
    likely = LIKELY_FILES.index(last) if last in LIKELY_FILES else len(LIKELY_FILES)
    usual = 0 if name in ("app", "application") else 1
    return _Found(module, name, *kind, is_factory, (is_factory, usual, module.count("."), likely))


def _modules(app: Path) -> Iterator[tuple[str, ast.Module]]:
    files = [path for pattern in ("*.py", "*/*.py", "*/*/*.py") for path in sorted(app.glob(pattern))]
    for path in files[:MOST_FILES]:
        parts = path.relative_to(app).with_suffix("").parts
        if not all(map(_is_name, parts)) or any(part in SKIPPED_FOLDERS for part in parts[:-1]):
            continue
        try:
            tree = ast.parse(_text(path))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), tree


def _kinds_in(part: ast.AST, tree: ast.Module) -> list[tuple[str, str]]:
    """The frameworks whose classes are called in a part of a module."""
    called = [_called(node) for node in ast.walk(part) if isinstance(node, ast.Call)]
    return [kind for name in called if (kind := _kind(name, tree))]


def _kind(name: str, tree: ast.Module) -> tuple[str, str] | None:
    kind = CLASSES.get(name)
    return None if kind is not None and kind[1] == AIOHTTP and not _imports_aiohttp(tree) else kind


def _imports_aiohttp(tree: ast.Module) -> bool:
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "aiohttp" for name in names)


def _called(node: ast.AST | None) -> str:
    """The last part of what is called: `Flask` of `flask.Flask(...)`."""
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _needs_nothing(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = function.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return required == 0 and all(default is not None for default in arguments.kw_defaults)


def _is_name(part: str) -> bool:
    return part.isascii() and part.isidentifier()


def _text(path: Path) -> str:
    if path.is_symlink() or path.stat().st_size > SOURCE_BYTES:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")
