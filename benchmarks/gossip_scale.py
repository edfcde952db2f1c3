"""How gossip grows: 5 to 1,000 simulated nodes in virtual time, and the picture docs/gossip_scale.svg.

    python -m benchmarks.gossip_scale [--seconds 600] [--nodes 5,16,50,...] [--svg docs/gossip_scale.svg]

One change of one node's meta is made now and then: the longest time until everyone knew. Datagrams and their
bytes are counted by node and second; the full exchange's bytes stand apart, for its interval grows with log N.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from gossip.outbox import Effect
from gossip.swim import Swim
from tests.gossip.world import World

CHANGES = 5
MEASURED_SHARE = 0.1  # of the time, in which the bytes of datagrams are counted too
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 250, 60, 40, 40


@dataclass(frozen=True, slots=True)
class Result:
    """One size of cluster."""

    nodes: int
    virtual_seconds: float
    change_known_everywhere_seconds: float
    datagrams_per_node_per_second: float
    busiest_node_per_second: float
    datagram_bytes_per_node_per_second: float
    exchange_bytes_per_node_per_second: float
    false_deaths: int
    real_seconds: float


def simulate(nodes: int, *, seconds: float, seed: int = 1) -> Result:
    began = time.monotonic()
    world = World(nodes, seed=seed)
    world.introduce_everyone()
    world.run(20)
    world.measures_exchanges = True
    sent = [node.datagrams_sent for node in world.nodes]
    slowest, started = 0.0, world.now
    for change in range(CHANGES):
        told = b"change %d" % change
        world.do(world.random.randrange(nodes), partial(_tell, told))
        slowest = max(slowest, _until_all_know(world, told))
        world.run(max(0.0, started + seconds * (1 - MEASURED_SHARE) * (change + 1) / CHANGES - world.now))
    world.measures_bytes = True
    measured_from = world.now
    world.run(seconds * MEASURED_SHARE)
    elapsed, measured = world.now - started, world.now - measured_from
    counts = [node.datagrams_sent - before for node, before in zip(world.nodes, sent, strict=True)]
    return Result(
        nodes=nodes,
        virtual_seconds=round(elapsed, 0),
        change_known_everywhere_seconds=round(slowest, 2),
        datagrams_per_node_per_second=round(sum(counts) / nodes / elapsed, 2),
        busiest_node_per_second=round(max(counts) / elapsed, 2),
        datagram_bytes_per_node_per_second=round(
            sum(node.bytes_sent for node in world.nodes) / nodes / measured
        ),
        exchange_bytes_per_node_per_second=round(
            sum(node.exchange_bytes for node in world.nodes) / nodes / elapsed
        ),
        false_deaths=len(world.false_deaths),
        real_seconds=round(time.monotonic() - began, 1),
    )


def _tell(told: bytes, swim: Swim, now: float) -> list[Effect]:
    return swim.change_myself(meta=told, now=now)


def _until_all_know(world: World, told: bytes) -> float:
    waiting = list(world.nodes)

    def is_known() -> bool:
        while waiting and any(held.meta == told for held in waiting[-1].swim.members()):
            waiting.pop()
        return not waiting

    return world.run_until(is_known, within=30)


def picture(results: list[Result]) -> str:
    """Small charts over the number of nodes."""
    charts = [
        ("one change known everywhere, seconds (bar: 5)", "change_known_everywhere_seconds", 5.0),
        ("datagrams sent per node and second", "datagrams_per_node_per_second", 4.0),
        ("bytes per node and second in datagrams", "datagram_bytes_per_node_per_second", None),
        ("bytes per node and second in full exchanges", "exchange_bytes_per_node_per_second", None),
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(charts)}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT * len(charts)}" fill="white"/>',
    ]
    for number, (title, field, top) in enumerate(charts):
        parts += _chart(results, title=title, field=field, top=top, y=number * HEIGHT)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(results: list[Result], *, title: str, field: str, top: float | None, y: int) -> list[str]:
    values = [float(getattr(result, field)) for result in results]
    scale = top or max(values) * 1.15 or 1.0
    step = (WIDTH - LEFT - 40) / max(1, len(results) - 1)
    base = y + HEIGHT - BOTTOM
    points = [
        (LEFT + index * step, base - value / scale * (HEIGHT - BOTTOM - TOP))
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{at:.1f}" for x, at in points)
    parts = [
        f'<text x="{LEFT}" y="{y + 24}" font-weight="bold">{title}</text>',
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 40}" y2="{base}" stroke="#999"/>',
        f'<polyline points="{line}" fill="none" stroke="#2a7" stroke-width="2"/>',
    ]
    for (x, at), value, result in zip(points, values, results, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{at:.1f}" r="4" fill="#2a7"/>')
        parts.append(f'<text x="{x:.1f}" y="{at - 9:.1f}" text-anchor="middle">{value:g}</text>')
        label = f"{result.nodes} nodes, {result.virtual_seconds / 60:g} min"
        parts.append(f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle" font-size="11">{label}</text>')
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="virtual seconds for each size")
    parser.add_argument("--nodes", default="5,16,50,100,250,500,1000")
    parser.add_argument("--svg", type=Path, help="write the picture here")
    parser.add_argument("--results", type=Path, help="draw these lines of an earlier run too")
    given = parser.parse_args()
    earlier = given.results.read_text().splitlines() if given.results else []
    results = [Result(**json.loads(line)) for line in earlier]
    for nodes in filter(None, given.nodes.split(",")):
        results.append(simulate(int(nodes), seconds=given.seconds))
        print(json.dumps(asdict(results[-1])), flush=True)
    if given.svg:
        given.svg.write_text(picture(results))
    return 0 if all(r.change_known_everywhere_seconds <= 5 and not r.false_deaths for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
