"""For which nodes a slug says that it is: as the machine code in it says, and as what it was made with."""

import os
import platform
import sys
from pathlib import Path

import pytest

from builders.machine_code import machines_in, runs_on
from tests.builders.building import build, built, unpacked
from tests.builders.repositories import make_repository, make_request

HERE = platform.machine()
OTHER = "aarch64" if HERE != "aarch64" else "x86_64"
NUMBERS = {"i686": 3, "armv7l": 40, "x86_64": 62, "aarch64": 183, "riscv64": 243}


def elf(machine: str | int, *, order: str = "little") -> bytes:
    """The header of a program for this machine."""
    number = NUMBERS[machine] if isinstance(machine, str) else machine
    start = b"\x7fELF\x02" + (b"\x01" if order == "little" else b"\x02") + bytes(10) + bytes(2)
    return start + number.to_bytes(2, "little" if order == "little" else "big") + bytes(44)


def test_the_headers_of_files_say_for_which_machines_they_are_whatever_they_are_called(
    tmp_path: Path,
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.py").write_bytes(elf("aarch64"))
    (tmp_path / "b").write_bytes(elf("x86_64"))
    (tmp_path / "c").write_bytes(elf("riscv64", order="big"))

    assert machines_in(tmp_path) == {"aarch64", "x86_64", "riscv64"}
    assert runs_on(machines_in(tmp_path)) == "aarch64,riscv64,x86_64"


def test_what_is_no_machine_code_binds_to_no_machine(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(elf("x86_64")[:19])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "script").write_text("#!/bin/sh\nexec true\n" * 9)
    (tmp_path / "link").symlink_to("/bin/true")
    os.mkfifo(tmp_path / "pipe")

    assert machines_in(tmp_path) == frozenset()
    assert runs_on(()) == "any"


def test_code_for_a_machine_without_a_name_here_counts_as_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "strange").write_bytes(elf(9_999))

    assert machines_in(tmp_path) == {HERE}


@pytest.mark.parametrize(
    ("files", "machine"),
    [
        ({"requirements.txt": ""}, "any"),
        ({"requirements.txt": "", "fast.so": elf(HERE)}, HERE),
        # What is made here is made for this machine, whatever else the repository brings.
        ({"requirements.txt": "", "prebuilt.so": elf(OTHER)}, HERE),
        # On another CPU other packages may be installed.
        ({"requirements.txt": "x; platform_machine == 'vax'\n"}, HERE),
    ],
)
def test_a_python_app_is_for_any_cpu_unless_it_has_machine_code_and_for_one_interpreter(
    tmp_path: Path, files: dict[str, str | bytes], machine: str
) -> None:
    repository = make_repository(tmp_path / "r", {"Procfile": "web: python app.py\n", **files})
    request = make_request(tmp_path, repository.url)

    result = built(request)

    assert result.machine == machine
    link = unpacked(request, tmp_path / "dyno") / ".venv/bin/python"
    assert result.interpreter == os.readlink(link) == os.path.realpath(sys.executable)


@pytest.mark.parametrize(
    ("files", "machine"),
    [
        ({"serve": "#!/bin/sh\n"}, "any"),
        ({"serve": elf(OTHER)}, OTHER),
        ({"serve": "", "a": elf(OTHER), "b": elf(HERE)}, ",".join(sorted((HERE, OTHER)))),
    ],
)
def test_where_nothing_is_made_the_slug_is_for_the_machines_that_the_repository_has_code_for(
    tmp_path: Path, files: dict[str, str | bytes], machine: str
) -> None:
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./serve\n", **files})

    result = built(make_request(tmp_path, repository.url))

    assert (result.machine, result.interpreter) == (machine, None)


def test_a_static_site_is_for_any_node_and_the_log_says_for_which_nodes_a_slug_is(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {"index.html": "hello"})
    request = make_request(tmp_path, repository.url)

    result = built(request)
    (tmp_path / "again").mkdir()
    _, log = build(make_request(tmp_path / "again", repository.url))

    assert (result.machine, result.python, result.interpreter) == ("any", None, None)
    link = unpacked(request, tmp_path / "dyno") / ".venv/bin/python3"
    assert os.readlink(link) == "/usr/bin/python3"
    assert "-----> Packing the slug, for nodes with any CPU" in log
