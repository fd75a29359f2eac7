"""The user that asks for the EHR: by the same road as all others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ompd.errors import NoAnswerError, OutdatedError, UnknownDiseaseError
from ompd.roles import Diagnosis, User
from ompd.schema import Schema


class Desk:
    """Asks the hospital that it stands in.

    Parameters
    ----------
    user : User
        One that the hospital has met.
    hospital : str
        The hospital's id.
    catalogue : callable
        Returns the hospital's present catalogue.
    send : async callable
        Takes a query and returns its report or refusal, as the hospital's endpoint for frames does;
        None, or an `OmpdError`, if there is none.
    """

    def __init__(
        self,
        user: User,
        hospital: str,
        catalogue: Callable[[], bytes],
        send: Callable[[bytes], Awaitable[bytes | None]],
    ) -> None:
        self._user = user
        self._hospital = hospital
        self._catalogue = catalogue
        self._send = send
        self._lock = threading.Lock()

    async def schema(self, disease: str) -> Schema:
        """Return what the table of a disease has, as far as this user knows.

        Raises
        ------
        UnknownDiseaseError
            If there is no such table at present.
        """
        return await asyncio.to_thread(self._schema, disease)

    async def learn(self) -> None:
        """Know what the hospital has at present.

        Raises
        ------
        OmpdError
            As `User.learn`.
        """
        await asyncio.to_thread(self._learn)

    async def ask(self, disease: str, values: Mapping[str, Any], schema: Schema) -> Diagnosis:
        """Ask for one patient, by the names of the features.

        Raises
        ------
        OutdatedError
            If the hospital has another table meanwhile.
        NoAnswerError
            If there is no report.
        OmpdError
            As `User.ask`, `User.read` and `send`.
        """

        # Signatures take their time, and the loop has others to serve.
        def query() -> bytes:
            return self._user.ask(self._hospital, disease, values, schema=schema)

        report = await self._send(await asyncio.to_thread(query))
        if report is None:
            raise NoAnswerError("report: the hospital gave none")
        return (await asyncio.to_thread(self._user.read, report))[0]

    def _schema(self, disease: str) -> Schema:
        try:
            known = self._user.diseases(self._hospital)
        except OutdatedError:
            known = {}
        if disease not in known:
            self._learn()
            known = self._user.diseases(self._hospital)
        if disease not in known or known[disease].blind is not None:
            # The hospital asks here for its own patients; nothing of that could be blind.
            raise UnknownDiseaseError("disease: the hospital has no table of it")
        return known[disease].schema

    def _learn(self) -> None:
        # One after the other, or a thread could come with an older one than is known.
        with self._lock:
            self._user.learn(self._catalogue())
