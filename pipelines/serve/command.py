"""Serve segmentation over HTTP: `lavallama serve`, `python -m pipelines.serve`."""

import argparse
import contextlib
import gc
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, offline_flag

if TYPE_CHECKING:
    from pipelines.serve.settings import Settings

__all__ = ["main"]

PROG = "lavallama serve"
TOKEN_VARIABLE = "LAVALLAMA_TOKEN"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROG,
        description="Serve promptable segmentation over HTTP; http://HOST:PORT/docs lists the API.",
    )
    parser.add_argument("--model", default="embedded", help="embedded, a folder, a file or a name")
    device_flag(parser)
    offline_flag(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (8000)")
    _door_flags(parser)
    _limit_flags(parser)
    return parser


def _door_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may ask")
    token = group.add_mutually_exclusive_group()
    token.add_argument(
        "--token", help=f"what clients must send as a bearer token; better in ${TOKEN_VARIABLE}"
    )
    token.add_argument("--token-file", metavar="FILE", help="a file that holds the token")
    token.add_argument(
        "--no-token", action="store_true", help="let everyone in, whatever the address"
    )
    group.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients may call it, such as a proxy's; may be given again",
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web page that may ask, such as https://example.org; may be given again",
    )
    group.add_argument("--access-log", action="store_true", help="a line for each request")


def _limit_flags(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits")
    limits.add_argument("--upload-mb", type=_amount, default=16, help="largest file (16)")
    limits.add_argument("--pixels", type=int, default=4096 * 4096, help="of a picture (16777216)")
    limits.add_argument("--images", type=int, default=256, help="pictures kept (256)")
    limits.add_argument(
        "--cache-mb",
        type=_amount,
        help="memory they may take (2048, or a quarter of what there is)",
    )
    limits.add_argument("--sessions", type=int, default=256, help="sessions kept (256)")
    limits.add_argument("--idle", type=_amount, default=3600, help="seconds they are kept (3600)")
    limits.add_argument("--waiting", type=int, default=64, help="requests in the house (64)")
    limits.add_argument(
        "--connections-per-address",
        type=int,
        metavar="N",
        help="(half of all; this machine has no limit)",
    )
    limits.add_argument("--seconds", type=_amount, default=60, help="longest request (60)")
    limits.add_argument(
        "--grace",
        type=_seconds,
        default=0,
        help="seconds to answer on when told to stop, while /readyz says so (0)",
    )
    limits.add_argument(
        "--work-mb",
        type=_amount,
        help="memory that one answer may take (8192, or half of what there is)",
    )


def _amount(text: str) -> float:
    if not _seconds(text) > 0:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return float(text)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, got {text!r}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return guarded(PROG, lambda: _serve(arguments))


def _serve(arguments: argparse.Namespace) -> int:
    from grounding.errors import LavallamaError

    token, local = _token(arguments), _is_loopback(arguments.host)
    if not local and token is None and not arguments.no_token:
        raise LavallamaError(
            f"{arguments.host} can be reached by others: set ${TOKEN_VARIABLE} to a secret, or say "
            "--no-token"
        )
    if not 0 <= arguments.port < 2**16:
        raise LavallamaError(f"a port is 0 to 65535; got {arguments.port}")
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise LavallamaError(f"{error}; pip install 'lavallama[serve]'") from None
    quiet_libraries()
    from pipelines.segmentation.segmenter import open_predictor
    from pipelines.serve.app import create_app
    from pipelines.serve.log import log_to_stderr
    from pipelines.serve.server import Server, bind

    settings = _settings(arguments, token, local)
    with bind(arguments.host, arguments.port) as door:
        predictor = open_predictor(
            arguments.model, device=arguments.device, offline=arguments.offline
        )
        server = Server(create_app(predictor, settings), settings)
        log_to_stderr(arguments.access_log)
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it would hold the event loop
        name = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        door.listen(server.config.backlog)  # who calls now is served as soon as the loop runs
        print(f"serving at http://{name}:{door.getsockname()[1]}, see /docs", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # the way to stop it
            server.run(sockets=[door])
    return 0


def _settings(arguments: argparse.Namespace, token: str | None, local: bool) -> "Settings":
    from pipelines.serve.memory import free_bytes
    from pipelines.serve.settings import MIB, Settings

    free = free_bytes()
    names = (*LOOPBACK_NAMES, arguments.host.lower()) if local and token is None else ()
    if arguments.allowed_host and not names:
        names = (arguments.host.lower(),)
    return Settings(
        token=token,
        hosts=(*names, *(name.lower() for name in arguments.allowed_host)),
        origins=tuple(origin.rstrip("/").lower() for origin in arguments.allow_origin),
        image_bytes=int(arguments.upload_mb * MIB),
        pixels=arguments.pixels,
        images=arguments.images,
        image_cache_bytes=_bytes(arguments.cache_mb, min(2048 * MIB, free // 4)),
        sessions=arguments.sessions,
        idle_s=arguments.idle,
        waiting=arguments.waiting,
        connections_per_address=arguments.connections_per_address,
        seconds=arguments.seconds,
        grace_s=arguments.grace,
        work_bytes=_bytes(arguments.work_mb, min(8192 * MIB, free // 2)),
    )


def _bytes(mib: float | None, default: int) -> int:
    return default if mib is None else int(mib * 2**20)


def _token(arguments: argparse.Namespace) -> str | None:
    """The secret; None: there is none.

    Raises:
        LavallamaError: where one is named there is nothing: a variable that was never set.
    """
    from grounding.errors import LavallamaError

    if arguments.no_token:
        return None
    if arguments.token_file is not None:
        where, token = arguments.token_file, Path(arguments.token_file).read_text().strip()
    elif arguments.token is not None:
        where, token = "--token", arguments.token
    else:
        where, token = f"${TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE)
    if token == "":
        raise LavallamaError(f"{where} is empty: give it a secret, or leave it away")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


if __name__ == "__main__":
    sys.exit(main())
