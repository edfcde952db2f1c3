"""Small charts of a node's last hour, as points of SVG lines."""

import math

from pinode.metrics.rings import FIELDS, Stretch

WIDTH, HEIGHT = 120, 24  # of the picture, in its own units
STEPS = 360  # what its width stands for


def lines(stretch: Stretch, field: str, *, top: float) -> list[str]:
    """`points` of a polyline for each time without a gap; now is at the right edge, `top` at the upper."""
    place = FIELDS.index(field)
    values = [row[place] for row in stretch.rows()][-STEPS:]
    behind = len(values) + stretch.newest_age_seconds / stretch.step_seconds
    group = STEPS // WIDTH
    found: list[list[str]] = [[]]
    for at in range(0, len(values), group):
        heard = [value for value in values[at : at + group] if not math.isnan(value)]
        if not heard:
            found.append([])
            continue
        across = max(0.0, WIDTH * (1 - (behind - at) / STEPS))
        height = HEIGHT * (1 - min(sum(heard) / len(heard) / top, 1.0))
        found[-1].append(f"{across:.1f},{height:.1f}")
    return [" ".join(points) for points in found if len(points) > 1]
