from __future__ import annotations

import hashlib
import pickle
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.encode import Encoder, EvidenceEncoder
from ompd.encode.evidence.storage import Reader, Writer
from ompd.errors import OmpdError, StoreError
from ompd.schema import Feature, Schema

KINDS = ("numeric", "nominal", "ordinal", "numeric")


def table_of(rows, classes, end=10):
    rng = np.random.default_rng(rows)
    labels = np.arange(rows) % classes
    features = rng.integers(0, 5, (rows, 4)) + labels[:, None].astype(float)
    features[:, 0] = rng.uniform(-1, 1, rows) * end
    features[:, 3] = 7
    schema = Schema(
        tuple(Feature(f"f{j}é", kind, -end, end) for j, kind in enumerate(KINDS)),
        tuple(f"class {c}" for c in range(classes)),
    )
    return schema, features, labels


@pytest.fixture(scope="module")
def fitted():
    schema, features, labels = table_of(30, 3, 10.0)
    return EvidenceEncoder.fit(schema, features, labels)


@pytest.fixture(scope="module")
def stored(fitted):
    return fitted.to_bytes()


def asked(rows=500):
    """Queries of which many have levels and values that no instance had."""
    rng = np.random.default_rng(1)
    queries = rng.integers(-10, 11, (rows, 4)).astype(float)
    queries[:, 0] = rng.uniform(-10, 10, rows)
    return queries


def resigned(body):
    return body + hashlib.blake2b(body, digest_size=32).digest()


def altered(data, edits):
    """Flip, cut out or insert bytes, at places that are shares of the length."""
    for kind, share, what in edits:
        place = int(share * len(data))
        if kind == "flip":
            flipped = bytes(a ^ b for a, b in zip(data[place:], what, strict=False))
            data = data[:place] + flipped + data[place + len(flipped) :]
        else:
            data = data[:place] + (what if kind == "insert" else b"") + data[place + len(what) :]
    return data


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert"]),
        st.one_of(st.floats(0, 1), st.floats(0, 0.05)),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(("rows", "classes", "end"), [(120, 2, 10), (31, 5, 10), (40, 2, 1e200)])
def test_a_restored_encoder_encodes_the_same_integers(rows, classes, end):
    schema, features, labels = table_of(rows, classes, end)
    # The deviation of values near 1e200 is infinite.
    with np.errstate(over="ignore"):
        encoder = EvidenceEncoder.fit(schema, features, labels)
    restored: Encoder = EvidenceEncoder.from_bytes(encoder.to_bytes())
    for queries in (features, asked(), asked(1), asked(0)):
        assert restored.encode(queries).tobytes() == encoder.encode(queries).tobytes()


def test_a_restored_encoder_is_whole_but_for_the_instances(fitted, stored):
    restored = EvidenceEncoder.from_bytes(stored)
    assert restored.schema == fitted.schema
    assert restored.neighbors == fitted.neighbors
    assert restored.coordinates == fitted.coordinates == 3
    assert restored.largest == fitted.largest
    assert restored.instances.shape == (0, 3)
    assert restored.instances.dtype == np.int64
    assert restored.to_bytes() == stored
    copy = pickle.loads(pickle.dumps(restored))
    assert copy.to_bytes() == stored


def test_another_process_needs_no_scikit_learn(fitted, stored, tmp_path):
    (tmp_path / "encoder").write_bytes(stored)
    np.save(tmp_path / "queries.npy", asked())
    program = """if True:
        import sys
        from pathlib import Path
        for name in ("sklearn", "scipy", "threadpoolctl", "joblib"):
            sys.modules[name] = None
        import numpy as np
        from ompd.encode import EvidenceEncoder
        folder = Path(sys.argv[1])
        encoder = EvidenceEncoder.from_bytes((folder / "encoder").read_bytes())
        np.save(folder / "vectors.npy", encoder.encode(np.load(folder / "queries.npy")))
    """
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
    assert (np.load(tmp_path / "vectors.npy") == fitted.encode(asked())).all()


@given(edits=EDITS)
def test_damage_is_found(stored, edits):
    data = altered(stored, edits)
    if data != stored:
        with pytest.raises(StoreError):
            EvidenceEncoder.from_bytes(data)


@given(edits=EDITS)
def test_forgeries_are_refused_or_encode(stored, edits):
    attempt(resigned(altered(stored[:-32], edits)))


@given(
    share=st.floats(0, 1),
    word=st.one_of(
        st.integers(0, 1 << 12),
        st.sampled_from([2**63, 2**64 - 1, 2**63 - 1, 2**61, 2**60 + 1]),
        st.floats(width=64).map(lambda x: struct.unpack("<Q", struct.pack("<d", x))[0]),
    ),
)
def test_forged_numbers_are_refused_or_encode(stored, share, word):
    first = stored.index(b'"classes"')
    start = stored.index(b"}", first) + 1
    # Many of the sizes stand near the start.
    place = start + 8 * int(share**3 * ((len(stored) - 40 - start) // 8))
    attempt(resigned(stored[:place] + word.to_bytes(8, "little") + stored[place + 8 : -32]))


def attempt(data):
    try:
        encoder = EvidenceEncoder.from_bytes(data)
    except StoreError:
        return
    # Whoever forges weights may make them overflow.
    with np.errstate(all="ignore"):
        try:
            vectors = encoder.encode(asked(3))
        except OmpdError:
            return
    assert vectors.shape == (3, encoder.coordinates)
    assert vectors.dtype == np.int64


def test_every_word_that_is_a_size_is_checked(stored):
    start = stored.index(b"}", stored.index(b'"classes"')) + 1
    for place in range(start, start + 8 * 60, 8):
        for word in (2**64 - 1, 2**61, 10**6):
            attempt(resigned(stored[:place] + word.to_bytes(8, "little") + stored[place + 8 : -32]))


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 100])
def test_prefixes_are_refused(stored, length):
    for data in (stored[:length], resigned(stored[:length])):
        with pytest.raises(StoreError):
            EvidenceEncoder.from_bytes(data)


def test_anything_more_is_refused(stored):
    for more in (b"\0", bytes(8), stored):
        for data in (stored + more, more + stored, resigned(stored[:-32] + more)):
            with pytest.raises(StoreError):
                EvidenceEncoder.from_bytes(data)


def test_other_forms_and_versions_are_refused(stored):
    form = b"ompd evidence encoder 2"
    assert stored.count(form) == 1
    for other in (b"ompd evidence encoder 1", b"ompd sealed hints     1"):
        with pytest.raises(StoreError, match="another form"):
            EvidenceEncoder.from_bytes(resigned(stored[:-32].replace(form, other)))


def test_schemas_that_contradict_themselves_are_refused(stored):
    name = "f1é".encode()
    with pytest.raises(StoreError, match="schema"):
        EvidenceEncoder.from_bytes(resigned(stored[:-32].replace(name, "f2é".encode())))


def with_model(encoder, number, **changes):
    models = list(encoder.models)
    models[number] = replace(models[number], **changes)
    return replace(encoder, models=tuple(models))


def of_one_class(encoder):
    """Arrays whose shapes agree, but there is nothing to tell apart."""

    def cut(model):
        if hasattr(model, "linear"):
            return replace(model, linear=cut(model.linear))
        name = "values" if hasattr(model, "values") else "weights"
        less = {name: getattr(model, name)[:, :1]}
        return replace(model, offsets=model.offsets[:1], **less)

    return replace(
        encoder,
        schema=Schema(encoder.schema.features, ("only",)),
        stack=replace(encoder.stack, offsets=encoder.stack.offsets[:1]),
        models=tuple(cut(model) for model in encoder.models),
    )


@pytest.mark.parametrize(
    "forge",
    [
        lambda e: replace(e, neighbors=4),
        of_one_class,
        lambda e: replace(e, schema=Schema(e.schema.features, ("a", "b"))),
        lambda e: replace(e, schema=Schema(e.schema.features[1:], e.schema.classes)),
        lambda e: replace(e, models=e.models[:-1]),
        lambda e: replace(e, models=(*e.models, e.models[-1])),
        lambda e: replace(e, models=e.models[::-1]),
        lambda e: replace(e, stack=replace(e.stack, weights=-e.stack.weights - 1)),
        lambda e: replace(e, stack=replace(e.stack, offsets=e.stack.offsets * np.nan)),
        lambda e: replace(e, columns=replace(e.columns, mean=e.columns.mean + np.inf)),
        lambda e: replace(e, columns=replace(e.columns, scale=e.columns.scale * 0)),
        lambda e: replace(e, columns=replace(e.columns, scale=e.columns.scale * np.nan)),
        lambda e: replace(
            e, columns=replace(e.columns, cuts=tuple(cuts[::-1] for cuts in e.columns.cuts))
        ),
        lambda e: with_model(e, 0, weights=e.models[0].weights[1:]),
        lambda e: with_model(e, 1, weights=np.full_like(e.models[1].weights, np.inf)),
        lambda e: with_model(e, 2, rate=0.0),
        lambda e: with_model(e, 2, rate=np.inf),
        lambda e: with_model(e, 2, landmarks=e.models[2].landmarks[1:]),
        lambda e: with_model(e, 3, depth=len(e.models[3].left)),
        lambda e: with_model(e, 3, roots=e.models[3].roots + len(e.models[3].left)),
        lambda e: with_model(e, 3, left=e.models[3].left + 1),
        lambda e: with_model(e, 3, right=e.models[3].right - 10**6),
        lambda e: with_model(e, 4, feature=e.models[4].feature + 10**6),
        lambda e: with_model(e, 4, shares=2),
        lambda e: with_model(e, 4, threshold=e.models[4].threshold * np.nan),
    ],
)
def test_contents_that_no_encoder_has_are_refused(fitted, forge):
    with pytest.raises(StoreError, match="another form"):
        EvidenceEncoder.from_bytes(forge(fitted).to_bytes())


@pytest.mark.parametrize("data", [None, "text", 5, [], bytearray(80), memoryview(bytes(80))])
def test_only_bytes_are_read(data):
    with pytest.raises(StoreError, match=f"expected bytes, got {type(data).__name__}"):
        EvidenceEncoder.from_bytes(data)


FORM = b"a form"


def read(write, give):
    out = Writer(FORM)
    write(out)
    source = Reader(out.finish(), FORM)
    result = give(source)
    source.end()
    return result


def test_arrays_come_back_with_every_bit(rng):
    for shape in ((), (0,), (5,), (3, 4)):
        floats = rng.normal(size=shape) * 1e300
        places = rng.integers(0, 2**62, shape)
        sizes = [None] * len(shape)
        back = read(lambda out, x=floats: out.floats(x), lambda r, s=sizes: r.floats(*s))
        assert back.shape == shape
        assert back.tobytes() == floats.tobytes()
        assert back.flags.c_contiguous
        assert back.flags.aligned
        back = read(
            lambda out, x=places: out.integers(x), lambda r, s=sizes: r.places(*s, below=2**63)
        )
        assert (back == places).all()
    turned = rng.normal(size=(3, 4)).T
    assert (read(lambda out: out.floats(turned), lambda r: r.floats(4, 3)) == turned).all()


@pytest.mark.parametrize(
    ("write", "give"),
    [
        (lambda out: out.floats(np.zeros(3)), lambda r: r.floats(4)),
        (lambda out: out.floats(np.zeros(3)), lambda r: r.floats(2)),
        (lambda out: out.floats(np.zeros((3, 2))), lambda r: r.floats(2, 3)),
        (lambda out: out.floats(np.zeros(3)), lambda _: None),
        (lambda _: None, lambda r: r.floats(0)),
        (lambda out: out.floats(np.array([1, np.nan])), lambda r: r.floats(2)),
        (lambda out: out.floats(np.array([1, -np.inf])), lambda r: r.floats(None)),
        (lambda out: out.integers(np.array([0, 5])), lambda r: r.places(2, below=5)),
        (lambda out: out.integers(np.array([0, -1])), lambda r: r.places(2, below=5)),
        (lambda out: out.text(b"abc"), lambda r: r.floats(None)),
        # As if it had 2**60 rows of no length.
        (lambda out: out.integers(np.array([2**60, 0])), lambda r: (r.text(), r.floats(None, 0))),
    ],
)
def test_arrays_of_another_shape_or_range_are_refused(write, give):
    with pytest.raises(StoreError):
        read(write, give)


def test_no_size_beside_a_zero_escapes():
    body = b"".join(x.to_bytes(8, "little") for x in (len(FORM),)) + FORM
    for size in (2**60, 2**63, 2**64 - 1):
        data = resigned(body + size.to_bytes(8, "little") + bytes(8))
        with pytest.raises(StoreError):
            Reader(data, FORM).floats(None, 0)


def test_parts_show_no_data(fitted, stored):
    for one in (fitted, EvidenceEncoder.from_bytes(stored)):
        assert repr(one) == "<EvidenceEncoder of 4 features, 3 classes>"
        linear = one.models[2].linear
        for part in (*one.models, linear, one.columns, one.stack):
            kind = type(part)
            assert repr(part) == object.__repr__(part)
            assert repr(part).startswith(f"<{kind.__module__}.{kind.__qualname__} object at")
