"""Serve segmentation over HTTP: `lavallama serve`, `python -m pipelines.serve`."""

import argparse
import contextlib
import ipaddress
import os
import sys
from collections.abc import Sequence

from pipelines.console import Parser, guarded, quiet_libraries
from pipelines.flags import device_flag, offline_flag

__all__ = ["main"]

PROG = "lavallama serve"
TOKEN_VARIABLE = "LAVALLAMA_TOKEN"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
BACKLOG = 1024  # connections that may wait to be taken
CONNECTIONS = 256  # open at one time; more are refused by uvicorn


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
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token", help=f"what clients must send as a bearer token; better in ${TOKEN_VARIABLE}"
    )
    token.add_argument(
        "--no-token", action="store_true", help="let everyone in, whatever the address"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--upload-mb", type=_amount, default=16, help="largest file (16)")
    limits.add_argument("--pixels", type=int, default=4096 * 4096, help="of a picture (16777216)")
    limits.add_argument("--images", type=int, default=64, help="pictures kept (64)")
    limits.add_argument(
        "--cache-mb", type=_amount, default=2048, help="memory they may take (2048)"
    )
    limits.add_argument("--sessions", type=int, default=256, help="sessions kept (256)")
    limits.add_argument("--idle", type=_amount, default=3600, help="seconds they are kept (3600)")
    limits.add_argument("--waiting", type=int, default=64, help="requests in the house (64)")
    limits.add_argument("--seconds", type=_amount, default=60, help="longest request (60)")
    limits.add_argument(
        "--work-mb", type=_amount, default=8192, help="memory that one answer may take (8192)"
    )
    return parser


def _amount(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    token = None if arguments.no_token else arguments.token or os.environ.get(TOKEN_VARIABLE)
    return guarded(PROG, lambda: _serve(arguments, token or None))


def _serve(arguments: argparse.Namespace, token: str | None) -> int:
    from grounding.errors import LavallamaError

    local = _is_loopback(arguments.host)
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
        import uvicorn
    except ImportError as error:
        raise LavallamaError(f"{error}; pip install 'lavallama[serve]'") from None
    quiet_libraries()
    from pipelines.segmentation.segmenter import open_predictor
    from pipelines.serve.app import create_app
    from pipelines.serve.server import bind
    from pipelines.serve.settings import MIB, Settings

    settings = Settings(
        token=token,
        hosts=LOOPBACK_NAMES if local and token is None else (),
        image_bytes=int(arguments.upload_mb * MIB),
        pixels=arguments.pixels,
        images=arguments.images,
        image_cache_bytes=int(arguments.cache_mb * MIB),
        sessions=arguments.sessions,
        idle_s=arguments.idle,
        waiting=arguments.waiting,
        seconds=arguments.seconds,
        work_bytes=int(arguments.work_mb * MIB),
    )
    with bind(arguments.host, arguments.port) as door:
        predictor = open_predictor(
            arguments.model, device=arguments.device, offline=arguments.offline
        )
        config = uvicorn.Config(
            create_app(predictor, settings),
            access_log=False,
            log_level="warning",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(arguments.seconds) + 1,
        )
        name = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        door.listen(BACKLOG)  # who calls now is served as soon as the loop runs
        print(f"serving at http://{name}:{door.getsockname()[1]}, see /docs", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # the way to stop it
            uvicorn.Server(config).run(sockets=[door])
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


if __name__ == "__main__":
    sys.exit(main())
