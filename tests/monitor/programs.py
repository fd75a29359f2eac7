"""Random programs and their plain evaluation, without the package."""

from __future__ import annotations

import json

TOP = 65_535


def attributes(count, tops=None):
    return [
        {"name": f"a{k}", "low": 0, "high": (tops or [TOP] * count)[k], "step": 1}
        for k in range(count)
    ]


def random_program(rng, depth, count=4, tops=None):
    """A tree whose nodes can all be reached; thresholds at the ends and equal ones included."""
    tops = tops or [TOP] * count
    nodes, used = {}, []

    def add(ranges, left):
        name = f"n{len(nodes)}"
        nodes[name] = None
        open_ones = [k for k, (low, high) in enumerate(ranges) if low < high]
        if left == 0 or not open_ones or (left < depth and rng.random() < 0.25):
            nodes[name] = {"advice": f"advice {name}"}
            return name
        k = rng.choice(open_ones)
        low, high = ranges[k]
        equal = [t for t in used if low <= t < high]
        threshold = rng.choice(
            [low, high - 1, rng.randrange(low, high), *([rng.choice(equal)] if equal else [])]
        )
        used.append(threshold)
        below, above = list(ranges), list(ranges)
        below[k], above[k] = (low, threshold), (threshold + 1, high)
        then, otherwise = add(below, left - 1), add(above, left - 1)
        nodes[name] = {"attribute": f"a{k}", "at_most": threshold, "then": then, "else": otherwise}
        return name

    root = add([(0, top) for top in tops], depth)
    return {"name": "random", "attributes": attributes(count, tops), "root": root, "nodes": nodes}


def random_values(rng, program):
    thresholds = {}
    for node in program["nodes"].values():
        if "attribute" in node:
            thresholds.setdefault(node["attribute"], []).append(node["at_most"])
    values = {}
    for attribute in program["attributes"]:
        name, top = attribute["name"], attribute["high"]
        near = [t + d for t in thresholds.get(name, []) for d in (-1, 0, 1) if 0 <= t + d <= top]
        values[name] = rng.choice([0, top, rng.randint(0, top), *near])
    return values


def plain(program, values):
    node = program["nodes"][program["root"]]
    while "advice" not in node:
        is_below = values[node["attribute"]] <= node["at_most"]
        node = program["nodes"][node["then" if is_below else "else"]]
    return node["advice"]


def text(program):
    return json.dumps(program)
