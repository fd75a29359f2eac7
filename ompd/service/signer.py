"""A process that signs and verifies for the one that started it: `python -m ompd.service.signer`.

Its only argument is the number of the socket that it inherits. The key comes through that socket,
so it stands neither in the arguments nor in the environment, and the process ends with the other
end of it, however that came about.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from ompd.crypto import SigningKey
from ompd.roles.clerk import Clerk

#: Bytes of the length in front of a message.
_LENGTH = 4


def send(peer: socket.socket, message: Any) -> None:
    """Send a message to the process at the other end, which trusts this one.

    Raises
    ------
    OSError
        If it is away, or too slow for the socket's patience.
    """
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    peer.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def receive(peer: socket.socket) -> Any:
    """Return a message of the process at the other end, which this one trusts.

    Raises
    ------
    EOFError
        If it is away.
    OSError
        If it is too slow for the socket's patience.
    """
    length = int.from_bytes(_exactly(peer, _LENGTH), "big")
    return pickle.loads(_exactly(peer, length))  # noqa: S301  (of this program's own process)


def _exactly(peer: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = peer.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


def main() -> None:
    """Do what the other end asks for, until it is away."""
    # The other process decides when this one ends: it may have work left that it was asked for.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as peer:
        try:
            backend, secret = receive(peer)
            clerk = Clerk(SigningKey.from_bytes(secret, backend))
            calls: dict[str, Callable[[Any], list[Any]]] = {
                "verify": clerk.verify_many,
                "seal": clerk.seal_many,
            }
            send(peer, clerk.public_key)
            while True:
                call, items = receive(peer)
                send(peer, calls[call](items))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    main()
