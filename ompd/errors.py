"""Every error that `ompd` raises on purpose.

All of them derive from `OmpdError` and from the builtin that fits best, so that both
``except OmpdError`` and ``except ValueError`` do what a reader expects. A message names the
parameter, what was expected and the *type, shape or bit length* of what came; it never carries
a patient's value or secret material.
"""

from __future__ import annotations


class OmpdError(Exception):
    """Root of all errors raised by this package."""


# --- what comes over the wire ------------------------------------------------------------------


class FrameError(OmpdError, ValueError):
    """A received frame cannot be accepted."""


class FramingError(FrameError):
    """The frame is cut, has trailing bytes or is not of the declared form."""


class TooLargeError(FrameError):
    """The frame, batch or table is above its cap."""


class NonCanonicalError(FrameError):
    """The bytes decode, but would not be encoded that way."""


class RangeError(FrameError):
    """An integer or coordinate is outside the range that its place allows."""


class ReplayError(FrameError):
    """The same frame was received before."""


class ExpiredError(FrameError):
    """The frame's timestamp is outside the accepted window."""


class ReflectionError(FrameError):
    """A party received a frame that carries its own sender id."""


class WrongRecipientError(FrameError):
    """The frame is addressed to another party."""


class ContextMismatchError(FrameError):
    """The frame does not belong to the exchange, disease or table that it names."""


class RoleError(FrameError):
    """The sender is registered in a role that does not send such frames."""


class RefusedError(FrameError):
    """The other party did not accept the request, and does not say why."""


class NoAnswerError(RefusedError):
    """The hospital accepted the query, but got no good answer to it from the cloud."""


class OutdatedError(OmpdError, ValueError):
    """What is known of a hospital's tables is out of date; learn its catalogue anew."""


class OutdatedRefusalError(RefusedError, OutdatedError):
    """The hospital did not accept the query, since it was made by another schema than its own."""


class UnenrolledError(RefusedError):
    """The hospital does not have the key of a blind query; see `User.enrol`."""


class DowngradeError(FrameError):
    """The other party offers less protection than this one demands."""


class VersionError(FrameError):
    """The protocol or table version is stale, rolled back or not supported."""


# --- keys and cryptography ---------------------------------------------------------------------


class CryptoError(OmpdError, ValueError):
    """A cryptographic check failed."""


class SignatureError(CryptoError):
    """The signature does not belong to this message and key."""


class DecryptionError(CryptoError):
    """The ciphertext was not made for this key and header, or was changed."""


class ProofOfPossessionError(CryptoError):
    """A public key came without a valid proof that its owner holds the secret key."""


class PointError(CryptoError):
    """A curve point is not acceptable."""


class PointDecodingError(PointError):
    """The bytes are not a canonical encoding of a point on the curve."""


class IdentityPointError(PointError):
    """The point is the point at infinity."""


class SubgroupError(PointError):
    """The point lies on the curve, but outside the prime-order subgroup."""


class KeyMaterialError(CryptoError):
    """Secret key material has the wrong type, length or range."""


class ShareError(CryptoError):
    """Something of a shared record cannot be accepted."""


class CapsuleError(ShareError):
    """The capsule was not made for this record and scope, or was changed."""


class GrantError(ShareError):
    """The grant is another one's, of another scope, or was changed."""


class EpochError(ShareError):
    """The epoch is over, or has yet to begin."""


class ProofError(ShareError):
    """A proof is wrong: whoever made it computed something else than was asked."""


class TokenError(CryptoError):
    """A token was not issued for this, or was changed."""


class SpentError(TokenError):
    """The token was spent on another request, or given back."""


class PrekeyError(KeyMaterialError):
    """A short-lived key is missing, expired, not yet valid or older than a known one."""


class UnknownKeyError(OmpdError, LookupError):
    """No registered party has this id or key."""


class BackendUnavailableError(OmpdError, ImportError):
    """The signature backend that was asked for is not installed here."""


class KeystoreError(CryptoError):
    """A key file is missing, damaged, too costly to open, readable by others or of another form."""


class PasswordError(CryptoError):
    """The password is wrong or not usable."""


# --- the registry of parties -------------------------------------------------------------------

# Whoever is refused by one of these is, for new frames, as good as unregistered.


class RevokedKeyError(UnknownKeyError):
    """The party was registered, and its keys were revoked."""


class ExpiredKeyError(UnknownKeyError, ExpiredError):
    """The party is registered, and the validity of its keys has ended."""


class NotYetValidError(UnknownKeyError):
    """The party is registered, and the validity of its keys has yet to begin."""


# --- parameters --------------------------------------------------------------------------------


class ParameterError(OmpdError, ValueError):
    """A protocol parameter is not acceptable."""


class OverflowParameterError(ParameterError, OverflowError):
    """The parameters would wrap around the modulus or let noise change an order."""


class NeighborsError(ParameterError):
    """K is not an odd number from 1 to the number of instances."""


class PrivacyParameterError(ParameterError):
    """A privacy parameter is not a positive finite number, or means nothing for this table."""


class QuotaError(OmpdError, ValueError):
    """One user has taken as much as one may of what all share."""


class CreditError(OmpdError, ValueError):
    """An account or wallet does not have as many tokens."""


class AllowanceError(RefusedError, QuotaError):
    """The user has had all answers of a blind model that the hospital gives to one."""


class BudgetExceededError(OmpdError, ValueError):
    """The patient's privacy budget does not allow another release."""


# --- homomorphic aggregation -------------------------------------------------------------------


class ContributorsError(OmpdError, ValueError):
    """Fewer patients or hospitals contributed than a result needs."""


class BrokenSchemeError(OmpdError, ValueError):
    """A scheme that is kept to be studied was asked for as if it were safe."""


# --- private retrieval, all of them at the hospital only ---------------------------------------


class HintStateError(OmpdError, ValueError):
    """The state of the hints is missing, damaged, rolled back or in use elsewhere."""


class WindowExhaustedError(OmpdError, RuntimeError):
    """The hints of this window are used up; a new window is needed."""


class BucketAuthError(CryptoError):
    """A bucket that came back is not the one that was stored."""


class Bottom(OmpdError, ArithmeticError):  # noqa: N818
    """The ciphertext does not hold a value that is known to be exact.

    Whoever evaluated it must not learn that: answers to chosen ciphertexts give the key away.
    """


# --- a person's record -------------------------------------------------------------------------


class RecordError(OmpdError, ValueError):
    """A record cannot take this resource, or already has one of its name."""


class UnknownResourceError(OmpdError, LookupError):
    """The record has no resource of this reference."""


# --- images in the encrypted domain ------------------------------------------------------------


class MaterialError(OmpdError, ValueError):
    """There is no complete material for this session."""


class SpentMaterialError(MaterialError):
    """The session's material was used, or begun to be used, and is never used again."""


# --- data --------------------------------------------------------------------------------------


class FeatureError(OmpdError, ValueError):
    """A feature vector has the wrong type or length, or a value that is no number."""


class DomainError(FeatureError):
    """A feature lies outside its declared domain."""


class LabelError(OmpdError, ValueError):
    """A label is not in the registered set of classes."""


class ProgramError(OmpdError, ValueError):
    """A decision program contradicts itself, or is not of its form."""


class TrainingError(OmpdError, ValueError):
    """The instances cannot train a table."""


class SchemaError(OmpdError, ValueError):
    """A schema contradicts itself or cannot be read."""


class ResourceError(OmpdError, ValueError):
    """A resource of a health record is not of its form in FHIR, or contradicts itself."""


class UnitError(OmpdError, ValueError):
    """A unit is none, or measures something else than was asked for."""


class ImportFileError(OmpdError, ValueError):
    """A file to import is of another form, damaged, above a limit, or about somebody else."""


class LexiconError(OmpdError, ValueError):
    """A lexicon of medical concepts contradicts itself or cannot be read."""


class NoteError(OmpdError, ValueError):
    """A medical note, or a course of them, is empty, too long, of another day or unreadable."""


class DatasetError(OmpdError, ValueError):
    """A data file is missing, damaged or not of the declared form."""


class ImageError(OmpdError, ValueError):
    """An image has the wrong type or shape, or its file cannot be read."""


class TableError(OmpdError, ValueError):
    """A limb table has the wrong shape, type or content."""


class StoreError(OmpdError, ValueError):
    """A file of durable state cannot be used: it is missing, damaged, foreign or locked."""


class StoreFullError(StoreError):
    """The disk is full: what was to be written was not, and what was there before is as it was."""


class ConfigError(OmpdError, ValueError):
    """A configuration is missing, not of its form, or contradicts what it names."""


class UnreachableError(OmpdError, ConnectionError):
    """Another party or a worker cannot be reached, or what came back is no answer of it."""


class ClusterError(OmpdError, RuntimeError):
    """A cluster cannot be used: its nodes differ from here, are too few, or let anybody in."""


class BusyError(OmpdError, RuntimeError):
    """A server has as much to do as it takes on.

    Parameters
    ----------
    message : str
    seconds : int
        After how long another try is worth its while.
    """

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(message)
        self.seconds = seconds


class UnknownDiseaseError(OmpdError, LookupError):
    """No table is registered for this disease."""


class UnknownProgramError(OmpdError, LookupError):
    """No decision program is registered or kept under this id."""


class TrainingWarning(UserWarning):
    """Training went on, but something in the data deserves a look."""


class LabelWarning(UserWarning):
    """Labels were understood, but in a way that is worth a look."""


class StoreWarning(UserWarning):
    """A part of the durable state cannot be used; the rest is."""


class InterruptedWarning(UserWarning):
    """A long call was interrupted; what it returns is what was done until then."""
