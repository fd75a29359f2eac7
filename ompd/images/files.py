"""Images from files: DICOM, PNG and NumPy, as grey levels from black to white."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.errors import BackendUnavailableError, ImageError

#: Shares of the pixels of a DICOM file below black and above white, where it names no window.
_DARK, _BRIGHT = 0.01, 0.99


def read_image(path: str | os.PathLike[str], depth: int = 8) -> npt.NDArray[Any]:
    """Return an image in grey levels.

    Parameters
    ----------
    path : path
        A ``.npy`` file of uint8 or uint16, which is taken as it is; a ``.dcm`` file, or one
        without a suffix, whose pixels are spread so that one in a hundred is black and one white;
        or any file that OpenCV reads.
    depth : {8, 16}
        Bits of a pixel; for what is no ``.npy`` file.

    Returns
    -------
    ndarray of uint8 or uint16, (height, width)

    Raises
    ------
    ImageError
        If it cannot be read, or is no image of grey levels or colours.
    BackendUnavailableError
        If the extra ``images`` is not installed and needed.
    """
    if depth not in (8, 16):
        raise ImageError("depth: expected 8 or 16")
    place = Path(path)
    if not place.is_file():
        raise ImageError("path: expected a file")
    if place.suffix == ".npy":
        return _array(place)
    if place.suffix.lower() in {".dcm", ".dicom", ""}:
        return _spread(_dicom(place), depth)
    return _picture(place, depth)


def _array(place: Path) -> npt.NDArray[Any]:
    found = None
    with contextlib.suppress(OSError, ValueError, EOFError):
        found = np.load(place, allow_pickle=False)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype not in ("u1", "u2"):
        raise ImageError("path: expected an array of two dimensions, of uint8 or uint16")
    return found


def _dicom(place: Path) -> npt.NDArray[np.float64]:
    try:
        import pydicom
    except ImportError:
        raise BackendUnavailableError("DICOM files need more: pip install 'ompd[images]'") from None
    values: Any = None
    inverted = False
    # Whatever is wrong in a file of somebody else: its text could quote the patient.
    with contextlib.suppress(Exception):
        content = pydicom.dcmread(place)
        values = content.pixel_array.astype(np.float64)
        inverted = content.get("PhotometricInterpretation") == "MONOCHROME1"
        if values.ndim == 3 and content.get("SamplesPerPixel", 1) > 1:
            values = values.mean(axis=2)
        if values.ndim > 2:
            values = values[0]
    if values is None or values.ndim != 2:
        raise ImageError("path: expected a DICOM file with pixels that can be read")
    levels: npt.NDArray[np.float64] = -values if inverted else values
    return levels


def _spread(values: npt.NDArray[np.float64], depth: int) -> npt.NDArray[Any]:
    low, high = np.quantile(values, (_DARK, _BRIGHT))
    if high <= low:
        low, high = values.min(), values.max() + 1
    white = (1 << depth) - 1
    levels = np.rint(np.clip((values - low) / (high - low), 0, 1) * white)
    kind: type = np.uint8 if depth == 8 else np.uint16
    found: npt.NDArray[Any] = levels.astype(kind)
    return found


def _picture(place: Path, depth: int) -> npt.NDArray[Any]:
    try:
        import cv2
    except ImportError:
        raise BackendUnavailableError("pictures need more: pip install 'ompd[images]'") from None
    found: Any = cv2.imread(str(place), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if found is None or found.dtype not in ("u1", "u2"):
        raise ImageError("path: expected a picture that OpenCV reads")
    picture: npt.NDArray[Any] = np.asarray(found)
    if depth == 8 and picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    elif depth == 16 and picture.dtype == np.uint8:
        picture = picture.astype(np.uint16) * np.uint16(257)
    return picture
