"""What a node has installed; sent to it as code, since it may not have this package.

It needs nothing but Python's own library.
"""

from __future__ import annotations

#: Distributions that must be the same everywhere: answers are compared bit by bit.
SAME = ("ompd", "numpy")


def installed() -> dict[str, str]:
    """Return the versions of what must be the same, empty where one is missing.

    With ``token`` it says whether this process takes part in token authentication.
    """
    import os
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("ompd", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    found["token"] = os.environ.get("RAY_AUTH_MODE", "")
    return found


def difference(here: dict[str, str], there: dict[str, str]) -> str:
    """Return what differs, as a text for an error; empty if nothing does."""
    told = [
        f"{name} {there[name] or 'is missing'}, here {here[name]}"
        if there[name]
        else f"{name} is missing"
        for name in SAME
        if here[name] != there[name]
    ]
    return "; ".join(told)
