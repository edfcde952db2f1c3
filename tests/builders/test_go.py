"""Go apps (checklist 4.8): with and without go.mod, vendored, from a module proxy of the test's own."""

import platform
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from builders.go_machines import machines_for
from builders.request import Bounds, BuildFailure, BuildRequest
from tests.builders.building import build, built, files_of, unpacked, with_warm_cache
from tests.builders.repositories import make_repository, make_request
from tests.builders.serving import get, serving

# The first build on a machine fetches Go and compiles its standard library.
pytestmark = pytest.mark.timeout(400)
HELLO = files_of("go_hello")
GREETING = 'package greeting\n\n// Text is said.\nconst Text = "from a module"\n'
USES_MODULE = {
    "go.mod": "module example.org/shop\n\ngo 1.19\n\nrequire example.net/greeting v1.0.0\n",
    "main.go": 'package main\n\nimport "example.net/greeting"\n\nfunc main() { println(greeting.Text) }\n',
}
PATIENT = Bounds(wall_seconds=280, silence_seconds=200)  # the first build compiles the standard library
NO_SUM = {"GOSUMDB": "off", "GONOSUMDB": "*"}


def request_for(folder: Path, files: dict[str, str | bytes]) -> BuildRequest:
    folder.mkdir()
    repository = make_repository(folder / "r", files)
    return with_warm_cache(make_request(folder, repository.url, bounds=PATIENT))


def test_a_module_is_built_answers_and_gives_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    first = request_for(tmp_path / "one", HELLO)
    second = request_for(tmp_path / "a-much-longer-path", HELLO)

    one, two = built(first), built(second)

    assert one.slug_sha256 == two.slug_sha256
    assert one.process_types == {"web": "bin/hello"}, "the last element of the path that is no major version"
    app = unpacked(first, tmp_path / "dyno")
    with serving(app, one.process_types["web"]) as port:
        assert get(port, "/") == b"hello from Go"


def test_files_without_go_mod_are_built_too_and_none_is_left_behind(tmp_path: Path) -> None:
    request = request_for(tmp_path / "r", {"main.go": HELLO["main.go"]})

    result = built(request)

    assert result.process_types == {"web": "bin/app"}
    assert not (Path(request.app) / "go.mod").exists()


def test_what_is_vendored_needs_no_proxy(tmp_path: Path) -> None:
    vendored = {
        **USES_MODULE,
        "vendor/modules.txt": "# example.net/greeting v1.0.0\n## explicit; go 1.19\nexample.net/greeting\n",
        "vendor/example.net/greeting/greeting.go": GREETING,
    }

    result = built(request_for(tmp_path / "r", vendored), {"GOPROXY": "off"})

    assert result.process_types == {"web": "bin/shop"}


def test_modules_come_from_the_machines_proxy_and_what_cannot_be_fetched_is_one_clear_line(
    tmp_path: Path,
) -> None:
    proxy = make_proxy(tmp_path / "proxy")
    sums = {"GOPROXY": f"file://{proxy}", "GOFLAGS": "-mod=mod", **NO_SUM}
    request = with_warm_cache(request_for(tmp_path / "r", USES_MODULE))

    result = built(request, sums)
    outcome, _ = build(
        request_for(
            tmp_path / "gone", {**USES_MODULE, "go.mod": USES_MODULE["go.mod"].replace("v1.0.0", "v1.0.7")}
        ),
        sums,
    )

    assert result.process_types == {"web": "bin/shop"}
    assert isinstance(outcome, BuildFailure)
    assert outcome.message.startswith("Go modules could not be fetched: ")
    assert "example.net/greeting@v1.0.7" in outcome.message
    assert "\n" not in outcome.message
    assert "GOPROXY" in outcome.hint


def test_a_go_that_is_newer_than_any_to_be_had_is_named_with_what_is_there(tmp_path: Path) -> None:
    files = {**HELLO, "go.mod": "module example.org/hello\n\ngo 1.99\n"}

    outcome, _ = build(request_for(tmp_path / "r", files))

    assert isinstance(outcome, BuildFailure)
    assert outcome.code == "no_toolchain"
    assert "go.mod asks for Go 1.99" in outcome.message
    assert "installed: 1." in outcome.message


def test_a_folder_where_the_program_goes_is_named(tmp_path: Path) -> None:
    files = {**files_of("go_hello"), "bin/hello/README": "mine"}
    repository = make_repository(tmp_path / "r", files)

    outcome, _ = build(with_warm_cache(make_request(tmp_path, repository.url, bounds=PATIENT)))

    assert isinstance(outcome, BuildFailure)
    assert "a folder bin/hello, where the program hello goes" in outcome.message


def test_a_bin_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", HELLO)
    (repository.path / "bin").symlink_to("/cache")
    repository.commit({})

    outcome, _ = build(with_warm_cache(make_request(tmp_path, repository.url, bounds=PATIENT)))

    assert isinstance(outcome, BuildFailure)
    assert "'bin' in the repository is no folder" in outcome.message


@pytest.mark.parametrize("leads_to", ["gone", "made"])
def test_a_go_mod_that_is_no_file_is_not_written_through(tmp_path: Path, leads_to: str) -> None:
    repository = make_repository(tmp_path / "r", {"main.go": HELLO["main.go"]})
    outside = tmp_path / "outside"
    if leads_to == "made":
        outside.mkdir()
    (repository.path / "go.mod").symlink_to(outside)
    repository.commit({})

    outcome, _ = build(with_warm_cache(make_request(tmp_path, repository.url, bounds=PATIENT)))

    assert isinstance(outcome, BuildFailure)
    assert outcome.message == "go.mod in the repository is no file"
    assert not outside.is_file()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"go.mod": "go 1.20\n"}, "go.mod names no module"),
        (
            {"go.mod": "module x\n// +heroku install -toolexec=/bin/sh\n"},
            "asks to install '-toolexec=/bin/sh'",
        ),
        ({"main.go": "package main\n", "vendor/x.go": "package x\n"}, "vendor/ and no go.mod"),
        ({"go.mod": "module x\n\ngo 1.19\n", "x.go": "package x\n"}, "no program came out of x"),
        ({"go.mod": "module x\n\ngo 1.19\n", "x.go": "package main\nfunc main() {"}, "go build failed"),
    ],
)
def test_what_the_user_can_mend_is_said(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    outcome, log = build(request_for(tmp_path / "r", files))

    assert isinstance(outcome, BuildFailure), log
    assert said in outcome.message
    assert outcome.hint


def make_proxy(folder: Path) -> Path:
    """A module proxy as files, with one module in one version."""
    place = folder / "example.net" / "greeting" / "@v"
    place.mkdir(parents=True)
    (place / "list").write_text("v1.0.0\n")
    (place / "v1.0.0.info").write_text('{"Version": "v1.0.0", "Time": "2024-01-01T00:00:00Z"}')
    (place / "v1.0.0.mod").write_text("module example.net/greeting\n\ngo 1.19\n")
    with zipfile.ZipFile(place / "v1.0.0.zip", "w") as archive:
        for name, content in (
            ("go.mod", "module example.net/greeting\n\ngo 1.19\n"),
            ("greeting.go", GREETING),
        ):
            archive.writestr(f"example.net/greeting@v1.0.0/{name}", content)
    return folder


def go_machine(program: Path) -> int:
    """Of an ELF file: 62 for x86-64, 183 for AArch64, 40 for 32-bit ARM."""
    head = program.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    return int.from_bytes(head[18:20], "little")


def test_a_program_is_compiled_for_the_machines_that_run_it_not_for_the_one_that_builds(
    tmp_path: Path,
) -> None:
    other, number = ("aarch64", 183) if platform.machine() != "aarch64" else ("x86_64", 62)
    request = replace(request_for(tmp_path / "r", HELLO), machines=(other,))

    result = built(request)

    app = unpacked(request, tmp_path / "dyno")
    assert result.machine == other
    assert go_machine(app / "bin" / "hello") == number


def test_where_machines_of_two_kinds_run_it_one_slug_answers_on_each(tmp_path: Path) -> None:
    request = replace(request_for(tmp_path / "r", HELLO), machines=("x86_64", "aarch64"))

    result = built(request)

    app = unpacked(request, tmp_path / "dyno")
    assert result.machine == "aarch64,x86_64"
    assert result.process_types == {"web": "bin/hello"}
    assert go_machine(app / "bin/.x86_64/hello") == 62
    assert go_machine(app / "bin/.aarch64/hello") == 183
    with serving(app, result.process_types["web"]) as port:
        assert get(port, "/") == b"hello from Go"
    with serving(app, "PATH=$PWD/bin:$PATH; exec hello") as port:
        assert get(port, "/") == b"hello from Go"


def test_an_app_that_tells_the_go_command_how_to_work_is_compiled_for_the_machine_that_builds(
    tmp_path: Path,
) -> None:
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    stops_at_once = {"GOFLAGS": "-no-such-flag"}
    request = replace(request_for(tmp_path / "r", HELLO), machines=(other,), config_vars=stops_at_once)

    _, log = build(request)

    assert f"go build ., for {platform.machine()}" in log
    assert other not in log


def test_for_a_machine_that_go_does_not_know_nothing_is_crossed() -> None:
    assert machines_for(("x86_64", "m68k")) == (platform.machine(),)
    assert machines_for(()) == (platform.machine(),)
    assert machines_for(("x86_64", "aarch64", "x86_64")) == ("aarch64", "x86_64")
