"""Samples one by one: doubled ones, a regular grid, moving means, beats."""

from ompd._kernels.jit import kernel


@kernel()
def distinct(times, values, stamps, means):
    """Merge samples that are sorted by time and then by value; returns how many are left.

    The same value at the same time counts once; of different values the mean is taken.
    """
    count, place = 0, 0
    while place < times.size:
        stamp, last = times[place], values[place]
        total, number = last, 1
        place += 1
        while place < times.size and times[place] == stamp:
            if values[place] != last:
                last = values[place]
                total += last
                number += 1
            place += 1
        stamps[count] = stamp
        means[count] = total / number
        count += 1
    return count


@kernel()
def resample(stamps, means, step, longest, grid, seen):
    """Put samples on a grid that begins at time 0, by straight lines between them.

    `seen` is 0 where the samples around are further apart than `longest`, or are on one side only.
    """
    right, count = 0, stamps.size
    for place in range(grid.size):
        time = place * step
        while right < count and stamps[right] < time:
            right += 1
        if right < count and stamps[right] == time:
            grid[place] = means[right]
            seen[place] = 1
        elif 0 < right < count:
            gap = stamps[right] - stamps[right - 1]
            part = (time - stamps[right - 1]) / gap
            grid[place] = means[right - 1] + part * (means[right] - means[right - 1])
            seen[place] = 1 if gap <= longest else 0
        else:
            grid[place] = means[min(right, count - 1)] if count else 0.0
            seen[place] = 0


@kernel()
def unsee_flat(grid, least, seen):
    """Set `seen` to 0 where at least so many values in a row are equal."""
    start = 0
    for place in range(1, grid.size + 1):
        if place == grid.size or grid[place] != grid[start]:
            if place - start >= least:
                for other in range(start, place):
                    seen[other] = 0
            start = place


@kernel()
def moving_mean(values, half, out):
    """Write the mean of each value and `half` others on both sides, fewer at the ends."""
    total = 0.0
    for place in range(min(half, values.size)):
        total += values[place]
    for place in range(values.size):
        if place + half < values.size:
            total += values[place + half]
        if place - half - 1 >= 0:
            total -= values[place - half - 1]
        first, last = max(0, place - half), min(values.size - 1, place + half)
        out[place] = total / (last - first + 1)


@kernel()
def find_peaks(signal, near, far, offset, least, apart, peaks):
    """Find one peak in each run of at least `least` places where near > far + offset.

    Of two that are closer than `apart`, the higher one stays. Returns how many there are.
    """
    count, place = 0, 0
    while place < signal.size:
        if not near[place] > far[place] + offset:
            place += 1
            continue
        start, best = place, place
        while place < signal.size and near[place] > far[place] + offset:
            if signal[place] > signal[best]:
                best = place
            place += 1
        if place - start < least:
            continue
        if count and best - peaks[count - 1] < apart:
            if signal[best] > signal[peaks[count - 1]]:
                peaks[count - 1] = best
        else:
            peaks[count] = best
            count += 1
    return count
