"""The user's end: rows in, diagnoses out, with a hospital somewhere in between."""

from __future__ import annotations

import time
from collections.abc import Callable

from ompd.arrays import F64
from ompd.errors import (
    DowngradeError,
    NoAnswerError,
    OmpdError,
    OutdatedRefusalError,
    RefusedError,
)
from ompd.roles import Diagnoses, User
from ompd.schema import Schema
from ompd.wire import MAX_BATCH

#: Rows of the first query, and how many seconds one should take: signatures then cost little beside
#: the rows, and whoever interrupts does not wait for long.
_FIRST = 16_384
_SECONDS = (1.5, 4.0)

REFUSED = "refused by the hospital"
NO_ANSWER = "no answer"


class Asker:
    """Asks one hospital about one disease, for any number of rows and threads.

    Parameters
    ----------
    user : User
    hospital : str
        Id of a hospital that the user has met.
    disease : str
    send : callable
        Takes a query frame to the hospital and returns its answer, or None, as `Desk.answer` does.
        What it raises of `OSError` counts as an answer that was lost.
    schema : Schema, optional
        The hospital's for this disease.
    most : int
        Rows per query at most. Where the hospital refuses that many, halves are tried.
    """

    def __init__(
        self,
        user: User,
        hospital: str,
        disease: str,
        send: Callable[[bytes], bytes | None],
        *,
        schema: Schema | None = None,
        most: int = MAX_BATCH,
    ) -> None:
        self._user = user
        self._hospital = hospital
        self._disease = disease
        self._send = send
        self._schema = schema
        self._most = max(1, most)
        self._size = min(_FIRST, self._most)
        self._answered = False
        self._hopeless = False

    def size(self) -> int:
        """Return how many rows the next call of `ask` should have."""
        return self._size

    def ask(self, values: F64) -> Diagnoses:
        """Return a diagnosis or an error for every row.

        What is lost on the way is sent again, and what the hospital got no answer to is asked
        again, once each. Rows that get none then have an error: "no answer" or "refused by the
        hospital", which does not say why.

        Parameters
        ----------
        values : float64 array of shape (m, n), m at least 1
            In the order of the hospital's schema.

        Raises
        ------
        OmpdError
            As `User.ask`, if no row can be asked at all.
        """
        parts = []
        first = 0
        while first < len(values):
            part = values[first : first + self._size]
            start = time.monotonic()
            found = None if self._hopeless else self._asked(part)
            if found is None and len(part) > 1 and not self._hopeless:
                # Too many, perhaps, or there is one among them that is refused.
                self._most = self._size = min(self._most, -(-len(part) // 2))
                continue
            self._pace(len(part), time.monotonic() - start)
            if found is None:
                # Nobody asks 10^5 times to be refused 10^5 times.
                self._hopeless = not self._answered
                found = Diagnoses.failed(REFUSED, len(part))
            parts.append(found)
            first += len(part)
        return Diagnoses.concatenate(parts)

    def _pace(self, rows: int, seconds: float) -> None:
        """Let later parts be longer or shorter."""
        if rows == self._size and seconds < _SECONDS[0]:
            self._size = min(2 * rows, self._most)
        elif rows == self._size and seconds > _SECONDS[1]:
            self._size = max(1, rows // 2)

    def _asked(self, part: F64) -> Diagnoses | None:
        """Ask about some rows; None if the hospital refuses them."""
        for _ in range(2):
            try:
                query = self._user.ask(self._hospital, self._disease, part, schema=self._schema)
            except OmpdError as error:
                if not self._answered:
                    raise
                return Diagnoses.failed(str(error), len(part))
            answer = self._exchange(query)
            if answer is None:
                return Diagnoses.failed(NO_ANSWER, len(part))
            try:
                found = self._user.read(answer)
            except NoAnswerError:
                self._answered = True
            except OutdatedRefusalError as error:
                if not self._answered:
                    raise
                return Diagnoses.failed(str(error), len(part))
            except RefusedError:
                return None
            except DowngradeError as error:
                return Diagnoses.failed(str(error), len(part))
            except OmpdError:
                # Not what the hospital sent.
                return Diagnoses.failed(NO_ANSWER, len(part))
            else:
                self._answered = True
                return found
        return Diagnoses.failed(NO_ANSWER, len(part))

    def _exchange(self, query: bytes) -> bytes | None:
        """Hand a query in; once more if nothing comes back, which costs the hospital nothing."""
        for _ in range(2):
            try:
                answer = self._send(query)
            except OSError:
                continue
            if answer is not None:
                return answer
        return None
