"""``aggrkit serve``: a coordinator on the network."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import TYPE_CHECKING, Final

from aggrkit.cli.codes import DONE
from aggrkit.cli.stopping import when_told_to_stop

if TYPE_CHECKING:
    import argparse

    from aggrkit.coordinator import Keys, Server

__all__ = ["add_to"]

_SWITCH_SECONDS: Final = 0.001


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="take results in from workers and clients, and give answers out",
        description="Take results in from workers and clients, and give answers out, over a WebSocket. Ctrl-C ends it.",
        epilog="example: aggrkit serve results.duckdb --keys keys.toml --port 8080",
    )
    parser.add_argument("store", help="the DuckDB file of results; it is made where there is none")
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help='a TOML file with [keys] and lines such as name = { key = "...", role = "read" }, or sha256 in place of'
        " key; roles are read, submit and admin (default: the environment variable AGGRKIT_KEYS, name:role:key ...)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0 for one that is free (default: %(default)s)")
    parser.add_argument("--certificate", metavar="FILE", help="for TLS: the certificate, in PEM")
    parser.add_argument("--certificate-key", metavar="FILE", help="its private key, if it isn't in the same file")
    parser.add_argument(
        "--plain", action="store_true", help="a proxy in front of the server encrypts: listen elsewhere without TLS"
    )
    parser.add_argument(
        "--origin", action="append", default=[], metavar="URL", help="a web page that may connect (may be repeated)"
    )
    parser.set_defaults(parser=parser, run=_serve)


def _serve(given: argparse.Namespace) -> int:
    """Open the store and serve it until it is told to end."""
    from aggrkit.coordinator import Server
    from aggrkit.coordinator.binding import check_binding, tls_context
    from aggrkit.store import BenchmarkDBManager

    if not 0 <= given.port <= 65_535:
        given.parser.error(f"--port is a number from 0 to 65535; got {given.port}")
    if given.certificate_key and not given.certificate:
        given.parser.error("--certificate-key needs --certificate")
    keys = _keys(given.keys)
    check_binding(given.host, keys=keys, tls=given.certificate is not None, plain=given.plain)
    tls = None if given.certificate is None else tls_context(given.certificate, given.certificate_key)
    sys.setswitchinterval(_SWITCH_SECONDS)  # so that answers that are worked out hardly delay those that are at hand
    with BenchmarkDBManager(given.store) as store:
        server = Server(
            store, keys=keys, host=given.host, port=given.port, tls=tls, plain=given.plain, origins=given.origin
        )
        asyncio.run(_until_told(server, given.store, keys))
    return DONE


def _keys(path: str | None) -> Keys | None:
    from aggrkit.coordinator import Keys

    if path is None:
        return Keys.from_environment()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        keys = Keys.read(path)
    for warning in said:
        print(f"aggrkit: warning: {warning.message}", file=sys.stderr)
    return keys


async def _until_told(server: Server, store: str, keys: Keys | None) -> None:
    """Serve until SIGINT or SIGTERM; then answer what was asked, and put everything into the store."""
    told = asyncio.Event()
    when_told_to_stop(told.set)
    await server.start()
    who = "no keys: everybody on this machine may do everything" if keys is None else f"{len(keys)} keys"
    print(f"serving {store} at {server.url} ({who}). Ctrl-C ends it.", flush=True)
    try:
        await told.wait()
        print("ending: what was asked is answered, and results are put into the store", flush=True)
    finally:
        await server.stop()
