"""Sessions of images in hidden mode: what each cloud gets and opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ompd.audit.views import HiddenImageView
from ompd.images.hidden.concealment import Concealment
from ompd.images.hidden.layout import hidden_geometry
from ompd.images.hidden.material import bits_of, deal_hidden, shuffle
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.operators import Words
from ompd.images.streams import Draws, pixel_mask


class Telling(Concealment):
    """Breaks the rules: remembers its share of the bit of one lane, to open it."""

    told = 0
    lane = 0

    def _extrema(self, others: Words) -> Words:
        bits = super()._extrema(others)
        word, place = divmod(self.lane, 64)
        self.told = int(bits.reshape(-1)[word]) >> place & 1
        return bits


@dataclass(frozen=True)
class HiddenImageScene:
    """One session, and what no cloud knows of it.

    Attributes
    ----------
    image : ndarray of uint8, (height, width)
    views : tuple of HiddenImageView
        Of the leader, and of the other cloud.
    taken : ndarray of bool, (slots,)
        Which cells have a feature.
    lanes : ndarray of int64
        The features' lanes.
    """

    image: npt.NDArray[np.uint8]
    views: tuple[HiddenImageView, HiddenImageView]
    taken: npt.NDArray[np.bool_]
    lanes: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        image: npt.NDArray[np.uint8],
        draws: tuple[Draws, Draws] | None = None,
        lane: int | None = None,
    ) -> Self:
        """Run a session; with `draws` of another one, or telling of a lane, against the rules."""
        size = hidden_geometry(*image.shape)
        draws = (Draws.generate(), Draws.generate()) if draws is None else draws
        data = b"".join(piece.tobytes() for piece in deal_hidden(size, *draws))
        masked = image.astype(np.uint64)
        for each in draws:
            masked += pixel_mask(each.pixel_key(), *image.shape)
        kind = Concealment if lane is None else Telling
        clouds = (
            kind(size, True, draws[0], DrawnMaterial(draws[0])),
            kind(size, False, draws[1], StoredMaterial(np.frombuffer(data, np.uint8))),
        )
        for cloud in clouds:
            if isinstance(cloud, Telling):
                cloud.lane = lane or 0
        sent: dict[tuple[int, int], list[Any]] = {}
        for i, cloud in enumerate(clouds):
            sent[1, i] = [each.copy() for each in cloud.open_chunks(masked)]
        while any(cloud.wanted for cloud in clouds):
            ready = [i for i in range(2) if (clouds[i].wanted, 1 - i) in sent]
            for i in ready:
                answer = clouds[i].advance(sent[clouds[i].wanted, 1 - i])
                if answer is not None:
                    sent[answer[0], i] = [each.copy() for each in answer[1]]
        bits = bits_of(sent[7, 1][2] ^ sent[8, 0][0], size.slots)
        orders = [shuffle(each, size.slots) for each in draws]
        told = [cloud.told for cloud in clouds if isinstance(cloud, Telling)]
        views = []
        for i in range(2):
            received: list[Any] = [masked]
            for number in range(1, 8):
                received += _joined(sent.get((number, 1 - i), []))
                if number < 6:
                    opened = map(_opened, sent[number, 0], sent[number, 1])
                    received += _joined(list(opened))
            # The other's share of the bits to come is uniform before this cloud's is there.
            widths = [8 * each.itemsize if each.itemsize > 1 else 5 for each in received]
            if told:
                received.append(np.array([told[0] ^ told[1]], np.uint8))
                widths.append(1)
            views.append(HiddenImageView(masked, tuple(received), tuple(widths), bits, orders[i]))
        taken = np.zeros(size.slots, np.bool_)
        found = [cloud.found for cloud in clouds if cloud.found is not None]
        lanes = (found[0].numbers + found[1].numbers).astype(np.int64)
        taken[size.slots_of[size.sites_of[lanes]]] = True
        return cls(image, (views[0], views[1]), taken, lanes)


def _joined(arrays: list[Any]) -> list[Any]:
    """Arrays of a round, those of one type in one."""
    kinds = dict.fromkeys(each.dtype for each in arrays)
    return [np.concatenate([a.ravel() for a in arrays if a.dtype == kind]) for kind in kinds]


def _opened(left: Any, right: Any) -> Any:
    """Bits are opened by exclusive or, numbers by addition; of a byte five bits are open."""
    if left.dtype == np.uint64:
        return left ^ right
    return left + right if left.dtype == np.uint32 else (left + right) & np.uint8(31)
