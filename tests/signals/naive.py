"""Kernels of signals in plain Python; imports nothing of `ompd`."""

from __future__ import annotations


def distinct(times, values):
    found = {}
    for time, value in zip(times, values, strict=True):
        found.setdefault(time, set()).add(value)
    return [(time, sum(sorted(each)) / len(each)) for time, each in sorted(found.items())]


def resample(points, step, longest, places):
    found = []
    for place in range(places):
        time = place * step
        before = [point for point in points if point[0] <= time]
        after = [point for point in points if point[0] >= time]
        if before and after and before[-1][0] == time:
            found.append((before[-1][1], True))
        elif before and after:
            (t0, v0), (t1, v1) = before[-1], after[0]
            found.append((v0 + (time - t0) / (t1 - t0) * (v1 - v0), t1 - t0 <= longest))
        else:
            nearest = after[0][1] if after else before[-1][1] if before else 0.0
            found.append((nearest, False))
    return found


def flat(values, least):
    """Places in runs of at least so many equal values."""
    found = set()
    for place in range(len(values)):
        first = last = place
        while first > 0 and values[first - 1] == values[place]:
            first -= 1
        while last + 1 < len(values) and values[last + 1] == values[place]:
            last += 1
        if last - first + 1 >= least:
            found.add(place)
    return found


def moving_mean(values, half):
    parts = (values[max(0, place - half) : place + half + 1] for place in range(len(values)))
    return [sum(part) / len(part) for part in parts]


def peaks(signal, near, far, offset, least, apart):
    over = [a > b + offset for a, b in zip(near, far, strict=True)]
    runs, start = [], None
    for place, is_over in enumerate([*over, False]):
        if is_over and start is None:
            start = place
        if not is_over and start is not None:
            runs.append((start, place))
            start = None
    found = []
    for first, last in runs:
        if last - first < least:
            continue
        best = max(range(first, last), key=lambda place: (signal[place], -place))
        if found and best - found[-1] < apart:
            if signal[best] > signal[found[-1]]:
                found[-1] = best
        else:
            found.append(best)
    return found
