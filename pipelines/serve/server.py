"""The listening socket, and uvicorn behind it."""

import socket

from grounding.errors import LavallamaError

__all__ = ["bind"]


def bind(host: str, port: int) -> socket.socket:
    """Take an address before the model is loaded; nobody can call yet.

    The socket keeps the protocol that its address has: asyncio sets TCP_NODELAY on connections
    whose protocol is IPPROTO_TCP alone, and without it each answer on a kept connection waits for
    the client's delayed acknowledgement, about 40 ms.

    Args:
        host: A name or an address.
        port: 0: any free one.

    Raises:
        LavallamaError: it is taken, or is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = socket.socket(family, kind, protocol)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
        except OSError:
            door.close()
            raise
    except OSError as error:
        raise LavallamaError(
            f"cannot listen at {host}, port {port}: {(error.strerror or str(error)).lower()}; "
            "choose another --port or --host"
        ) from None
    return door
