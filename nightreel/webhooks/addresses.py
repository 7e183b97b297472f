"""The addresses that webhooks may be sent to: public ones, and the networks that an operator allows.

A URL of a webhook may lead into the network of this host: to a database, to Prefect, to the metadata of a cloud. So the
address of each connection is checked: a name may mean another address than when it was looked up before.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_OF_CLOUDS = (IPv4Address("168.63.129.16"),)
"""Public by their number, but served inside a cloud. Source: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16"""
_NAT64 = IPv6Network("64:ff9b::/96")
_TUNNELS = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""6to4 and Teredo: they contain an IPv4 address, and no receiver needs them any more."""
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
        address = _destination(address)
        if any(address in network for network in self.networks if network.version == address.version):
            return True
        if of_loopback and address.is_loopback:
            return True
        return (
            address.is_global
            and not address.is_multicast
            and not address.is_reserved
            and address not in _OF_CLOUDS
            and not any(address in network for network in _TUNNELS if network.version == address.version)
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


def _destination(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for; else the address itself.

    >>> _destination(ip_address("::ffff:10.0.0.1")), _destination(ip_address("64:ff9b::a00:1"))
    (IPv4Address('10.0.0.1'), IPv4Address('10.0.0.1'))
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
