"""``aggrkit worker``: run tasks of a coordinator on this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.cli.codes import DONE
from aggrkit.cli.stopping import when_told_to_stop
from aggrkit.errors import SourceError

if TYPE_CHECKING:
    import argparse


__all__ = ["add_to"]

_VARIABLE: Final = "AGGRKIT_API_KEY"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "worker",
        help="run the tasks of a coordinator on this machine",
        description="Run the tasks of a coordinator on this machine, each in a process of its own. What a task runs is"
        " said by the coordinator: connect only to one that you trust. Ends with Ctrl-C, after the task that runs.",
        epilog="example: aggrkit worker ws://127.0.0.1:8080 --hardware cpu --hardware cuda --with memory_gb=16",
    )
    parser.add_argument("url", help="where the coordinator is, ws://host:port or wss://host:port")
    parser.add_argument(
        "--hardware",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what tasks can run on here (default: cpu)",
    )
    parser.add_argument(
        "--with", dest="has", action="append", default=[], metavar="NAME=VALUE", help="what else it has"
    )
    parser.add_argument("--name", help="the name of the worker (default: that of the machine, and something random)")
    parser.add_argument("--slots", type=int, default=1, help="how many tasks run at once (default: %(default)s)")
    parser.add_argument("--tasks", type=int, help="end after so many tasks")
    parser.add_argument(
        "--key-file", metavar="FILE", help=f"a file with the API key (default: the variable {_VARIABLE})"
    )
    parser.add_argument("--trust", metavar="FILE", help="for wss://: a certificate to trust, in PEM")
    parser.set_defaults(parser=parser, run=_work)


def _work(given: argparse.Namespace) -> int:
    """Run tasks until told to end."""
    from aggrkit.coordinator import Worker

    if given.slots < 1:
        given.parser.error(f"--slots is 1 or more; got {given.slots}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("websockets").setLevel(logging.WARNING)

    async def run() -> int:
        worker = Worker(
            given.url,
            _key(given.key_file),
            hardware=given.hardware or ["cpu"],
            name=given.name,
            capabilities=_capabilities(given),
            slots=given.slots,
            tls=_trusted(given.trust),
        )
        when_told_to_stop(worker.stop)
        print(f"worker {worker.name} asks {given.url} for tasks. Ctrl-C ends it.", flush=True)
        await worker.run(given.tasks)
        return worker.finished

    print(f"{asyncio.run(run())} tasks were run")
    return DONE


def _key(path: str | None) -> str | None:
    if path is None:
        return os.environ.get(_VARIABLE)
    try:
        return Path(path).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise SourceError(f"the key in {path} can't be read: {said}") from error


def _trusted(path: str | None) -> ssl.SSLContext | None:
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise SourceError(f"the certificate in {path} can't be used: {error.strerror or error}") from error


def _capabilities(given: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for said in given.has:
        name, equals, value = said.partition("=")
        if not equals or not name:
            given.parser.error(f"--with is of the form NAME=VALUE; got {said!r}")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found
