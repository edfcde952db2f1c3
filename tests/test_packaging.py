"""The wheel: everything that runs is inside, nothing else is, and it runs without the repository."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pinode", "gossip", "replicated_queue", "builders")
EXAMPLE_IN_REPOSITORY, EXAMPLE_IN_WHEEL = "examples/hello-flask/", "pinode/cli/example/"


def tracked_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Built from a copy, so that nothing is left in the work tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to(os.readlink(ROOT / name))
        else:
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "-w", str(out), str(source)], check=True, timeout=110)
    yield next(out.glob("pinode-*.whl"))


def test_the_wheel_has_every_file_of_the_packages_and_the_example_and_no_more(wheel: Path) -> None:
    expected = {
        name for name in tracked_files() if name.startswith(tuple(f"{package}/" for package in PACKAGES))
    }
    expected.remove(EXAMPLE_IN_WHEEL.rstrip("/"))
    expected |= {
        name.replace(EXAMPLE_IN_REPOSITORY, EXAMPLE_IN_WHEEL)
        for name in tracked_files()
        if name.startswith(EXAMPLE_IN_REPOSITORY)
    }

    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert found == expected


def test_the_example_inside_the_wheel_becomes_a_repository(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import sys; from pathlib import Path; from pinode.cli import demo_source\n"
        "demo_source.make_repository(Path(sys.argv[1])); print(demo_source.EXAMPLE)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "hello")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert Path(ran.stdout.strip()) == site / EXAMPLE_IN_WHEEL
    listed = subprocess.run(
        ["git", "ls-files"], cwd=tmp_path / "hello", capture_output=True, text=True, check=True, timeout=30
    )
    assert listed.stdout.split() == sorted(
        path.name for path in (ROOT / EXAMPLE_IN_REPOSITORY).iterdir() if path.is_file()
    )


def test_python_dash_m_pinode_is_the_command(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert b"pinode = pinode.cli.main:main" in archive.read(entry_points)

    ran = subprocess.run(
        [sys.executable, "-m", "pinode", "--version"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (ran.returncode, ran.stdout.split()[0]) == (0, "pinode")
