"""Checks host names, so that web pages of other sites cannot send requests to a server on the user's own machine.

A site can make its own name point to 127.0.0.1 (DNS rebinding); its requests then have this name as Host. Or a page of the
site sends requests to localhost directly; these have the site as Origin.
"""

import dataclasses
import ipaddress
import socket
from urllib.parse import urlsplit

from grpc import StatusCode

from t2t_mm.serving.errors import ServingError


def address(host: str, port: int | None) -> str:
    """Returns a host with its port, as in URLs: an IPv6 address has brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclasses.dataclass(frozen=True)
class Names:
    """The host names and origins that are allowed.

    Args:
      host: the address on which the server listens.
      allowed: additional names, or origins such as https://demo.example.
    """

    host: str = "127.0.0.1"
    allowed: tuple[str, ...] = ()

    def check(self, host: str | None, origin: str | None) -> None:
        """Checks the headers of a request.

        Args:
          host, origin: the headers, or None if they are missing.

        Raises:
          ServingError: PERMISSION_DENIED. The message names the rejected header and the flag that allows it.
        """
        # Every browser sends a Host. Its port does not matter, because the connection already has the right port.
        if host is not None and not self._is_own(_name(f"//{host}")):
            raise _refused("Host", host)
        if origin is None or origin in self.allowed:
            return
        if urlsplit(origin).netloc.lower() != (host or "").lower() or not urlsplit(origin).netloc:
            raise _refused("Origin", origin)

    def _is_own(self, name: str) -> bool:
        if name in ("localhost", self.host.lower(), socket.gethostname().lower(), *map(str.lower, self.allowed)):
            return True
        try:
            ipaddress.ip_address(name)  # an address is safe, because unlike a name it cannot be redirected
        except ValueError:
            return False
        return True


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # for instance an unclosed bracket
        return ""


def _refused(header: str, value: str) -> ServingError:
    message = f"{header} {value[:100]!r} is not this server's own; bin/serve.py --allowed_hosts lists others."
    return ServingError(StatusCode.PERMISSION_DENIED, message)
