"""After warming up no kernel is compiled again, whatever form the arrays come in."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import joblib
import numpy as np
import pytest

from ompd.arrays import LINE, frozen
from ompd.search import LimbTable, WordTable, compute, limbs_of
from tests.places import ROOT

#: Every one compiles in a process of its own.
pytestmark = pytest.mark.long


def signatures():
    """All that is compiled or loaded, by kernel."""
    from numba.core.dispatcher import Dispatcher

    found = {}
    for each in gc.get_objects():
        if isinstance(each, Dispatcher) and each.py_func.__module__.startswith("ompd"):
            name = f"{each.py_func.__module__}.{each.py_func.__name__}"
            found[name] = set(map(str, each.signatures))
    return found


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    room = np.zeros(array.nbytes + 1, np.uint8)
    shifted = room[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    assert shifted.itemsize == 1 or not shifted.flags.aligned
    return shifted


def strided(array):
    return np.repeat(array, 2, axis=0)[::2]


#: Forms in which arrays come from users, frames and files.
FORMS = (np.array, read_only, unaligned, np.asfortranarray, strided)


def use_profiles(folder):
    from ompd.commands.demo_run import run_demo

    for profile in ("paper", "hardened", "sealed", "blind"):
        run_demo(profile=profile, queries=4)


def use_estimators(folder):
    from ompd.datasets import load
    from ompd.estimator import EvidenceClassifier, ReliefMWClassifier

    train, test = load("wbc").split(seed=1)
    for model in (ReliefMWClassifier(schema=train.schema), EvidenceClassifier()):
        model.fit(read_only(train.features)[:200], read_only(train.labels)[:200])
        joblib.dump(model, folder / "model")
        others = [copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        others += [joblib.load(folder / "model", mmap_mode=mode) for mode in (None, "r", "c")]
        asked = test.features[:3]
        for other in others:
            for form in FORMS:
                assert (other.predict(form(asked)) == model.predict(asked)).all()
                assert (other.predict_proba(form(asked)) == model.predict_proba(asked)).all()


def use_search(folder):
    from ompd.search import ballots, choose_k, classify, vote
    from ompd.stores import TableFolder

    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 40, (3000, 4))
    labels = rng.integers(0, 20, 3000)
    limbs = limbs_of(values)
    strange = limbs_of(values[:2] * 4)

    def fill(part, first):
        part[:] = limbs[first : first + len(part)]

    stored = TableFolder.create(folder / "table", limbs.shape, labels, 20, fill)
    table = LimbTable(limbs, labels, 20)
    grown = table.extended(read_only(strange), labels[:2]).without(np.array([7]))
    stored.append(strange, labels[:2])
    stored.remove(np.array([7]))
    opened = TableFolder.open(folder / "table")
    opened.rebuild()
    tables = [table, grown, pickle.loads(pickle.dumps(grown)), stored.table, opened.table]
    for each in tables:
        for form in (np.array, read_only, unaligned):
            asked = form(limbs[:5])
            distances, rows = compute(each, asked, 3, exclude=form(np.arange(5)))
            vote(each, form(distances), form(rows))
            for k in (3, 33):
                ballots(each, asked, None, None, k)
                classify(each, asked, None, None, k)
    choose_k(LimbTable(limbs, labels % 2, 2), held_out=20)
    for form in FORMS:
        ring = WordTable.of(form(values.astype(np.uint64)), labels, 20)
        ring = pickle.loads(pickle.dumps(ring))
        compute(ring.table, ring.queries(form(values[:3].astype(np.uint64))), 3)


def use_sealed(folder):
    from ompd.sealed import Change, SealedTable, answer

    rng = np.random.default_rng(1)
    rows = rng.integers(0, 1 << 20, (3000, 3))
    labels = rng.integers(0, 2, 3000)
    for number, form in enumerate(FORMS):
        table, stored = SealedTable.build(form(rows), form(labels), 2, 3, changes=True)
        assert table.layout.fetches

        def ask(table, queries, cloud):
            request, ticket = table.ask(queries)
            table.read(ticket, answer(cloud, table.layout, request))
            table.read(table.ask_whole(queries), bytes(cloud))

        for asked in FORMS:
            ask(table, asked(rows[:2]), stored)
        none = labels[:0]
        table.edit(Change(form(np.array([3, 7])), none, none, 3000, form(rows[:2]), labels[:2]), 1)
        ask(table, rows[:2], stored)
        table.merged(stored)
        table.save(folder / str(number))
        table.close()
        with SealedTable.open(folder / str(number)) as table:
            ask(table, rows[:2], bytes(stored))
            for cloud in (stored, bytes(stored), bytearray(bytes(stored))):
                table.renew(cloud)
                ask(table, rows[:2], cloud)


def use_aggregates(folder):
    from ompd.aggregate import (
        Ciphertext,
        Evaluator,
        PublicKey,
        decrypt,
        encrypt,
        encrypt_secretly,
        keygen,
        mapped,
        residues,
    )
    from ompd.aggregate.keys import SecretKey

    for packing in ("coefficients", "slots"):
        first, _ = keygen(1, 1000, packing)
        public = PublicKey.from_bytes(first.public.to_bytes())
        secret = SecretKey.from_bytes(first.to_bytes(), public)
        ev = Evaluator(public)
        for form in FORMS:
            values = form(np.arange(6))
            sent = [encrypt(public, values, bound=5), encrypt_secretly(secret, values, bound=5)]
            a, b = (Ciphertext.from_bytes(each.to_bytes(), public.context) for each in sent)
            product = ev.add_plain(ev.multiply(a, b), values, bound=5)
            total = ev.subtract(ev.dot([a, b], [b, a]), ev.multiply_plain(a, values, bound=5))
            for made in mapped(ev.finish, [product, total, ev.sum([a, b, a])]):
                decrypt(secret, Ciphertext.from_bytes(made.to_bytes(), public.context))
            residues(secret, ev.finish(a, mask=values))


def use_the_rest(folder):
    from ompd.blind import LaplaceNoise
    from ompd.blind.keys import PaperKey
    from ompd.blind.paper import blind_queries, blind_table
    from ompd.encode import relief_weights
    from ompd.params import PAPER
    from ompd.search import classify
    from ompd.search.conversion import Modulus

    rng = np.random.default_rng(1)
    rows = rng.integers(0, 1 << 10, (50, 4))
    labels = rng.integers(0, 2, 50)
    key = PaperKey.generate(PAPER, 6, 1 << 10)
    for form in FORMS:
        LaplaceNoise.generate(Fraction(1)).instances(form(rows))
        table = LimbTable(blind_table(key, form(rows)), labels, 2)
        sent = blind_queries(key, form(rows[:3]))
        modulus = Modulus.of(key.modulus, PAPER.limbs)
        shaped = read_only if form in (np.array, read_only) else np.array
        classify(table, shaped(sent.points), shaped(sent.tokens), modulus, 3)
        for samples in (None, 20):
            relief_weights(
                form(rows), form(labels), classes=2, nominal=form(np.arange(4) < 2),
                feature_bits=16, weight_bits=16, samples=samples,
            )  # fmt: skip


def use_the_reader(folder):
    from ompd.datasets import load
    from ompd.datasets._blocks import FAST_BYTES
    from ompd.schema import Schema

    for separator, ident in ((",", "pid"), (";", "")):
        rows = [f"P{i:06},{i / 7},{i % 9},?,a,{'no' if i % 3 else 'yes'}" for i in range(20_000)]
        text = "\n".join(["pid,x,y,z,w,label", *rows]).replace(",", separator)
        assert len(text) > FAST_BYTES
        (folder / "own.csv").write_text(text)
        schema = Schema.infer(folder / "own.csv", id=ident)
        assert len(load(folder / "own.csv", schema, errors="collect")) == 20_000


def use_images(folder):
    from tests.images.runs import run as extract
    from tests.images.runs import texture

    for form in FORMS:
        extract(form(texture(33, 40, 1)))
    extract(texture(70, 20, 2, np.uint16))


def run(name, folder):
    import warnings

    import ompd

    warnings.simplefilter("ignore")
    ompd.warmup()
    before = signatures()
    globals()[name](Path(folder))
    for kernel, compiled in signatures().items():
        for each in compiled - before.get(kernel, set()):
            print(kernel, each)


def check(name, folder):
    code = f"from tests.test_compiled_once import run; run({name!r}, {str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_all_profiles(tmp_path):
    check("use_profiles", tmp_path)


@pytest.mark.long
def test_estimators_that_were_pickled_copied_or_mapped(tmp_path):
    check("use_estimators", tmp_path)


def test_tables_and_queries_of_the_search(tmp_path):
    check("use_search", tmp_path)


def test_sealed_tables_renewed_and_reopened(tmp_path):
    check("use_sealed", tmp_path)


def test_large_files(tmp_path):
    check("use_the_reader", tmp_path)


def test_aggregates(tmp_path):
    check("use_aggregates", tmp_path)


def test_blinding_and_training(tmp_path):
    check("use_the_rest", tmp_path)


def test_images(tmp_path):
    check("use_images", tmp_path)


def test_flags_and_alignment_survive_pickling_and_copying():
    table = LimbTable(limbs_of(np.arange(8000).reshape(4000, 2)), np.zeros(4000, np.int64), 1)
    grown = table.extended(limbs_of(np.array([[1, 2], [9000, 9000]])), np.zeros(2, np.int64))
    for each in (grown.without(np.array([5])), grown):
        copies = [pickle.loads(pickle.dumps(each)), copy.copy(each), copy.deepcopy(each)]
        buffers = []
        outside = pickle.dumps(each, protocol=5, buffer_callback=buffers.append)
        copies.append(pickle.loads(outside, buffers=buffers))
        for other in (each, *copies):
            arrays = [getattr(other.index, name) for name in other.index.__slots__]
            arrays = [array for array in arrays if isinstance(array, np.ndarray)]
            assert len(arrays) == 10
            for array in (*arrays, other.limbs, other.labels):
                assert not array.flags.writeable
                assert array.flags.c_contiguous
                assert array.flags.aligned
            for name in ("heads", "leaf_boxes", "group_boxes", "tail_heads"):
                assert getattr(other.index, name).ctypes.data % LINE == 0
            assert (other.limbs == each.limbs).all()
            assert other.index.removed == each.index.removed
            asked = limbs_of(np.array([[9, 10]]))
            assert (compute(other, asked, 5)[1] == compute(each, asked, 5)[1]).all()


def test_frozen_copies_only_what_it_must():
    array = np.arange(6, dtype=np.uint64).reshape(2, 3)
    for form in (np.array, read_only):
        given = form(array)
        assert np.shares_memory(frozen(given), given)
    for form in (unaligned, np.asfortranarray):
        given = form(array)
        kept = frozen(given)
        assert not np.shares_memory(kept, given)
        assert (kept == array).all()
        assert kept.flags.aligned
        assert kept.flags.c_contiguous
    assert array.flags.writeable
    assert not frozen(array).flags.writeable
