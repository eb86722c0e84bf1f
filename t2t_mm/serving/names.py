"""Who may be asked under which name: keeps the pages of other sites from asking a server on the reader's own machine.

A site can point its own name at 127.0.0.1 (DNS rebinding); its requests then carry that name as Host. Or its page sends
requests to localhost straight away; those carry the site as Origin.
"""

import dataclasses
import ipaddress
import socket
from urllib.parse import urlsplit

from grpc import StatusCode

from t2t_mm.serving.errors import ServingError


@dataclasses.dataclass(frozen=True)
class Names:
    """host: the address listened on. allowed: further names, or origins such as https://demo.example."""

    host: str = "127.0.0.1"
    allowed: tuple[str, ...] = ()

    def check(self, host: str | None, origin: str | None) -> None:
        """host, origin: the headers of a request, None where it has none.

        Raises:
          ServingError: PERMISSION_DENIED, says which is refused, and what allows it.
        """
        # Every browser sends a Host. Its port does not matter: who listens there is decided before a header is read.
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
            ipaddress.ip_address(name)  # an address cannot be pointed elsewhere, as a name can
        except ValueError:
            return False
        return True


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # a bracket that is never closed, say
        return ""


def _refused(header: str, value: str) -> ServingError:
    message = f"{header} {value[:100]!r} is not this server's own; bin/serve.py --allowed_hosts lists others."
    return ServingError(StatusCode.PERMISSION_DENIED, message)
