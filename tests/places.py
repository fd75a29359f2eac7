"""Where the package under test lies: this checkout, or wherever a wheel was installed."""

from __future__ import annotations

from pathlib import Path

import ompd

#: Holds `tests` and `bench`, so subprocesses start here; in CI's run of the wheel not `ompd`.
ROOT = Path(__file__).parent.parent
PACKAGE = Path(ompd.__path__[0])
