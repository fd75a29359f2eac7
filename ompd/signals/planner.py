"""Which units run, in which order: each once per window, however many components need it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ompd.errors import ParameterError
from ompd.signals.components import Component
from ompd.signals.units import UNITS, Unit
from ompd.signals.windows import STREAMS, Samples


class Plan:
    """Units in an order in which each comes after those it needs.

    Parameters
    ----------
    components : sequence of Component
    units : mapping of str to Unit, optional
        All there are.

    Attributes
    ----------
    order : tuple of Unit
    streams : tuple of str
        Names of the streams that are needed.
    runs : Counter
        How often each unit ran.

    Raises
    ------
    ParameterError
        If there is no component, two are of one kind, or what is needed is unknown or needs itself.
    """

    def __init__(
        self, components: Sequence[Component], units: Mapping[str, Unit] | None = None
    ) -> None:
        self._components = tuple(components)
        self._units = UNITS if units is None else units
        kinds = [component.kind for component in self._components]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ParameterError("components: expected at least one, of different kinds")
        self._order: dict[str, Unit] = {}
        self._streams: dict[str, None] = {}
        for component in self._components:
            for name in component.needs:
                self._add(name, ())
        self.order = tuple(self._order.values())
        self.streams = tuple(self._streams)
        self.runs: Counter[str] = Counter()

    def run(self, samples: Mapping[str, Samples]) -> list[float | None]:
        """Run all units for a window; returns what each component says of it.

        Parameters
        ----------
        samples : mapping of str to Samples
            Of each stream.
        """
        made: dict[str, Any] = dict(samples)
        for unit in self.order:
            made[unit.name] = unit.run(*(made[name] for name in unit.needs))
            self.runs[unit.name] += 1
        return [
            component.judge(*(made[name] for name in component.needs))
            for component in self._components
        ]

    def _add(self, name: str, above: tuple[str, ...]) -> None:
        if name in STREAMS:
            self._streams[name] = None
            return
        unit = self._units.get(name)
        if unit is None or name in above:
            raise ParameterError("units: one that is needed is unknown, or needs itself")
        for each in unit.needs:
            self._add(each, (*above, name))
        self._order.setdefault(name, unit)
