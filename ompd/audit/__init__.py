"""Attacks on what the cloud sees, under each profile, and what they recover.

`run_audit` plays the hospital with given records, hands the cloud's view to the attacks and scores
them; `report` shows the results.
"""

from ompd.audit.report import Result, as_dict, check_plot, plot
from ompd.audit.suites import run_audit

__all__ = ["Result", "as_dict", "check_plot", "plot", "run_audit"]
