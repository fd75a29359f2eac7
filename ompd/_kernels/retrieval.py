"""Private retrieval: XORs of one bucket per chunk, and the bookkeeping of hints.

A table is uint64[chunks * chunk, width]; a hint is one offset below `chunk` for every chunk and the
XOR (parity) of those buckets. Offsets are uint16. What the steps are for and why they hide which
bucket is wanted is written in `ompd.sealed.hints`.
"""

import numpy as np

from ompd._kernels.jit import kernel

# States of a slot, which is a backup hint with its replacement entry, used by one fetch: asked;
# answered, but for the bucket of another place; known; known and authentic; of no use.
UNUSED = 0
ASKED = 1
WAITING = 2
SETTLED = 3
READY = 4
DEAD = 5

#: Times that a place whose answer did not come is asked for again.
AGAIN = 2


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
def _has_slot(place, places, count, used, backups, chunk):
    """Whether the chunk of place has a backup left behind those of places[:count]."""
    part = place // chunk
    taken = used[part]
    for other in range(count):
        if places[other] // chunk == part:
            taken += 1
    return taken < backups


@kernel()
def select(found, least, place_of, slot_of, owed, used, backups, chunk, places):
    """Choose what to ask for: the first candidates that were not asked for, one slot each.

    What is then left of places int64[fetches], which is overwritten, goes to places that are owed
    another try, uint8[buckets]. Returns (count of places, candidates int64[:] that are or will be
    there, smallest bound of the others or 2**62).
    """
    count = 0
    kept = np.empty(found.shape[0], np.int64)
    keeps = 0
    bound = np.int64(1) << np.int64(62)
    for index in range(found.shape[0]):
        place = np.int64(place_of[found[index]])
        there = slot_of[place] >= 0
        if (
            (owed[place] == AGAIN or not there)
            and count < places.shape[0]
            and _has_slot(place, places, count, used, backups, chunk)
        ):
            places[count] = place
            count += 1
            there = True
        if there:
            kept[keeps] = index
            keeps += 1
        else:
            bound = min(bound, least[index])
    total = np.int64(0)
    for place in range(owed.shape[0]):
        total += np.int64(owed[place])
    for tries in range(AGAIN if total > 0 else 0, 0, -1):
        for place in range(owed.shape[0]):
            if owed[place] == 0:
                continue
            left = np.int64(owed[place])
            for other in range(count):
                left -= places[other] == place
            if (
                left == tries
                and count < places.shape[0]
                and _has_slot(place, places, count, used, backups, chunk)
            ):
                places[count] = place
                count += 1
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
def _known(place, slot_of, states):
    slot = slot_of[place]
    return slot >= 0 and (states[slot] == SETTLED or states[slot] == READY)


@kernel()
def consume(
    asked, starts, chunk, backups,
    offsets, parities, waits, backup_offsets, backup_parities, contents, states, places, sources,
    used, slot_of, owed, messages, records,
):  # fmt: skip
    """Ask for the buckets at `asked`, one after the other.

    messages uint16[:, chunks] is overwritten where a hint holds the bucket and left as it is where
    none does; records int64[:, 2] gets slot and place. Every chunk must have a backup left for
    each of its places.
    """
    chunks = offsets.shape[0]
    width = parities.shape[1]
    for fetch in range(asked.shape[0]):
        place = asked[fetch]
        part = place // chunk
        wanted = place % chunk
        slot = part * backups + used[part]
        used[part] += 1
        places[slot] = place
        if not _known(place, slot_of, states):
            slot_of[place] = slot
        if owed[place] > 0:
            owed[place] -= np.uint8(1)
        hint = _find(offsets[part], wanted, starts[fetch])
        records[fetch, 0] = slot
        records[fetch, 1] = place
        if hint < 0:
            states[slot] = DEAD
            continue
        states[slot] = ASKED
        sources[slot] = waits[hint]
        waits[hint] = place
        for other in range(chunks):
            messages[fetch, other] = offsets[other, hint]
            offsets[other, hint] = backup_offsets[slot, other]
        messages[fetch, part] = backup_offsets[slot, part]
        offsets[part, hint] = wanted
        # Answer, old parity and replacement entry give the bucket; the backup's parity and the
        # bucket give the new parity, once the bucket is there.
        for word in range(width):
            contents[slot, word] ^= parities[hint, word]
            parities[hint, word] = backup_parities[slot, word]


@kernel()
def settle(records, answers, right, contents, states):
    """XOR the answers that are right, bool[fetches], into contents."""
    for fetch in range(records.shape[0]):
        slot = records[fetch, 0]
        if right[fetch] and states[slot] == ASKED:
            for word in range(contents.shape[1]):
                contents[slot, word] ^= answers[fetch, word]
            states[slot] = WAITING


@kernel()
def resolve(slots, contents, states, places, sources, slot_of):
    """Find all buckets that follow from what the slots hold.

    Each of the slots, all WAITING, holds the bucket of its place XOR that of its source, if it has
    one. Either gives the other; a slot then has the new one as its place, and no source.
    """
    found = True
    while found:
        found = False
        for index in range(slots.shape[0]):
            slot = slots[index]
            if states[slot] != WAITING:
                continue
            source = np.int64(sources[slot])
            if source >= 0:
                if _known(source, slot_of, states):
                    given = slot_of[source]
                elif _known(places[slot], slot_of, states):
                    given = slot_of[places[slot]]
                    places[slot] = source
                else:
                    continue
                for word in range(contents.shape[1]):
                    contents[slot, word] ^= contents[given, word]
                sources[slot] = -1
            states[slot] = SETTLED
            if not _known(places[slot], slot_of, states):
                slot_of[places[slot]] = slot
            found = True


@kernel()
def complete(parities, waits, contents, states, slot_of):
    """Complete the hints whose buckets have come and are authentic."""
    for hint in range(waits.shape[0]):
        place = waits[hint]
        if place < 0:
            continue
        slot = slot_of[place]
        if slot >= 0 and states[slot] == READY:
            for word in range(contents.shape[1]):
                parities[hint, word] ^= contents[slot, word]
            waits[hint] = -1
