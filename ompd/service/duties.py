"""What a hospital does beside answering: windows, merges, uploads that wait, keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ompd.errors import UnreachableError
from ompd.roles import Hospital
from ompd.roles.windows import Due
from ompd.service.acquaintance import meet_again, renew_prekey
from ompd.service.crew import Crew
from ompd.service.journal import Journal
from ompd.service.link import Link
from ompd.service.uploading import Uploading
from ompd.wire import answer_cap

#: Seconds between looks at what is due.
_LOOK = 1.0
#: Looks between tries to deliver what was interrupted.
_RESEND = 30
#: Seconds between looks at keys; and at first where a cloud was not reached, which doubles.
_KEYS = 600.0
_SOON = 2.0


class Duties:
    """Does what is due, each in the background, so that answers go on.

    Parameters
    ----------
    hospital : Hospital
    link : Link
    uploading : Uploading
    crew : Crew
        Where the long work is done: not where queries are.
    journal : Journal
    """

    def __init__(
        self,
        hospital: Hospital,
        link: Link,
        uploading: Uploading,
        crew: Crew,
        journal: Journal,
    ) -> None:
        self._hospital = hospital
        self._link = link
        self._uploading = uploading
        self._crew = crew
        self._journal = journal
        self._tasks: dict[Due, asyncio.Task[None]] = {}

    async def run(self, clouds: list[str]) -> None:
        """Work until it is cancelled."""
        keys = [asyncio.ensure_future(self._keep_met(cloud)) for cloud in clouds]
        keys.append(asyncio.ensure_future(self._keep_own()))
        looks = 0
        try:
            while True:
                try:
                    due = await self._crew.do(self._hospital.due)
                    if looks % _RESEND == 0:
                        # What an earlier process could not deliver, or nobody could.
                        left = set(self._hospital.unconfirmed) - self._uploading.delivering
                        due += [Due(disease, "resend") for disease in left]
                except Exception as error:
                    self._journal.trouble("what is due is not known", error)
                else:
                    for each in due:
                        self._begin(each)
                looks += 1
                await asyncio.sleep(_LOOK)
        finally:
            for task in [*keys, *self._tasks.values()]:
                task.cancel()

    def _begin(self, due: Due) -> None:
        if due not in self._tasks:
            task = asyncio.ensure_future(self._do(due))
            self._tasks[due] = task
            task.add_done_callback(lambda _: self._tasks.pop(due, None))

    async def _do(self, due: Due) -> None:
        try:
            await {"renew": self._renew, "merge": self._merge, "resend": self._resend}[due.what](
                due.disease
            )
        except Exception as error:
            self._told(due, "failed")
            self._journal.trouble(f"{due.what} failed", error, disease=due.disease)
        else:
            self._told(due, "done")

    def _told(self, due: Due, outcome: str) -> None:
        metrics = self._journal.metrics
        count = {"renew": metrics.renewed, "merge": metrics.merged, "resend": metrics.uploaded}
        count[due.what]("done" if outcome == "done" else "failed")
        self._journal.event(due.what, due.disease, outcome)

    async def _renew(self, disease: str) -> None:
        with self._journal.metrics.timed("renew"):
            answer = await self._whole(disease, self._hospital.renew)
            await self._crew.do(self._hospital.renewed, answer)

    async def _merge(self, disease: str) -> None:
        answer = await self._whole(disease, self._hospital.merge)
        upload = await self._crew.do(self._hospital.merged, answer)
        del answer
        await self._uploading.deliver(disease, upload)

    async def _resend(self, disease: str) -> None:
        upload = await self._crew.do(self._hospital.resend, disease)
        await self._uploading.deliver(disease, upload)

    async def _whole(self, disease: str, request: Callable[[str], bytes]) -> bytes:
        """Ask for a whole table."""
        table = self._hospital.tables[disease]
        _, numbers = table.retrieval.whole()
        frame = await self._crew.do(request, disease)
        return await self._link.ask(table.cloud, frame, answer_cap(numbers))

    async def _keep_met(self, cloud: str) -> None:
        """Know the present short-lived key of a cloud, and let it know the own one."""
        pause = _SOON
        while True:
            found = None
            try:
                found = await self._link.identity(cloud)
                await self._crew.do(meet_again, self._hospital.directory, cloud, found)
                # After a restore, what the cloud has opens nothing any more.
                await self._link.introduce(cloud, self._hospital.public.to_bytes())
            except Exception as error:
                if found is None and isinstance(error, UnreachableError):
                    # It may start later; queries that need it meanwhile are told as troubles.
                    self._journal.log.warning("a cloud is away", cloud=cloud)
                else:
                    self._journal.trouble("a cloud's keys are not known", error, cloud=cloud)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _KEYS)
            else:
                pause = _SOON
                await asyncio.sleep(_KEYS)

    async def _keep_own(self) -> None:
        """Have a short-lived key that is valid for a while."""
        while True:
            try:
                if await self._crew.do(renew_prekey, self._hospital):
                    self._journal.event("rotate", "", "done")
            except Exception as error:
                self._journal.trouble("a short-lived key cannot be made", error)
            await asyncio.sleep(_KEYS)
