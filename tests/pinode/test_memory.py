"""What a long-lived process takes of memory, and does with what it no longer needs."""

import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path
from pinode.memory import keep_small

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "small":
    keep_small()
bytearray(4 << 20)  # allocated, freed
before = resident()
large = bytearray(3 << 20)
behind_it = bytearray(100_000)
del large
print(resident() - before)
"""

GARBAGE = """
import gc, weakref
from pinode.memory import settle

class Ring:
    def __init__(self):
        self.me = self

loaded = [[] for _ in range(600_000)]
settle()
rings = [Ring() for _ in range(1000)]
gc.collect(1)  # they are old by now, as a connection is that ends
last = weakref.ref(rings.pop())
rings.clear()
made_since = [[] for _ in range(100_000)]
print(last())
"""
STARTED = "import pinode.cli.main, pinode.cli.start_command, pinode.node_process"
WHEN_ASKED = {  # by a visitor, an app's schedule, the network, another command
    *("aiohttp", "yarl", "multidict", "attr", "typing_extensions", "idna", "jinja2", "markupsafe"),
    *("cronsim", "httptools", "zeroconf", "git", "psutil", "packaging", "uv"),
    *("http.client", "http.cookies", "email.message", "urllib.request", "argparse", "multiprocessing"),
    *("pinode.web.application", "pinode.web.site", "pinode.web.routes", "pinode.cli.api_client"),
}


def kept_bytes(how: str) -> int:
    """Bytes a process still holds after it freed 3 MiB, once it had freed a larger block."""
    words = [sys.executable, "-c", SCRIPT, how]
    return int(subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout)


def test_a_large_block_goes_back_to_the_system_when_it_is_freed() -> None:
    left_alone, small = kept_bytes("as it is"), kept_bytes("small")

    assert left_alone > 3 << 20  # else the setting is no longer needed
    assert small < 1 << 20


def test_a_node_starts_without_what_only_some_nodes_need() -> None:
    program = f"import sys\n{STARTED}\nprint(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())

    assert "pinode.web.server" in loaded
    assert loaded & WHEN_ASKED == set()


def test_garbage_made_after_loading_does_not_wait_for_a_quarter_of_what_was_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", GARBAGE], capture_output=True, text=True, check=True)

    assert done.stdout == "None\n"
