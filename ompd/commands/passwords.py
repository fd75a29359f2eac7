"""Passwords of commands: from a file, the environment or the terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ompd.errors import PasswordError

_PASSWORD_VARIABLE = "OMPD_PASSWORD"  # noqa: S105  (its name, not its value)
#: Fewest characters of a new password; scrypt buys some twenty bits on top of what it has.
_SHORTEST_PASSWORD = 8

PasswordOption = Annotated[
    Path | None,
    typer.Option(
        help="File with the password in its first line; mode 0600.",
        show_default=f"${_PASSWORD_VARIABLE}, else asked for",
    ),
]


def password_of(file: Path | None, *, fresh: bool = False) -> str:
    """Find the password; a new one is asked for twice and must have some length.

    Raises
    ------
    KeystoreError
        If the file cannot be read, or others can read it.
    PasswordError
        If it is not UTF-8, or a new password too short.
    """
    if file is not None:
        from ompd.crypto.identity_files import read_private

        text: str | None
        try:
            text = read_private(file).decode()
        except UnicodeDecodeError:
            text = None
        if text is None:
            raise PasswordError("password: expected a file in UTF-8")
        password = text.partition("\n")[0].removesuffix("\r")
    elif _PASSWORD_VARIABLE in os.environ:
        password = os.environ[_PASSWORD_VARIABLE]
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=fresh, err=True)
    if fresh and len(password) < _SHORTEST_PASSWORD:
        raise PasswordError(f"password: expected at least {_SHORTEST_PASSWORD} characters")
    return password
