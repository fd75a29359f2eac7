"""One row per message: what it is, who sends it, how long it may be, and what if it comes again."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import NamedTuple

from ompd.wire import aggregates, blind, changes, diagnosis, images, keeping, matches, payments
from ompd.wire.fields import Body

_KIB = 1024
_MIB = 1024 * _KIB
_PEOPLE = ("user", "patient", "physician")


class _Row(NamedTuple):
    number: int
    body: type[Body]
    senders: tuple[str, ...]
    cap: int
    lasting: bool = False
    repeatable: bool = False


@unique
class Kind(IntEnum):
    """What a frame carries.

    Attributes
    ----------
    body : type
        What is inside the envelope.
    senders : tuple of str
        Roles of those who send it.
    lasting : bool
        Whether it stays acceptable for long, and again and again: it may take long to make and
        to transfer, and does nothing when it comes a second time.
    repeatable : bool
        Whether it is a request that is answered again, if all of the frame is the same.
    """

    PAPER_UPLOAD = _Row(0, diagnosis.PaperUpload, ("hospital",), 16 * _MIB, lasting=True)
    QUERY = _Row(1, diagnosis.Query, ("user",), 16 * _MIB, repeatable=True)
    PAPER_JOB = _Row(2, diagnosis.PaperJob, ("hospital",), 256 * _MIB, repeatable=True)
    VERDICT = _Row(3, diagnosis.Verdict, ("cloud",), 16 * _MIB)
    REPORT = _Row(4, diagnosis.Report, ("hospital",), 64 * _MIB)
    REFUSAL = _Row(5, diagnosis.Refusal, ("hospital", "cloud", "authority"), 1 * _KIB)
    RECEIPT = _Row(6, diagnosis.Receipt, ("cloud",), 4 * _KIB, lasting=True)
    HARDENED_UPLOAD = _Row(7, diagnosis.HardenedUpload, ("hospital",), 16 * _MIB, lasting=True)
    HARDENED_JOB = _Row(8, diagnosis.HardenedJob, ("hospital",), 256 * _MIB, repeatable=True)
    SEALED_UPLOAD = _Row(9, diagnosis.SealedUpload, ("hospital",), 2048 * _MIB, lasting=True)
    SEALED_JOB = _Row(10, diagnosis.SealedJob, ("hospital",), 256 * _MIB, repeatable=True)
    SEALED_ANSWER = _Row(11, diagnosis.SealedAnswer, ("cloud",), 2048 * _MIB)
    PAPER_CHANGE = _Row(20, changes.PaperChange, ("hospital",), 256 * _MIB, lasting=True)
    HARDENED_CHANGE = _Row(21, changes.HardenedChange, ("hospital",), 256 * _MIB, lasting=True)
    WITHDRAWAL = _Row(22, changes.Withdrawal, ("hospital",), 4 * _KIB, lasting=True)
    COLLECTION = _Row(30, aggregates.Collection, ("physician",), 64 * _MIB, repeatable=True)
    INVITATION = _Row(31, aggregates.Invitation, ("physician",), 64 * _MIB, lasting=True)
    CONTRIBUTION = _Row(
        32, aggregates.Contribution, ("patient", "hospital"), 16 * _MIB, repeatable=True
    )
    COLLECTION_RECEIPT = _Row(33, aggregates.CollectionReceipt, ("cloud",), 4 * _KIB)
    AGGREGATE_REQUEST = _Row(
        34, aggregates.AggregateRequest, ("physician",), 16 * _MIB, repeatable=True
    )
    AGGREGATE_RESULT = _Row(35, aggregates.AggregateResult, ("cloud",), 16 * _MIB)
    BLIND_KEY = _Row(50, blind.BlindKey, ("user",), 5 * _MIB, repeatable=True)
    BLIND_KEY_RECEIPT = _Row(51, blind.BlindKeyReceipt, ("hospital",), 4 * _KIB)
    BLIND_QUERY = _Row(52, blind.BlindQuery, ("user",), 2 * _MIB, repeatable=True)
    BLIND_REPORT = _Row(53, blind.BlindReport, ("hospital",), 64 * _MIB)

    ACCOUNT_REQUEST = _Row(
        40, payments.AccountRequest, (*_PEOPLE, "company"), 256 * _KIB, repeatable=True
    )
    ACCOUNT_ANSWER = _Row(41, payments.AccountAnswer, ("authority",), 256 * _KIB)
    KEEPING_REQUEST = _Row(
        42, keeping.KeepingRequest, (*_PEOPLE, "company"), 8 * _MIB, repeatable=True
    )
    KEEPING_ANSWER = _Row(43, keeping.KeepingAnswer, ("cloud",), 8 * _MIB)
    IMAGE_KEY = _Row(70, images.ImageKey, ("authority",), 4 * _KIB)
    IMAGE_MATERIAL = _Row(71, images.ImageMaterial, ("authority",), 9 * _MIB)
    IMAGE_TICKET = _Row(72, images.ImageTicket, ("authority",), 4 * _KIB)
    IMAGE_REQUEST = _Row(73, images.ImageRequest, ("patient",), 4 * _KIB)
    IMAGE_SEED = _Row(74, images.ImageSeed, ("cloud",), 4 * _KIB)
    MASKED_IMAGE = _Row(75, images.MaskedImage, ("patient",), 4 * _MIB)
    IMAGE_ROUND = _Row(76, images.ImageRound, ("cloud",), 64 * _MIB)
    IMAGE_CANDIDATES = _Row(77, images.ImageCandidates, ("cloud",), 64 * _MIB)
    IMAGE_POINTS = _Row(78, images.ImagePoints, ("physician",), 16 * _MIB)
    IMAGE_POSES = _Row(79, images.ImagePoses, ("physician",), 16 * _MIB)
    IMAGE_SUMS = _Row(80, images.ImageSums, ("cloud",), 64 * _MIB)
    IMAGE_FEATURES = _Row(81, images.ImageFeatures, ("cloud",), 64 * _MIB)
    MATCH_KEY = _Row(90, matches.MatchKey, ("authority",), 4 * _KIB)
    MATCH_TICKET = _Row(91, matches.MatchTicket, ("authority",), 4 * _KIB)
    TEMPLATES = _Row(92, matches.Templates, ("physician",), 4 * _MIB)
    MATCH_REQUEST = _Row(93, matches.MatchRequest, ("physician",), 4 * _KIB)
    MATCH_ROUND = _Row(94, matches.MatchRound, ("cloud",), 128 * _MIB)
    MATCH_COUNT = _Row(95, matches.MatchCount, ("cloud",), 4 * _KIB)

    body: type[Body]
    senders: tuple[str, ...]
    lasting: bool
    repeatable: bool
    _cap: int

    def __new__(
        cls,
        number: int,
        body: type[Body],
        senders: tuple[str, ...],
        cap: int,
        lasting: bool,
        repeatable: bool,
    ) -> Kind:
        """Make the member of a row."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.body, member.senders, member._cap = body, senders, cap
        member.lasting, member.repeatable = lasting, repeatable
        return member

    @property
    def words(self) -> str:
        """What people call it."""
        return self.name.lower().replace("_", " ")


#: Largest frame that a party reads, per kind, in bytes.
CAPS: dict[Kind, int] = {kind: kind._cap for kind in Kind}
KIND_OF: dict[type[Body], Kind] = {kind.body: kind for kind in Kind}
