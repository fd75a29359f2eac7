"""Private retrieval: XORs of one bucket per chunk, and the bookkeeping of hints.

A table is uint64[chunks * chunk, width]; a hint is one offset below `chunk` for every chunk and the
XOR (parity) of those buckets. Offsets are uint8 or uint16, all of one table the same. What the
steps are for and why they hide which bucket is wanted is written in `ompd.sealed.hints`.
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

    requests are offsets[:, chunks], all below chunk; answers uint64[:, width] is overwritten.
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

    offsets[hints, chunks], own int64[hints] with -1 for none. `block` chunks at a time are read by
    all hints, so that they stay in the cache.
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
def select(wanted, heard, owed, twice, used, backups, ahead, chunk, places):
    """Choose which buckets to ask for; returns how many of places int64[fetches] it overwrote.

    wanted int64[:] are the places of a query's buckets, at most `fetches`, the best first. First
    come those that were not heard of, uint8[buckets], or are owed another try, uint8[buckets];
    then, if `twice`, the same again where `ahead` slots of the chunk stay; then other places that
    are owed a try. Each takes one slot of its chunk.
    """
    count = 0
    for index in range(wanted.shape[0]):
        place = wanted[index]
        if (heard[place] == 0 or owed[place] > 0) and _has_slot(
            place, places, count, used, backups, chunk
        ):
            places[count] = place
            count += 1
    first = count
    for index in range(first if twice else 0):
        if count < places.shape[0] and _has_slot(
            places[index], places, count, used, backups - ahead, chunk
        ):
            places[count] = places[index]
            count += 1
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
    return count


@kernel()
def slots_for(places, count, used, backups, chunk, slots):
    """Overwrite slots int64[fetches] with those that places[:count] use up, in this order.

    Behind them stand the slots that the other places would use next.
    """
    for fetch in range(places.shape[0]):
        part = places[fetch] // chunk
        taken = used[part]
        for other in range(min(fetch, count)):
            taken += places[other] // chunk == part
        slots[fetch] = part * backups + min(taken, backups - 1)


@kernel()
def _unused_with(entries, wanted, part, used, backups):
    """An unused slot of chunk part whose entry is at offset wanted, or -1."""
    for slot in range(part * backups + used[part], (part + 1) * backups):
        if np.int64(entries[slot]) == wanted:
            return slot
    return -1


@kernel()
def blocks_ahead(places, starts, chunk, size, each, numbers, first, plain):
    """Which blocks have the offsets of `span` hints from each start, cyclically, in its chunk.

    A hint has `each` blocks of 16 bytes from number numbers int32[hints] times that, an offset size
    bytes. plain uint64[fetches, span, 2] is overwritten, for the places from `first` on.
    """
    count = numbers.shape[0]
    span = plain.shape[1]
    for fetch in range(first, first + plain.shape[0]):
        inner = places[fetch] // chunk * size // 16
        for ahead in range(span):
            hint = (starts[fetch] + ahead) % count
            plain[fetch - first, ahead, 0] = np.uint64(np.int64(numbers[hint]) * each + inner)
            plain[fetch - first, ahead, 1] = np.uint64(0)


@kernel()
def find_hints(
    places, count, starts, chunk, size, drawn, first, last, left, patched, fresh, turns, hints,
    earlier,
):  # fmt: skip
    """Find for each of the fetches first:last the first hint from its start that has the place.

    drawn uint8[fetches, span, 16] are the blocks of `blocks_ahead`, from fetch `first` on; patched
    int32[hints] is the place that a hint has instead of what was drawn for that chunk, or -1.
    places[:count] replace the hint that they find by fresh[fetch, chunks]; turns int64[hints] is
    the fetch that did so last, or -1. Overwrites hints int64[fetches], -1 if there is none, and
    earlier int64[fetches], the turn of that hint. Returns `last`, or the fetch that found none in
    its blocks while `left` hints, these included, are more than they are.
    """
    total = patched.shape[0]
    span = min(left, drawn.shape[1])
    for fetch in range(first, last):
        part = places[fetch] // chunk
        wanted = places[fetch] % chunk
        spot = part * size % 16
        found = -1
        for ahead in range(span):
            hint = (starts[fetch] + ahead) % total
            turn = turns[hint]
            place = np.int64(patched[hint])
            if turn >= 0:
                place = places[turn]
            if place >= 0 and place // chunk == part:
                value = place % chunk
            elif turn >= 0:
                value = np.int64(fresh[turn, part])
            else:
                value = np.int64(drawn[fetch - first, ahead, spot])
                if size > 1:
                    value += np.int64(drawn[fetch - first, ahead, spot + 1]) << 8
                value &= chunk - 1
            if value == wanted:
                found = hint
                break
        if found < 0 and span < left:
            return fetch
        hints[fetch] = found
        earlier[fetch] = turns[found] if found >= 0 else -1
        if found >= 0 and fetch < count:
            turns[found] = fetch
    return last


@kernel()
def _known(place, slot_of, states):
    slot = slot_of[place]
    return slot >= 0 and (states[slot] == SETTLED or states[slot] == READY)


@kernel()
def consume(
    asked, count, chunk, backups, slots, fresh, hints, vectors,
    numbers, patched, parities, waits, entries, backup_parities, contents, states, places, sources,
    used, owed, messages, records, spare_message, spare_words,
):  # fmt: skip
    """Ask for the buckets at asked[:count], one after the other.

    slots int64[fetches] are those of `slots_for`, fresh[fetches, chunks] the offsets of their
    backup hints, with the replacement entry's in the slot's own chunk; hints int64[fetches] are
    those of `find_hints`, vectors[fetches, chunks] their offsets. messages[fetches, chunks] is
    overwritten where a hint holds the bucket and left as it is where none does; records
    int64[:count, 2] gets slot and place. Every chunk must have a backup left for each of its
    places. If the bucket is the entry of a slot that is still unused, the new hint is complete at
    once. For asked[count:] the same work is done in vain, into spare_message[chunks] and
    spare_words uint64[2, width], so that it takes as long.
    """
    width = parities.shape[1]
    for fetch in range(asked.shape[0]):
        real = fetch < count
        place = asked[fetch]
        part = place // chunk
        slot = slots[fetch]
        hint = hints[fetch]
        if real:
            used[part] += 1
            places[slot] = place
            if owed[place] > 0:
                owed[place] -= np.uint8(1)
            records[fetch, 0] = slot
            records[fetch, 1] = place
            states[slot] = ASKED if hint >= 0 else DEAD
        entry = _unused_with(entries, place % chunk, part, used, backups)
        if hint < 0:
            continue
        message = messages[fetch] if real else spare_message
        content = contents[slot] if real else spare_words[0]
        parity = parities[hint] if real else spare_words[1]
        message[:] = vectors[fetch]
        message[part] = fresh[fetch, part]
        # Answer, old parity and replacement entry give the bucket; the backup's parity and the
        # bucket give the new parity, once the bucket is there.
        for word in range(width):
            content[word] ^= parities[hint, word]
            parity[word] = backup_parities[slot, word]
        if entry >= 0:
            for word in range(width):
                parity[word] ^= contents[entry, word]
        if real:
            numbers[hint] = slot
            patched[hint] = place
            sources[slot] = waits[hint]
            waits[hint] = -1 if entry >= 0 else place


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
