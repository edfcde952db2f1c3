"""Says hello, and which dyno of which release on which node says it."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """What a visitor sees."""
    dyno, release, node = (os.environ.get(f"PINODE_{name}", "?") for name in ("DYNO", "RELEASE", "NODE"))
    return f"Hello from {dyno} of release {release} on {node}!\n"
