"""Named parameter sets, each with its source."""

from __future__ import annotations

import math
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
#: Different enquiries about one patient that a cloud answers in an epoch.
ENQUIRY_CAP = 8


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


#: What a hospital can choose for a disease, the most private first. `blind`: no cloud, and the
#: hospital itself does not see what is asked. `sealed`: the cloud returns encrypted buckets and
#: does not learn which. `hardened`: coarse, permuted and shifted integers, noise on demand.
#: `paper`: the published blinding, no confidentiality against the cloud.
Profile = Literal["blind", "sealed", "hardened", "paper"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

#: How features become vectors. `relief-mw` is the published method: Relief weights, prefix sums.
#: `evidence` learns scores.
Method = Literal["relief-mw", "evidence"]
METHODS: tuple[Method, ...] = get_args(Method)


#: What a party can be; the first is the least. Patients contribute hidden values, and physicians
#: open what a cloud makes of them. Companies publish programs, and authorities sell their
#: use, or deal randomness.
Role = Literal["user", "hospital", "cloud", "patient", "physician", "company", "authority"]
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


#: How values become a polynomial. `coefficients`: one value each, products are convolutions;
#: `slots`: values of the polynomial at roots of one modulo t, products go slot by slot.
Packing = Literal["coefficients", "slots"]
PACKINGS: tuple[Packing, ...] = get_args(Packing)

#: Most bits of all primes together for 128-bit security with ternary secrets, by degree: Albrecht
#: and others, Homomorphic Encryption Standard, 2018, table 1 (classical).
STANDARD_BITS = {4096: 109, 8192: 218, 16384: 438, 32768: 881}


@dataclass(frozen=True, slots=True)
class AggregateSet:
    """Sizes of one set of homomorphic keys (BGV).

    Parameters
    ----------
    name : str
    degree : int
        Coefficients of a polynomial, N; a power of two.
    plain_modulus : int
        Results are exact below half of it, t.
    packing : {"coefficients", "slots"}
    primes : tuple of int
        Ciphertext moduli, each 1 modulo 2 N. The last are divided by first; all but the first are
        1 modulo t, too, so that dividing by them changes no plaintext.
    special_prime : int
        Auxiliary prime of key switching, 1 modulo 2 N.
    depth : int
        Multiplications of fresh ciphertexts one upon another, after which a flooded result opens.
    source : str
        Where the numbers come from.

    Raises
    ------
    ParameterError
        If they do not fit one another.
    """

    name: str
    degree: int
    plain_modulus: int
    packing: Packing
    primes: tuple[int, ...]
    special_prime: int
    depth: int
    source: str = ""

    def __post_init__(self) -> None:
        n, t = self.degree, self.plain_modulus
        if n < 64 or n & (n - 1):
            raise ParameterError("degree: expected a power of two from 64 on")
        if self.packing not in PACKINGS:
            raise ParameterError(f"packing: expected one of {', '.join(PACKINGS)}")
        if not 2 <= t <= 1 << 32 or (self.packing == "slots" and t % (2 * n) != 1):
            raise ParameterError("plain_modulus: expected 2 to 2**32, and 1 modulo 2 N for slots")
        moduli = (*self.primes, self.special_prime)
        if not 1 <= len(self.primes) <= 8 or len(set(moduli)) < len(moduli):
            raise ParameterError("primes: expected one to eight different ones")
        if any(p % (2 * n) != 1 or p >> 49 or not p >> 24 for p in moduli):
            raise ParameterError("primes: expected 25 to 49 bits, and 1 modulo 2 N")
        if any(p % t != 1 for p in self.primes[1:]):
            raise ParameterError("primes: expected 1 modulo t for all but the first")

    @property
    def modulus_bits(self) -> float:
        """Logarithm of the product of all primes, to base 2."""
        return sum(map(math.log2, (*self.primes, self.special_prime)))

    @property
    def largest_bound(self) -> int:
        """Largest absolute value of a result."""
        return (self.plain_modulus - 1) // 2


_SEARCHED = (
    "The largest primes of their length that fit N and t; total length by the Homomorphic "
    "Encryption Standard, 2018, table 1"
)

#: The smallest first.
AGGREGATE_SETS = (
    AggregateSet(
        "coefficients-8192-24",
        8192,
        1 << 24,
        "coefficients",
        (17592186028033, 17591917608961, 17591011639297, 17590877421569),
        4398046150657,
        1,
        _SEARCHED,
    ),
    AggregateSet(
        "coefficients-8192-32",
        8192,
        1 << 32,
        "coefficients",
        (281474976694273, 8787503087617, 8748848381953, 8701603741697),
        2199023190017,
        0,
        _SEARCHED,
    ),
    AggregateSet(
        "slots-8192-16",
        8192,
        65537,
        "slots",
        (4294475777, 281449206448129, 281412698669057, 281383707197441),
        4398046150657,
        1,
        _SEARCHED,
    ),
    AggregateSet(
        "slots-8192-20",
        8192,
        1032193,
        "slots",
        (68719230977, 70233252315137, 70114872164353, 70013403463681),
        17592186028033,
        1,
        _SEARCHED,
    ),
    AggregateSet(
        "coefficients-16384-24",
        16384,
        1 << 24,
        "coefficients",
        (
            562949952798721,
            562949869535233,
            562949517213697,
            562949282332673,
            562949164892161,
            562948879679489,
            562948678352897,
            562948409917441,
        ),
        70368743587841,
        5,
        _SEARCHED,
    ),
    AggregateSet(
        "coefficients-16384-32",
        16384,
        1 << 32,
        "coefficients",
        (
            562949952798721,
            562941363486721,
            562932773552129,
            562842579238913,
            562816809435137,
            562739500023809,
            562662190612481,
            562494686887937,
        ),
        70368743587841,
        4,
        _SEARCHED,
    ),
    AggregateSet(
        "slots-16384-25",
        16384,
        33292289,
        "slots",
        (
            562949952798721,
            546551784701953,
            500733072211969,
            485460168048641,
            478914637692929,
            452732516270081,
            448368829366273,
            445096064188417,
        ),
        70368743587841,
        5,
        _SEARCHED,
    ),
    # Shorter ciphertexts, of which results are flooded by 50 bits; see `SCORING`.
    AggregateSet(
        "scores-8192-16",
        8192,
        65537,
        "slots",
        (281449206448129, 281412698669057, 281383707197441),
        4398046150657,
        1,
        _SEARCHED,
    ),
)

#: What blind diagnoses are made with: N slots of integers modulo t, the smallest prime that has so
#: many.
SCORING = AGGREGATE_SETS[-1]
