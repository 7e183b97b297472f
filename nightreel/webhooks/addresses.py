"""The addresses that webhooks may be sent to: public ones, and the networks that an operator allows.

A URL of a webhook may lead into the network of this host: to a database, to Prefect, to the metadata of a cloud. So the
address of each connection is checked: a name may mean another address than when it was looked up before.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_OF_CLOUDS = (IPv4Address("168.63.129.16"),)
"""Public by their number, but served inside a cloud. Source: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16"""
_NAT64 = IPv6Network("64:ff9b::/96")
_LOOPBACK_NAMES = ("localhost",)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Where webhooks may be sent.

    Args:
        networks: not public, allowed by the operator.
        http: also without encryption.
    """

    networks: tuple[Network, ...] = ()
    http: bool = False

    def allows(self, address: Address, *, of_loopback: bool = False) -> bool:
        """Whether to connect to an address.

        Args:
            of_loopback: the URL itself names this host, by `localhost` or a loopback address.

        >>> [Allowed().allows(ip_address(text)) for text in ("93.184.215.14", "10.0.0.1", "::ffff:169.254.169.254")]
        [True, False, False]
        """
        every = [address, *_inside(address)]
        if any(one in network for one in every for network in self.networks if one.version == network.version):
            return True
        if of_loopback and address.is_loopback:
            return True
        return all(
            one.is_global and not one.is_multicast and not one.is_reserved and one not in _OF_CLOUDS for one in every
        )


def names_loopback(host: str) -> bool:
    """Whether the host of a URL is this host by its spelling. A name that only resolves to loopback is not.

    >>> [names_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "localhost.example.com", "2130706433")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK_NAMES


def resolve(host: str, port: int, allowed: Allowed) -> Sequence[str]:
    """The addresses of a host, as text: all of them are allowed.

    Raises:
        TransientError: `webhook_unreachable`: the name has no address, or the lookup failed.
        PermanentError: `webhook_refused`: one of the addresses is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, f"{host}: the name could not be looked up: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    of_loopback = names_loopback(host)
    for text in addresses:
        if not allowed.allows(ip_address(text), of_loopback=of_loopback):
            raise PermanentError(
                Reason.WEBHOOK_REFUSED,
                f"{host} is at {text}, which is no public address: NIGHTREEL_WEBHOOK_NETWORKS can allow its network",
            )
    return addresses


def _inside(address: Address) -> Iterator[Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if not isinstance(address, IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
