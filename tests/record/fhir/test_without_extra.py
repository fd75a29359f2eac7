"""Without the extra `care` the package is there, and says what to install."""

from __future__ import annotations

import subprocess
import sys

from tests.places import ROOT

CODE = """
import sys
for name in ("fhir", "fhir.resources", "ucumvert", "pint", "fpdf", "matplotlib", "pydantic"):
    sys.modules[name] = None
from ompd.errors import BackendUnavailableError
from ompd.record import fhir, exporting, importing
from ompd.record.fhir.resource import resource_of
def tries(call):
    try:
        call()
    except BackendUnavailableError as error:
        assert isinstance(error, ImportError)
        print(error)
tries(lambda: fhir.checked({"resourceType": "Patient"}))
tries(lambda: fhir.is_unit("kg"))
class Empty(dict):
    def list(self):
        return []
tries(lambda: exporting.pdf(Empty()))
print(exporting.table(Empty()).decode("utf-8-sig").strip())
"""


def test_it_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, second, third, table = done.stdout.strip().splitlines()
    for line in (first, second, third):
        assert line.endswith("pip install 'ompd[care]'")
    assert table.startswith("when,kind,id")
