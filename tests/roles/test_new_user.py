"""What somebody tries who knows the README and no more, and what they are told."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd
import pytest

import ompd
from ompd import datasets, errors

FEATURES = (
    ompd.Feature("age", "ordinal", 18, 96, unit="years"),
    ompd.Feature("glucose", "numeric", 40, 500, unit="mg/dl", about="fasting"),
    ompd.Feature("smoker", "nominal", 0, 1, levels=("no", "yes")),
    ompd.Feature("Größe", "numeric", 120, 220, unit="cm", missing="median"),
    ompd.Feature("last visit", "ordinal", 0, 12_000, since="2000-01-01"),
)
SCHEMA = ompd.Schema(FEATURES, ("healthy", "diabetes"))


def records(rows=60):
    rng = np.random.default_rng(1)
    ill = np.arange(rows) % 2
    columns = {
        "age": rng.integers(20, 90, rows),
        "glucose": np.round(90 + 80 * ill + rng.normal(0, 15, rows)),
        "smoker": rng.integers(0, 2, rows),
        "Größe": rng.integers(150, 200, rows),
        "last visit": rng.integers(0, 9000, rows),
    }
    labels = [SCHEMA.classes[code] for code in ill]
    return datasets.Dataset.from_arrays(SCHEMA, pd.DataFrame(columns), labels)


class Town:
    """README's three parties with a table, and what goes between them."""

    def __init__(self):
        self.hospital = ompd.Hospital.create("st-mary")
        self.cloud, self.user = ompd.Cloud.create("cloud"), ompd.User.create("alice")
        ompd.introduce(self.hospital, self.cloud, self.user)
        upload = self.hospital.publish("diabetes", records(), cloud="cloud", k=5)
        self.hospital.deliver(upload, self.cloud.store)

    def ask(self, features, disease="diabetes", **options):
        query = self.user.ask("st-mary", disease, features, **options)
        try:
            job = self.hospital.forward(query)
        except ompd.OmpdError:
            return self.user.read(self.hospital.refuse(query))
        return self.user.read(self.hospital.report(self.cloud.answer(job)))


@pytest.fixture(scope="module")
def stranger():
    """A town whose user was told nothing."""
    return Town()


@pytest.fixture(scope="module")
def town():
    """A town whose user knows the catalogue."""
    town = Town()
    town.user.learn(town.hospital.catalogue())
    return town


PERSON = {
    "age": 61, "glucose": 182.0, "smoker": "yes", "Größe": 171, "last visit": "2019-05-04",
}  # fmt: skip


def frame(**changes):
    return pd.DataFrame([PERSON | changes])


def test_a_frame_as_it_is(town):
    diagnosis = town.ask(frame())[0]
    assert diagnosis.label == "diabetes"
    assert diagnosis.filled == 0


@pytest.mark.parametrize(
    "given",
    [
        PERSON,
        pd.Series(PERSON),
        [PERSON],
        frame()[list(PERSON)[::-1]],
        frame(name="Alice", diagnosis="?"),
        frame(smoker=True).replace({True: "yes"}),
        frame(smoker=1),
        frame(age="61"),
        frame(**{"last visit": pd.Timestamp("2019-05-04")}),
        frame(**{"last visit": 7063}),
    ],
)
def test_ways_that_work(town, given):
    assert town.ask(given).probabilities.tolist() == town.ask(frame()).probabilities.tolist()


def test_what_may_be_missing_is_filled(town):
    for gap in (None, np.nan, "", "?"):
        assert town.ask(frame(Größe=gap))[0].filled == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glucose": 10.1}, r"'glucose': expected a value from 40 to 500 mg/dl$"),
        ({"Größe": 1.71}, r"'Größe': expected a value from 120 to 220 cm$"),
        ({"smoker": "ja"}, r"'smoker': expected one of 'no', 'yes', got another text$"),
        ({"smoker": "Yes"}, r"'smoker': expected one of 'no', 'yes', got another text$"),
        ({"age": 61.5}, r"'age': expected a whole number$"),
        ({"age": None}, r"'age': expected a finite number, got a missing or infinite one$"),
        ({"age": np.inf}, r"'age': expected a finite number"),
        ({"glucose": "high"}, r"'glucose': expected a number from 40 to 500 mg/dl, got no number$"),
        (
            {"last visit": "1999-12-31"},
            r"'last visit': expected a value from 0 to 12000 days since 2000-01-01$",
        ),
        ({"last visit": "4.5.2019"}, r"'last visit': expected a whole number of days since 2000"),
    ],
)
def test_values_that_cannot_be_meant(town, changes, message):
    with pytest.raises(errors.FeatureError, match=r"row 0, feature " + message) as caught:
        town.ask(frame(**changes))
    for value in changes.values():
        assert not re.search(rf"\b{re.escape(str(value))}\b", str(caught.value))


@pytest.mark.parametrize("name", ["Age", "age ", "AGE", "a.g.e"])
def test_names_that_are_almost_right(town, name):
    with pytest.raises(errors.FeatureError, match="a value of 'age'; the name in place 0 is writ"):
        town.ask(frame().rename(columns={"age": name}))


def test_names_typed_on_another_keyboard(town):
    decomposed = unicodedata.normalize("NFD", "Größe")
    with pytest.raises(errors.FeatureError, match="a value of 'Größe'; the name in place 3"):
        town.ask(frame().rename(columns={"Größe": decomposed}))


def test_a_file_read_without_its_header_shows_nobody(town):
    table = pd.DataFrame([[62, 170.0, "no", 180, 10]], columns=["61", "182.0", "yes", "171", "63"])
    with pytest.raises(errors.FeatureError, match="expected a value of 'age'") as caught:
        town.ask(table)
    assert "182" not in str(caught.value)


def test_a_typo_in_the_disease(town, stranger):
    for name in ("diabetis", "Diabetes"):
        with pytest.raises(errors.UnknownDiseaseError, match="which has 'diabetes'"):
            town.ask(frame(), disease=name)
        with pytest.raises(errors.RefusedError, match="what it takes stands in its catalogue"):
            stranger.ask([[61, 182, 1, 171, 7063]], disease=name)


def test_names_before_anything_was_learned(stranger):
    with pytest.raises(errors.FeatureError, match="learn the hospital's catalogue, pass schema="):
        stranger.ask(frame())
    assert len(stranger.ask([[61, 182, 1, 171, 7063]])) == 1
    assert len(stranger.ask(frame(), schema=stranger.hospital.diseases["diabetes"])) == 1


def test_columns_in_the_wrong_order_without_names(town):
    """Found only if a value falls out of its domain: names are better."""
    with pytest.raises(errors.DomainError, match="feature 'age'"):
        town.ask([[182, 61, 1, 171, 7063]])
    with pytest.raises(errors.FeatureError, match="expected 5 per row, got 4"):
        town.ask([[61, 182, 1, 171]])


def test_things_in_the_wrong_place(town):
    with pytest.raises(errors.ParameterError, match="hospital: expected its id, got Hospital"):
        town.user.ask(town.hospital, "diabetes", frame())
    with pytest.raises(errors.FramingError, match="catalogue: expected bytes, got Hospital"):
        town.user.learn(town.hospital)
    with pytest.raises(errors.UnknownKeyError, match="no party of this id"):
        town.user.ask("st-john", "diabetes", frame())
    with pytest.raises(errors.ParameterError, match="disease: expected a text"):
        town.user.ask("st-mary", None, frame())
    with pytest.raises(errors.FeatureError, match="expected rows of numbers"):
        town.user.ask("st-mary", "diabetes", "patients.csv")
    with pytest.raises(errors.FeatureError, match="expected rows of numbers"):
        town.user.ask("st-mary", "diabetes", None)


def test_whoever_was_not_introduced(town):
    nobody = ompd.User.create("bob")
    with pytest.raises(errors.UnknownKeyError, match="no party of this id is registered"):
        nobody.learn(town.hospital.catalogue())


def test_what_a_user_looks_up(town):
    listing = town.user.diseases("st-mary")["diabetes"]
    assert [(each.name, each.unit) for each in listing.schema.features][:2] == [
        ("age", "years"),
        ("glucose", "mg/dl"),
    ]
    assert (listing.profile, listing.k) == ("sealed", 5)
