"""The beanstalk door on a queue of one node: `python -m replicated_queue.beanstalk` in place of `beanstalkd`.

It listens before it imports what it needs, so that whoever started it can connect at once.
"""

import socket
import sys
from getopt import GetoptError, gnu_getopt

from replicated_queue.beanstalk.listening import listen

USAGE = """usage: python -m replicated_queue.beanstalk [-l HOST|unix:PATH] [-p PORT] [-b DIR]
  -l  where to listen (default 127.0.0.1)
  -p  port (default 11300)
  -b  keep the jobs in this directory; without it they are gone when the program ends"""


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. 2: wrong usage, 1: cannot listen."""
    try:
        options = dict(gnu_getopt(arguments, "l:p:b:h")[0])
        port = int(options.get("-p", "11300"))
    except (GetoptError, ValueError) as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    if "-h" in options:
        print(USAGE)
        return 0
    host = options.get("-l", "127.0.0.1")
    try:
        listener = listen(host, port)
    except (OSError, OverflowError) as error:
        print(f"cannot listen at {host} port {port}: {error}. Is another server there?", file=sys.stderr)
        return 1
    return _serve(listener, options.get("-b"))


def _serve(listener: socket.socket, directory: str | None) -> int:
    import asyncio
    from pathlib import Path

    from replicated_queue.beanstalk.embedded import serve

    asyncio.run(serve(listener, Path(directory) if directory is not None else None))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
