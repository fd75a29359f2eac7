from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.errors import LabelError, OmpdError, TableError, VersionError
from ompd.search import compute
from ompd.stores import TableFolder
from tests.marks import long
from tests.places import ROOT


def values(rows, seed=0, coordinates=5, limbs=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64, (rows, coordinates, limbs), dtype=np.uint64)


def labels(rows):
    return np.arange(rows, dtype=np.int64) % 3


def create(path, limbs, **options):
    def fill(part, first):
        part[:] = limbs[first : first + len(part)]

    return TableFolder.create(path, limbs.shape, labels(len(limbs)), 3, fill, **options)


def same_answers(folder, limbs, removed=()):
    queries = values(7, seed=99)
    distances, rows = compute(folder.table, queries, 5)
    # The oracle in Python integers, a column of distances per query.
    whole = [[int.from_bytes(v.tobytes(), "little") for v in row] for row in limbs]
    for place, query in enumerate(queries):
        point = [int.from_bytes(v.tobytes(), "little") for v in query]
        pairs = sorted(
            (sum(abs(a - b) for a, b in zip(row, point, strict=True)), i)
            for i, row in enumerate(whole)
            if i not in removed
        )
        found = [
            (int.from_bytes(d.tobytes(), "little"), int(r))
            for d, r in zip(distances[place], rows[place], strict=True)
        ]
        assert found == pairs[:5]
    assert np.array_equal(folder.table.labels, labels(len(limbs)))


def test_written_tables_open_as_they_were(tmp_path):
    limbs = values(300)
    shares = []
    folder = create(tmp_path / "t", limbs, progress=shares.append)
    same_answers(folder, limbs)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    again = TableFolder.open(tmp_path / "t")
    same_answers(again, limbs)
    assert again.generation == 0
    assert np.array_equal(again.table.limbs, limbs)
    assert not again.table.limbs.flags.writeable
    assert again.table.index.heads.ctypes.data % 64 == 0
    assert "300 x 5 x 3" in repr(again)


def test_tables_are_written_in_blocks(tmp_path):
    rows = (1 << 16) + 3
    limbs = values(rows, coordinates=1, limbs=1)
    parts = []

    def fill(part, first):
        parts.append((first, len(part)))
        part[:] = limbs[first : first + len(part)]

    TableFolder.create(tmp_path / "t", limbs.shape, labels(rows), 3, fill)
    assert parts == [(0, 1 << 16), (1 << 16, 3)]
    assert np.array_equal(TableFolder.open(tmp_path / "t").table.limbs, limbs)


def test_rows_come_and_go(tmp_path):
    limbs = values(400)
    folder = create(tmp_path / "t", limbs[:300])
    old = folder.table
    folder.append(limbs[300:350], labels(350)[300:])
    folder.remove(np.array([3, 310, 299]))
    folder.append(limbs[350:], labels(400)[350:])
    removed = {3, 310, 299}
    assert folder.generation == 3
    for opened in (folder, TableFolder.open(tmp_path / "t")):
        same_answers(opened, limbs, removed)
        assert opened.table.live == 397
    folder.rebuild()
    for opened in (folder, TableFolder.open(tmp_path / "t")):
        same_answers(opened, limbs, removed)
        assert len(opened.table.index.tail_heads) == 0
    # Whoever holds the old table still sees it unchanged.
    assert len(old) == old.live == 300
    assert np.array_equal(old.limbs, limbs[:300])


def test_a_new_table_replaces_the_old_one(tmp_path):
    first = create(tmp_path / "t", values(50, seed=1))
    second = create(tmp_path / "t", values(60, seed=2))
    assert second.generation == 1
    same_answers(TableFolder.open(tmp_path / "t"), values(60, seed=2))
    assert len(list((tmp_path / "t").glob("limbs-*"))) == 1
    with pytest.raises(VersionError, match="was changed"):
        first.append(values(1), labels(1))
    assert np.array_equal(first.table.limbs, values(50, seed=1))


def test_two_writers_do_not_overwrite_each_other(tmp_path):
    limbs = values(52)
    one = create(tmp_path / "t", limbs[:50])
    two = TableFolder.open(tmp_path / "t")
    one.append(limbs[50:51], labels(51)[50:])
    for change in (
        lambda: two.append(limbs[51:], labels(52)[51:]),
        lambda: two.remove(np.array([1])),
        two.rebuild,
    ):
        with pytest.raises(VersionError, match="was changed"):
            change()
    same_answers(TableFolder.open(tmp_path / "t"), limbs[:51])


def test_rows_that_do_not_fit_change_nothing(tmp_path):
    limbs = values(50)
    folder = create(tmp_path / "t", limbs)
    with pytest.raises(TableError):
        folder.append(values(1, coordinates=4), labels(1))
    with pytest.raises(LabelError):
        folder.append(values(1), labels(1) + 3)
    with pytest.raises(TableError):
        folder.remove(np.array([50]))
    assert folder.generation == 0
    same_answers(TableFolder.open(tmp_path / "t"), limbs)


def test_a_failing_source_leaves_nothing_behind(tmp_path):
    limbs = values(50)
    create(tmp_path / "t", limbs)

    def fill(part, first):
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="database"):
        TableFolder.create(tmp_path / "t", (9, 5, 3), labels(9), 3, fill)
    same_answers(TableFolder.open(tmp_path / "t"), limbs)
    assert len(list((tmp_path / "t").glob("limbs-*"))) == 1
    with pytest.raises(LabelError):
        TableFolder.create(
            tmp_path / "t", (50, 5, 3), labels(49), 3, lambda part, first: part.fill(0)
        )
    same_answers(TableFolder.open(tmp_path / "t"), limbs)


def test_foreign_folders_are_refused(tmp_path):
    with pytest.raises(TableError, match="index"):
        TableFolder.open(tmp_path / "missing")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("hello")
    with pytest.raises(TableError, match="empty folder or a table"):
        create(tmp_path / "letters", values(5))
    assert (tmp_path / "letters" / "dear.txt").read_text() == "hello"
    with pytest.raises(TableError):
        create(tmp_path / "no" / "parent", values(5))
    with pytest.raises(TableError, match="shape"):
        TableFolder.create(tmp_path / "t", (0, 5, 3), labels(0), 3, lambda part, first: None)
    for content in (b"", b"OMPDTBL", b"hello world, this is no table", bytes(500)):
        (tmp_path / "letters" / "index").write_bytes(content)
        with pytest.raises(TableError):
            TableFolder.open(tmp_path / "letters")


def test_newer_formats_are_refused(tmp_path):
    create(tmp_path / "t", values(5))
    index = tmp_path / "t" / "index"
    data = bytearray(index.read_bytes())
    data[8:12] = struct.pack("<I", 2)
    index.write_bytes(data)
    with pytest.raises(VersionError, match="expected layout 1, got 2"):
        TableFolder.open(tmp_path / "t")
    for content in (b"OMPDTBL\0" + bytes(600), b"OMPDSEALED\0\1" + bytes(600)):
        index.write_bytes(content)
        with pytest.raises(VersionError, match="older version"):
            TableFolder.open(tmp_path / "t")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A table with a tail, removed rows and strays, as two byte strings."""
    path = tmp_path_factory.mktemp("tables") / "t"
    limbs = values(90)
    limbs[:80, :, -1] >>= np.uint64(20)
    folder = create(path, limbs[:80])
    folder.append(limbs[80:], labels(90)[80:])
    folder.remove(np.array([5, 85]))
    assert len(folder.table.index.strays)
    return path


@settings(max_examples=150)
@given(st.data())
def test_every_damaged_byte_is_found(stored, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "t"
    shutil.copytree(stored, path)
    name = data.draw(st.sampled_from([p.name for p in path.iterdir() if p.stat().st_size]))
    content = bytearray((path / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    content[place] ^= bit
    (path / name).write_bytes(content)
    with pytest.raises(OmpdError):
        TableFolder.open(path)


def test_cut_files_are_refused(stored, tmp_path):
    for name in [p.name for p in stored.iterdir() if p.stat().st_size]:
        size = (stored / name).stat().st_size
        for length in (0, 1, 15, 16, 60, size // 2, size - 64):
            path = tmp_path / f"{name}-{length}"
            shutil.copytree(stored, path)
            os.truncate(path / name, length)
            with pytest.raises(TableError):
                TableFolder.open(path)


def test_limbs_can_be_left_unread(stored, tmp_path):
    shutil.copytree(stored, tmp_path / "t")
    (limb_file,) = (tmp_path / "t").glob("limbs-*")
    content = bytearray(limb_file.read_bytes())
    content[7] ^= 1
    limb_file.write_bytes(content)
    with pytest.raises(TableError, match="differs from its digest"):
        TableFolder.open(tmp_path / "t")
    assert len(TableFolder.open(tmp_path / "t", verify=False).table) == 90


WRITER = """
import os, pathlib, shutil, sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.faults import STEPS
from tests.stores.test_tables import create, labels, values
from ompd.stores import TableFolder

base, action = pathlib.Path(sys.argv[1]), sys.argv[2]
allowed = 0

def dying(function):
    # Every step that reaches the disk may be the last one.
    def wrapped(*arguments, **options):
        global allowed
        if allowed == 0:
            os._exit(9)
        allowed -= 1
        return function(*arguments, **options)
    return wrapped

def write(path):
    folder = TableFolder.open(path)
    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))
    if action == "append":
        folder.append(values(70)[60:], labels(70)[60:])
    elif action == "remove":
        folder.remove(np.array([7]))
    elif action == "create":
        create(path, values(40, seed=5))
    else:
        folder.rebuild()

# Load the kernels once, before the children part.
warm = create(base.with_name("warm"), values(60))
warm.append(values(1), labels(1))

for steps in range(60):
    path = base.with_name(f"after-{{steps}}")
    shutil.copytree(base, path)
    child = os.fork()
    if child == 0:
        allowed = steps
        try:
            write(path)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, flush=True)
    if code != 9:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("action", ["append", "remove", *long("create", "rebuild")])
def test_a_killed_writer_leaves_the_old_table_or_the_new_one(tmp_path, action):
    limbs = values(70)
    create(tmp_path / "base", limbs[:60])
    done = subprocess.run(
        [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(tmp_path / "base"), action],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    codes = done.stdout.split()
    assert codes[-1] == "0", done.stderr
    assert set(codes[:-1]) == {"9"}
    after = {
        "append": (limbs, ()),
        "remove": (limbs[:60], {7}),
        "create": (values(40, seed=5), ()),
        "rebuild": (limbs[:60], ()),
    }[action]
    generations = []
    for steps in range(len(codes)):
        folder = TableFolder.open(tmp_path / f"after-{steps}")
        generations.append(folder.generation)
        same_answers(folder, *(after if folder.generation else (limbs[:60], ())))
        # Whatever was left behind does not stand in the way of the next writer.
        count = len(folder.table)
        folder.append(limbs[:1], labels(count + 1)[-1:])
        assert len(TableFolder.open(folder.path).table) == count + 1
    assert generations == sorted(generations)
    assert generations[0] == 0
    assert generations[-1] == 1
    assert len(generations) > 4
