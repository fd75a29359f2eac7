"""Hints on disk: never there twice, never there while they are used."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from ompd.errors import HintStateError, WindowExhaustedError
from ompd.sealed import Layout, SealedTable, answer
from ompd.sealed.folder import _read
from ompd.sealed.offsets import vectors_of
from tests.sealed.conftest import SMALL, clustered, naive


@pytest.fixture
def saved(small, tmp_path):
    """A closed table with 9 of 12 queries left: (folder, ciphertexts, vectors, labels)."""
    table, ciphertexts, vectors, labels = small
    table.save(tmp_path / "table")
    for row in range(3):
        request, ticket = table.ask(vectors[row : row + 1])
        table.read(ticket, answer(ciphertexts, SMALL, request))
    table.close()
    return tmp_path / "table", ciphertexts, vectors, labels


def hint_columns(table):
    """The primary hints as byte strings."""
    hints = table._window.hints
    vectors = vectors_of(hints._stream, hints.numbers, hints.patched, table.layout)
    return {vector.tobytes() for vector in vectors}


def test_closed_tables_go_on(saved):
    folder, ciphertexts, vectors, labels = saved
    for left in (9, 8, 7):
        with SealedTable.open(folder) as table:
            assert table.remaining == left
            assert (table.layout, table.classes, table.k) == (SMALL, 3, 5)
            request, ticket = table.ask(vectors[left * 40 : left * 40 + 1])
            found = table.read(ticket, answer(ciphertexts, SMALL, request))
            if found.certified[0]:
                expected = naive(vectors, labels, vectors[left * 40], 5)
                assert found.rows[0].tolist() == expected[2]
            assert found.distances[0, 0] == 0


def test_whole_tables_are_kept_too(rng, tmp_path):
    vectors, labels = clustered(rng, 50)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, context=b"here")
    table.save(tmp_path / "table")
    table.close()
    with SealedTable.open(tmp_path / "table") as again:
        request, ticket = again.ask(vectors[:2])
        found = again.read(ticket, answer(ciphertexts, again.layout, request))
        assert found.rows[:, 0].tolist() == [0, 1]
        assert again.remaining > 10**9


def test_no_hints_on_disk_while_the_table_is_open(saved):
    folder, *_ = saved
    assert {path.name for path in folder.iterdir()} == {"table", "hints", "closed", "lock"}
    table = SealedTable.open(folder)
    assert {path.name for path in folder.iterdir()} == {"table", "lock"}
    table.close()


def test_files_are_for_the_owner_only(saved):
    folder, *_ = saved
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lost_hints_need_a_new_window(saved):
    folder, ciphertexts, vectors, _ = saved
    # The process ends without closing.
    table = SealedTable.open(folder)
    old = hint_columns(table)
    del table
    table = SealedTable.open(folder)
    assert table.remaining == 0
    with pytest.raises(WindowExhaustedError):
        table.ask(vectors[:1])
    table.renew(ciphertexts)
    assert table.remaining == SMALL.window
    assert not hint_columns(table) & old
    request, ticket = table.ask(vectors[:1])
    assert table.read(ticket, answer(ciphertexts, SMALL, request)).distances[0, 0] == 0
    table.close()


def test_one_process_at_a_time(saved):
    folder, *_ = saved
    table = SealedTable.open(folder)
    with pytest.raises(HintStateError):
        SealedTable.open(folder)
    table.close()
    SealedTable.open(folder).close()


def test_a_closed_table_is_at_its_end(saved):
    folder, ciphertexts, vectors, _ = saved
    table = SealedTable.open(folder)
    request, ticket = table.ask(vectors[:1])
    table.close()
    table.close()
    assert table.remaining == 0
    for call in (
        lambda: table.ask(vectors[:1]),
        lambda: table.read(ticket, answer(ciphertexts, SMALL, request)),
        lambda: table.abandon(ticket),
        lambda: table.renew(ciphertexts),
        lambda: table.save(folder.parent / "other"),
    ):
        with pytest.raises(HintStateError):
            call()
    # The request that was given up took its query with it.
    with SealedTable.open(folder) as again:
        assert again.remaining == 8


def test_what_was_lost_is_remembered_on_disk(saved):
    folder, _, vectors, _ = saved
    with SealedTable.open(folder) as table:
        _, ticket = table.ask(vectors[300:301])
        places = ticket.asked.records[:, 1].tolist()
    with SealedTable.open(folder) as table:
        assert (table._window.hints.owed[places] == 2).all()
        # A second one in a row is too much for so small a window, whenever it is noticed.
        table.ask(vectors[300:301])
    with SealedTable.open(folder) as table:
        assert table.remaining == 0
        assert table._window.hints is None


def test_what_the_system_refuses_is_an_error_of_the_hints(saved, tmp_path):
    folder, ciphertexts, *_ = saved
    # Folders where files should be can be neither read, removed nor replaced.
    good = (folder / "hints").read_bytes()
    (folder / "hints").unlink()
    (folder / "hints").mkdir()
    for fresh in (False, True):
        with pytest.raises(HintStateError):
            SealedTable.open(folder, fresh=fresh)
    (folder / "hints").rmdir()
    (folder / "hints").write_bytes(good)
    table = SealedTable.open(folder, fresh=True)
    table.renew(ciphertexts)
    (folder / "hints").mkdir()
    with pytest.raises(HintStateError):
        table.close()


def test_saving_needs_an_empty_folder_and_happens_once(small, tmp_path):
    table, _, vectors, labels = small
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    (tmp_path / "file").touch()
    for wrong in ("full", "file", "missing/table"):
        with pytest.raises(HintStateError):
            table.save(tmp_path / wrong)
    table.save(tmp_path / "table")
    with pytest.raises(HintStateError):
        table.save(tmp_path / "second")
    other, _ = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    with pytest.raises(HintStateError):
        other.save(tmp_path / "table")
    table.close()


def restore(copy, folder, names):
    for name in names:
        (folder / name).unlink(missing_ok=True)
        shutil.copy2(copy / name, folder / name)


@pytest.mark.parametrize("names", [("hints", "closed"), ("closed",), ("table", "hints", "closed")])
@pytest.mark.parametrize("again", [False, True])
def test_an_old_copy_put_back_is_refused(saved, tmp_path, names, again):
    folder, ciphertexts, vectors, _ = saved
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with SealedTable.open(folder) as table:
        old = hint_columns(table)
        table.ask(vectors[:1])
        if not again:
            # A crash: nothing is put back by the process itself.
            table._folder._lock.release()
            table._folder = None
    restore(copy, folder, names)
    with pytest.raises(HintStateError):
        SealedTable.open(folder)
    with SealedTable.open(folder, fresh=True) as table:
        assert table.remaining == 0
        table.renew(ciphertexts)
        assert not hint_columns(table) & old


def test_a_whole_folder_from_a_copy_is_refused(saved, tmp_path):
    folder, *_ = saved
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    for place in (copy, folder):
        with pytest.raises(HintStateError):
            SealedTable.open(place)


def test_hints_without_the_note_of_closing_are_ignored(saved, tmp_path):
    folder, *_ = saved
    shutil.copy2(folder / "hints", tmp_path / "hints")
    SealedTable.open(folder)
    shutil.copy2(tmp_path / "hints", folder / "hints")
    with SealedTable.open(folder) as table:
        assert table.remaining == 0
        assert not (folder / "hints").exists()


@pytest.mark.parametrize("name", ["table", "hints", "closed"])
def test_damage_is_noticed(saved, name):
    folder, *_ = saved
    path = folder / name
    good = path.read_bytes()
    for position in (0, 20, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[position] ^= 4
        # In place, so that only the content differs.
        with path.open("r+b") as file:
            file.write(bad)
        with pytest.raises(HintStateError):
            SealedTable.open(folder)
    for cut in (0, 10, len(good) - 1):
        os.truncate(path, cut)
        with pytest.raises(HintStateError):
            SealedTable.open(folder)
    path.unlink()
    if name == "closed":
        assert SealedTable.open(folder).remaining == 0
    else:
        with pytest.raises(HintStateError):
            SealedTable.open(folder)


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(HintStateError):
        SealedTable.open(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HintStateError):
        SealedTable.open(tmp_path / "empty")


def test_hints_of_another_table_are_refused(saved, rng, tmp_path):
    folder, *_ = saved
    vectors, labels = clustered(rng, 600)
    other, _ = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    other.save(tmp_path / "other")
    other.close()
    for name in ("hints", "closed"):
        os.replace(tmp_path / "other" / name, folder / name)
    with pytest.raises(HintStateError):
        SealedTable.open(folder)


# Forks twenty hospitals, one after the other, and kills each in the middle of its queries. They
# log what they send.
KILLER = """
import os
import random
import signal
import sys
import time

import numpy as np
from ompd.sealed.folder import _read
from ompd.sealed import SealedTable, answer

folder, data, log = sys.argv[1:]
ciphertexts = np.load(data + "/ciphertexts.npy")
vectors = np.load(data + "/vectors.npy")


def hospital(rounds, sent):
    table = SealedTable.open(folder)
    for row in range(rounds):
        if not table.remaining:
            table.renew(ciphertexts)
        request, ticket = table.ask(vectors[7 * row % 600 : 7 * row % 600 + 1])
        os.write(sent, request)
        table.read(ticket, answer(ciphertexts, table.layout, request))
        if row % 5 == 4:
            table.close()
            table = SealedTable.open(folder)
    table.close()


sent = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
hospital(6, sent)
one = os.fstat(sent).st_size // 6
for _ in range(20):
    enough = os.fstat(sent).st_size + random.randint(5, 12) * one
    child = os.fork()
    if child == 0:
        hospital(10**6, sent)
        os._exit(1)
    while os.fstat(sent).st_size < enough:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_no_hint_is_used_twice_across_twenty_kills(rng, tmp_path):
    vectors, labels = clustered(rng, 600)
    # Long vectors, so that none comes twice by chance.
    layout = Layout(128, 128, 16, 8, 6, 6)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=layout)
    table.save(tmp_path / "table")
    table.close()
    np.save(tmp_path / "ciphertexts.npy", ciphertexts)
    np.save(tmp_path / "vectors.npy", vectors)
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLER, tmp_path / "table", tmp_path, log],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    used = np.frombuffer(log.read_bytes(), dtype=layout.offset_type).reshape(-1, layout.chunks)
    assert len(used) > 100
    # Whoever uses a hint twice sends two vectors that agree in all chunks but one or two.
    alike = sum(used[:, part, np.newaxis] == used[:, part] for part in range(layout.chunks))
    np.fill_diagonal(alike, 0)
    assert alike.max() < layout.chunks - 2


def test_marker_names_what_it_belongs_to(saved):
    folder, *_ = saved
    marker, _, _ = _read(folder / "closed")
    status = (folder / "hints").stat()
    assert marker["inode"] == status.st_ino
    assert marker["changed"] == status.st_ctime_ns
    assert marker["left"] == 9
