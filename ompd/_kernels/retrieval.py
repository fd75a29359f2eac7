"""Private retrieval: XORs of one bucket per chunk, and the bookkeeping of hints.

A table is uint64[chunks * chunk, width]; a hint is one offset below `chunk` for every chunk and the
XOR (parity) of those buckets. Offsets are uint16. What the steps are for and why they hide which
bucket is wanted is written in `ompd.sealed.hints`.
"""

import numpy as np

from ompd._kernels.jit import kernel

# States of a slot, which is a backup hint with its replacement entry, used by one fetch.
UNUSED = 0
ASKED = 1
SETTLED = 2
READY = 3
DEAD = 4


@kernel()
def gather(words, chunk, requests, answers, first, last):
    """XOR one bucket per chunk for requests first:last into answers.

    requests uint16[:, chunks], every offset below chunk; answers uint64[:, width] is overwritten.
    """
    chunks = requests.shape[1]
    width = words.shape[1]
    for request in range(first, last):
        into = answers[request]
        into[:] = np.uint64(0)
        # Four at a time: the processor fetches all four from memory at once.
        for part in range(0, chunks - 3, 4):
            one = words[part * chunk + np.int64(requests[request, part])]
            two = words[(part + 1) * chunk + np.int64(requests[request, part + 1])]
            three = words[(part + 2) * chunk + np.int64(requests[request, part + 2])]
            four = words[(part + 3) * chunk + np.int64(requests[request, part + 3])]
            for word in range(width):
                into[word] ^= one[word] ^ two[word] ^ three[word] ^ four[word]
        for part in range(chunks // 4 * 4, chunks):
            bucket = words[part * chunk + np.int64(requests[request, part])]
            for word in range(width):
                into[word] ^= bucket[word]


@kernel()
def add_parities(words, chunk, offsets, own, parities, block, first, last):
    """XOR into parities[hint] its buckets of all chunks but own[hint], for hints first:last.

    offsets uint16[hints, chunks], own int64[hints] with -1 for none. `block` chunks at a time are
    read by all hints, so that they stay in the cache.
    """
    chunks = offsets.shape[1]
    width = words.shape[1]
    for start in range(0, chunks, block):
        stop = min(chunks, start + block)
        for hint in range(first, last):
            into = parities[hint]
            for part in range(start, stop):
                if part == own[hint]:
                    continue
                bucket = words[part * chunk + np.int64(offsets[hint, part])]
                for word in range(width):
                    into[word] ^= bucket[word]


@kernel()
def select(found, least, place_of, slot_of, used, backups, chunk, places):
    """Choose what to ask for: the first candidates that were not asked for, one slot each.

    places int64[fetches] is overwritten. Returns (count of places, candidates int64[:] that are or
    will be there, smallest bound of the others or 2**62).
    """
    count = 0
    kept = np.empty(found.shape[0], np.int64)
    keeps = 0
    bound = np.int64(1) << np.int64(62)
    for index in range(found.shape[0]):
        place = np.int64(place_of[found[index]])
        there = slot_of[place] >= 0
        if not there and count < places.shape[0]:
            part = place // chunk
            taken = used[part]
            for other in range(count):
                if places[other] // chunk == part:
                    taken += 1
            if taken < backups:
                places[count] = place
                count += 1
                there = True
        if there:
            kept[keeps] = index
            keeps += 1
        else:
            bound = min(bound, least[index])
    return count, kept[:keeps], bound


@kernel()
def _find(offsets, wanted, start):
    """First place at or after `start`, cyclically, where offsets has `wanted`; -1 if nowhere."""
    count = offsets.shape[0]
    for place in range(start, count):
        if np.int64(offsets[place]) == wanted:
            return place
    for place in range(start):
        if np.int64(offsets[place]) == wanted:
            return place
    return -1


@kernel()
def consume(
    places, starts, chunk, backups,
    offsets, parities, waits, backup_offsets, backup_parities, contents, states, used, slot_of,
    messages, records,
):  # fmt: skip
    """Ask for the buckets at `places`, one after the other.

    messages uint16[:, chunks] is overwritten where a hint holds the bucket and left as it is where
    none does; records int64[:, 4] gets slot, place, hint and the slot that the hint waited for.
    Every chunk must have a backup left for each of its places.
    """
    chunks = offsets.shape[0]
    width = parities.shape[1]
    for fetch in range(places.shape[0]):
        place = places[fetch]
        part = place // chunk
        wanted = place % chunk
        slot = part * backups + used[part]
        used[part] += 1
        slot_of[place] = slot
        hint = _find(offsets[part], wanted, starts[fetch])
        records[fetch, 0] = slot
        records[fetch, 1] = place
        records[fetch, 2] = hint
        records[fetch, 3] = -1
        if hint < 0:
            states[slot] = DEAD
            continue
        states[slot] = ASKED
        records[fetch, 3] = waits[hint]
        waits[hint] = slot
        for other in range(chunks):
            messages[fetch, other] = offsets[other, hint]
            offsets[other, hint] = backup_offsets[slot, other]
        messages[fetch, part] = backup_offsets[slot, part]
        offsets[part, hint] = wanted
        # Answer, old parity and replacement entry give the bucket; the backup's parity and the
        # bucket give the new parity, once the answer is there.
        for word in range(width):
            contents[slot, word] ^= parities[hint, word]
            parities[hint, word] = backup_parities[slot, word]


@kernel()
def settle(records, answers, contents, states):
    """XOR the answers, and buckets that were pending when a fetch was asked, into contents.

    Returns how many fetches wait for another ticket; their records come first afterwards.
    """
    waiting = 0
    for fetch in range(records.shape[0]):
        slot = records[fetch, 0]
        if states[slot] != ASKED:
            continue
        for word in range(contents.shape[1]):
            contents[slot, word] ^= answers[fetch, word]
        source = records[fetch, 3]
        if source >= 0:
            if states[source] == ASKED:
                for column in range(4):
                    kept = records[waiting, column]
                    records[waiting, column] = records[fetch, column]
                    records[fetch, column] = kept
                waiting += 1
                continue
            if states[source] != READY and states[source] != SETTLED:
                states[slot] = DEAD
                continue
            for word in range(contents.shape[1]):
                contents[slot, word] ^= contents[source, word]
        states[slot] = SETTLED
    return waiting


@kernel()
def complete(records, parities, waits, contents, states):
    """Complete the hints whose buckets have come and are authentic."""
    for fetch in range(records.shape[0]):
        slot = records[fetch, 0]
        hint = records[fetch, 2]
        if states[slot] == READY and hint >= 0 and waits[hint] == slot:
            for word in range(contents.shape[1]):
                parities[hint, word] ^= contents[slot, word]
            waits[hint] = -1
