"""Records that a cloud keeps sealed, and re-encrypts for whom their owner grants them.

    seal -> capsule, ciphertext -> cloud: reencrypt(grant) -> Received.open

Key-private proxy re-encryption in the group G1 of BLS12-381, of order r with generator G, after
Umbral (Nuñez 2018), with one point per capsule. Single hop, unidirectional, no pairing.

==============  ===============================================================================
secret of       a = HKDF(owner's secret, owner | type | epoch), public A = a·G; every scope has
a scope         a key of its own, and none helps to find another or the secret
capsule         E = e·G and a Schnorr proof of e that covers scope and record (`capsules`)
key of a        K = HKDF(e·A) = HKDF(a·E), with scope, record and E: AES-256-GCM, one message
record
grant to        x random, X = x·G, d = HKDF(x·B) with X, B and scope; the proxy gets a/d and X
B = b·G
re-encryption   E' = (a/d)·E and a Chaum-Pedersen proof that log_E E' = log_G (a/d)·G
opening         d·E' = a·E, where d follows from b·X
grant to        d random and kept by the owner: the proxy does the work, the owner one
oneself         multiplication (`outsourced`)
==============  ===============================================================================

What is claimed, with HKDF as a random oracle:

* *Confidentiality.* Without a, e, or d beside its a/d, K is hidden under the computational
  Diffie-Hellman assumption. The proof of e in the capsule is what lets the reduction answer
  openings: who makes a capsule knows e, so that nobody can have another's capsule opened under
  another record or scope.
* *The proxy* learns nothing from (a/d, X): to whoever does not know x·B, d is uniform and
  independent of a, and so is a/d.
* *Key privacy.* (a/d, X) tells nothing of B: telling it from a grant to another key means to
  tell x·B from a random point (decisional Diffie-Hellman).
* *The proxy cannot cheat.* A wrong E' does not pass the proof, whose point (a/d)·G the recipient
  computes from A and d itself.
* *Collusion.* Proxy and recipient together have a = (a/d)·d: the scope of the grant, whole, and
  nothing else. That is so for every scheme of this kind, and the reason for scopes.
* *Revocation.* A proxy that keeps a grant can use it for as long as it likes; an honest one
  refuses from the end of the epoch on. What was opened stays known.
"""

from __future__ import annotations

from ompd.share.capsules import CAPSULE_BYTES, Sealed, check_capsule, open_own, seal
from ompd.share.grants import Grant, Received, Reencrypted, reencrypt
from ompd.share.keys import ScopeKey, SharingKey
from ompd.share.outsourced import Outsourced, transform
from ompd.share.scopes import EPOCH_SECONDS, Scope, check_epoch, epoch_at
from ompd.share.tokens import Blinded, Token, TokenKey, blind, check_token, unblind

__all__ = [
    "CAPSULE_BYTES",
    "EPOCH_SECONDS",
    "Blinded",
    "Grant",
    "Outsourced",
    "Received",
    "Reencrypted",
    "Scope",
    "ScopeKey",
    "Sealed",
    "SharingKey",
    "Token",
    "TokenKey",
    "blind",
    "check_capsule",
    "check_epoch",
    "check_token",
    "epoch_at",
    "open_own",
    "reencrypt",
    "seal",
    "transform",
    "unblind",
]
