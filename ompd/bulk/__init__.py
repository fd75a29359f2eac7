"""Many rows at once: from a table of people to a table of diagnoses, through the roles.

`diagnose` does all of it in one call. Below it are the two ends of a line, for whoever puts a
network in between: `Asker` is the user's and turns rows into frames and answers into `Diagnoses`;
`Desk` is the hospital's and turns query frames into report frames by asking the clouds.
"""

from __future__ import annotations

from ompd.bulk.asker import Asker
from ompd.bulk.call import diagnose
from ompd.bulk.desk import Desk

__all__ = ["Asker", "Desk", "diagnose"]
