"""Who asks: JSON Web Tokens of health record systems."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt
import msgspec

from ompd.errors import ConfigError, ExpiredError, ReplayError, SignatureError, UnknownKeyError
from ompd.files import refusing
from ompd.service.cds.config import Client

#: Signatures by private keys, by the kind of key; with a shared one, whoever checks could sign.
_ALGORITHMS = {
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
    "RSA": ("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
}
#: Longest life of a token that is remembered, and how far clocks may differ, in seconds.
_LONGEST = 300
_SKEW = 60
#: Most tokens that are remembered; more within their lives are refused.
_MOST = 100_000
_MOST_BYTES = 1 << 20
_CLAIMS = ("iss", "aud", "exp", "iat", "jti")


class _Key(NamedTuple):
    key: Any
    algorithms: list[str]


class Tokens:
    """Checks that a request is of a known health record system, and its token used once.

    Tokens are remembered while they are valid, in memory: one may be used once more after a
    restart within its five minutes.

    Parameters
    ----------
    clients : tuple of Client
    now : callable
        Seconds since the epoch.

    Raises
    ------
    ConfigError
        If a file of keys is missing or too long, or holds anything but public keys with ids.
    """

    def __init__(self, clients: tuple[Client, ...], now: Callable[[], float]) -> None:
        self._now = now
        self._keys = {client.issuer: _keys(client) for client in clients}
        self._seen: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def check(self, authorization: str, audience: str) -> str:
        """Return the issuer of a request's token.

        Parameters
        ----------
        authorization : str
            The header of that name.
        audience : str
            The address that was called.

        Raises
        ------
        SignatureError
            If there is no token, or it is not signed for this address by a known key.
        UnknownKeyError
            If issuer or key are unknown.
        ExpiredError
            If it is not valid now, or would be for longer than five minutes.
        ReplayError
            If it was used before.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise SignatureError("token: expected a bearer token")
        claims = self._claims(token.strip(), audience)
        issuer, expires, issued = claims["iss"], claims["exp"], claims["iat"]
        now = self._now()
        if not (now - _SKEW < expires and issued < now + _SKEW and expires - issued <= _LONGEST):
            raise ExpiredError("token: expected one that is valid now, for five minutes at most")
        self._claim((issuer, claims["jti"]), expires + _SKEW, now)
        return str(issuer)

    def _claims(self, token: str, audience: str) -> dict[str, Any]:
        problem = "token: expected one that is signed for this address by a known key"
        try:
            told = jwt.decode_complete(token, options={"verify_signature": False})
            keys = self._keys.get(_text(told["payload"].get("iss")))
            key = None if keys is None else keys.get(_text(told["header"].get("kid")))
            if key is not None:
                # Times are checked by the clock that was given.
                options: Any = {"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False}
                claims = jwt.decode(
                    token, key.key, key.algorithms, audience=audience, options=options
                )
                if all(type(claims[name]) in {int, float} for name in ("exp", "iat")) and _text(
                    claims["jti"]
                ):
                    return claims
            else:
                problem = ""
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            # Without the library's words: some hold what is in the token.
            pass
        if not problem:
            raise UnknownKeyError("token: issuer or key are unknown")
        raise SignatureError(problem)

    def _claim(self, name: tuple[str, str], until: float, now: float) -> None:
        with self._lock:
            if name in self._seen:
                raise ReplayError("token: was used before")
            if len(self._seen) >= _MOST:
                self._seen = {each: end for each, end in self._seen.items() if end > now}
            if len(self._seen) >= _MOST:
                raise ReplayError("token: more than can be remembered")
            self._seen[name] = until


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _keys(client: Client) -> dict[str, _Key]:
    """Return the public keys of a client, by their ids."""
    name = client.keys.name
    with refusing(ConfigError, name), client.keys.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    try:
        listed = msgspec.json.decode(data, type=dict[str, list[dict[str, Any]]])["keys"]
        keys = {_text(each.get("kid")): _key(each) for each in listed}
        if keys and "" not in keys and len(keys) == len(listed):
            return keys
    except (msgspec.DecodeError, jwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError):
        pass
    raise ConfigError(f"{name}: expected a JSON Web Key Set of public keys, each with its own kid")


def _key(told: dict[str, Any]) -> _Key:
    # The parts of a private key begin with this one, of whatever kind it is.
    if "d" in told:
        raise ValueError
    fitting = _ALGORITHMS[told["kty"]]
    algorithms = [each for each in fitting if told.get("alg", each) == each]
    if not algorithms:
        raise ValueError
    return _Key(jwt.PyJWK.from_dict(told).key, algorithms)
