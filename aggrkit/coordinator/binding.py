"""Where a server listens: on this machine alone, unless it has keys and TLS."""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING

from aggrkit.errors import AggrError, SourceError

if TYPE_CHECKING:
    import os

    from aggrkit.coordinator.keys import Keys

__all__ = ["check_binding", "is_loopback", "tls_context"]


def is_loopback(host: str) -> bool:
    """Say whether a host can be reached from this machine alone.

    Examples
    --------
    >>> from aggrkit.coordinator.binding import is_loopback
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_binding(host: str, *, keys: Keys | None, tls: bool, plain: bool = False) -> None:
    """Refuse to listen where others can connect without keys, or could read the keys on their way.

    Parameters
    ----------
    host : str
        Where to listen.
    keys : Keys or None
        Who may do what.
    tls : bool
        Whether connections are encrypted.
    plain : bool, optional
        Whether something in front of the server encrypts them.

    Raises
    ------
    AggrError
        Says what is missing.
    """
    if is_loopback(host):
        return
    where = f"the server won't listen on {host or 'all addresses'}, where other machines can connect,"
    if keys is None:
        raise AggrError(f"{where} without keys: anybody could read and write results. Give keys, or use 127.0.0.1")
    if not tls and not plain:
        raise AggrError(
            f"{where} without TLS: keys and results could be read on their way. Give a certificate and its key, or use"
            " 127.0.0.1, or say that a proxy in front of it encrypts (plain)"
        )


def tls_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Return the settings of TLS for a certificate with its key.

    Parameters
    ----------
    certificate : path
        A file in PEM, the chain of certificates.
    key : path, optional
        The file of the private key, if it isn't in the same one.

    Raises
    ------
    SourceError
        If they can't be read, or don't belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        names = f"{certificate}" if key is None else f"{certificate} and {key}"
        raise SourceError(f"the certificate in {names} can't be used: {said}") from error
    return context
