"""Named parameter sets, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ompd.errors import ParameterError

LIMB_BITS = 64
#: Largest prefix sum that the encoder may produce; leaves room for signed differences in int64.
PREFIX_BITS = 62
#: Most classes of a table: their codes travel and rest as 16-bit numbers.
MAX_CLASSES = 1 << 16
#: Longest name of a class or disease, in characters; reports carry it.
MAX_TEXT = 255


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """Bit lengths of one blinding profile.

    Parameters
    ----------
    name : str
        Short name, for people.
    modulus_bits : int
        Length of the prime p.
    multiplier_bits : int
        Length of the prime α that lifts distances above the noise.
    noise_bits : int
        Every coordinate gets fresh noise in [0, 2**noise_bits).
    weight_bits, feature_bits : int
        Fractional bits a of the weights and b of the scaled features.
    source : str
        Where the numbers come from.

    Raises
    ------
    ParameterError
        If a length is too short to mean anything. Whether a concrete table fits is decided when
        its key is generated, since that depends on the weights and the number of features.
    """

    name: str
    modulus_bits: int = 512
    multiplier_bits: int = 200
    noise_bits: int = 128
    weight_bits: int = 16
    feature_bits: int = 16
    source: str = ""

    def __post_init__(self) -> None:
        for field, least in (
            ("modulus_bits", 64),
            ("multiplier_bits", 8),
            ("noise_bits", 1),
            ("weight_bits", 1),
            ("feature_bits", 1),
        ):
            value = getattr(self, field)
            if type(value) is not int or value < least:
                raise ParameterError(f"{field}: expected an integer of at least {least}")
        if self.multiplier_bits <= self.noise_bits:
            raise ParameterError("multiplier_bits: expected more bits than noise_bits")
        if self.modulus_bits <= self.multiplier_bits:
            raise ParameterError("modulus_bits: expected more bits than multiplier_bits")
        if self.weight_bits + self.feature_bits > PREFIX_BITS:
            raise ParameterError(
                f"weight_bits + feature_bits: expected at most {PREFIX_BITS} together"
            )

    @property
    def limbs(self) -> int:
        """Number of 64-bit limbs that hold an integer below p."""
        return -(-self.modulus_bits // LIMB_BITS)


#: The sizes of the source paper (WCMC 2021, article 7746286): |p| = 512, |alpha| = 200, noise 128.
PAPER = ParameterSet("paper", source="WCMC 2021, article 7746286, section 5")

#: What a hospital can choose for its tables, the most private first. `sealed`: the cloud returns
#: encrypted buckets and does not learn which. `hardened`: coarse, permuted and shifted integers,
#: noise on demand. `paper`: the published blinding, no confidentiality against the cloud.
Profile = Literal["sealed", "hardened", "paper"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

#: How features become vectors. `relief-mw` is the published method: Relief weights, prefix sums.
#: `evidence` learns scores.
Method = Literal["relief-mw", "evidence"]
METHODS: tuple[Method, ...] = get_args(Method)


#: What a party can be; the first is the least. Patients contribute hidden values, and physicians
#: open what a cloud makes of them.
Role = Literal["user", "hospital", "cloud", "patient", "physician"]
ROLES: tuple[Role, ...] = get_args(Role)


def check_role(name: str) -> Role:
    """Return the role.

    Raises
    ------
    ParameterError
        If there is none of this name.
    """
    if name not in ROLES:
        raise ParameterError(f"role: expected one of {', '.join(ROLES)}")
    return name


def check_profile(name: object, what: str = "profile") -> Profile:
    """Return `name` if it is the name of a profile.

    Raises
    ------
    ParameterError
    """
    if not isinstance(name, str) or name not in PROFILES:
        raise ParameterError(f"{what}: expected one of {', '.join(PROFILES)}")
    return name


def weaker(profile: Profile, least: Profile) -> bool:
    """Whether a profile tells the cloud more than `least` does."""
    return PROFILES.index(profile) > PROFILES.index(least)
