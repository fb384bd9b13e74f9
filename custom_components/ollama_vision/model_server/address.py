"""Where a model server is, from whatever a person types or pastes."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
import re
from typing import Final
from urllib.parse import unquote

from yarl import URL

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65535
# What follows the base address in the protocols, and is often pasted with it.
_PROTOCOL_PATHS: Final = ("/v1", "/api")
# Letters, digits and hyphens, and the underscore that container names have; other scripts are encoded by then.
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)


class InvalidAddressError(ValueError):
    """What was typed is no address of a server."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server's address, and the credentials that stood in it; two ways to write one address give equal `url`s."""

    url: URL
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_address(host: str, port: int) -> ServerAddress:
    """Return the address that `host` is, at `port` where it says none itself.

    `host` is a name, an IP, `[IPv6]`, `host:port`, any of them with a path, or a full http(s) URL; a URL without a port
    means its scheme's. Raises InvalidAddressError for anything else.
    """
    text = host.strip()
    scheme, is_url, rest = text.partition("://")
    if not is_url:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise InvalidAddressError("only http and https are possible")
    if re.search(r"[\s?#\\]", rest):
        raise InvalidAddressError("an address has no blank, query or fragment")
    authority, _, path = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    name, own_port = _split_port(place)
    if own_port is not None:
        port = own_port
    elif is_url:
        port = _DEFAULT_PORTS[scheme]
    _check_port(port)
    url = URL(f"{scheme}://{_checked_host(name)}:{port}{_base_path(path)}")
    username, _, password = userinfo.partition(":")
    return ServerAddress(url, unquote(username) or None, unquote(password) or None)


def _split_port(place: str) -> tuple[str, int | None]:
    """Return host and port of `host:port`; an IPv6 address without brackets has no port."""
    if place.startswith("["):
        name, bracket, after = place[1:].partition("]")
        if not bracket or (after and not after.startswith(":")) or ":" not in name:
            raise InvalidAddressError("the brackets of an IPv6 address do not fit")
        colon, digits = after[:1], after[1:]
    elif place.count(":") > 1:
        return place, None
    else:
        name, colon, digits = place.partition(":")
    if not colon:
        return name, None
    if not re.fullmatch(r"[0-9]{1,5}", digits):
        raise InvalidAddressError("the port is no number")
    return name, int(digits)


def _check_port(port: int) -> None:
    if not 0 < port <= _LAST_PORT:
        raise InvalidAddressError("a port is between 1 and 65535")


def _checked_host(name: str) -> str:
    """Return the host as it stands in a URL."""
    try:
        if ":" in name:
            return f"[{IPv6Address(name.replace('%25', '%'))}]"
        if re.fullmatch(r"[0-9.]+", name):
            return str(IPv4Address(name))
        encoded = URL.build(scheme="http", host=name).raw_host or ""
    except ValueError as err:
        raise InvalidAddressError("this is no host") from err
    if not _HOST_NAME.fullmatch(encoded):
        raise InvalidAddressError("this is no host")
    return encoded


def _base_path(path: str) -> str:
    """Return the path in front of the protocols' own, without a slash at its end."""
    path = "/" + path.strip("/")
    for ending in _PROTOCOL_PATHS:
        if path.endswith(ending):
            path = path.removesuffix(ending)
            break
    return path.rstrip("/")
