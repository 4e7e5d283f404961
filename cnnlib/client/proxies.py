"""Which hosts are asked directly, whatever proxy the environment names."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

# RFC 1918 and RFC 4193. `is_private` of the standard library has more, such as examples of
# documentation and what some proxies give to public names.
PRIVATE_NETWORKS = tuple(
    map(
        ip_network,
        # The fourth is that of carriers (RFC 6598), which virtual private networks use, too.
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)
# RFC 6761, 6762 and 8375, what ICANN keeps for private use, and what routers call their networks.
LOCAL_DOMAINS = (".localhost", ".local", ".home.arpa", ".internal", ".lan", ".localdomain")
NOBODY = {4: "203.0.113.1", 6: "2001:db8::1"}  # of documentation: no machine has them

Address = IPv4Address | IPv6Address


def is_near(host: str) -> bool:
    """Return whether a proxy may not be able to reach a host, or would reach another one.

    That is so for the addresses and names of this machine, for private addresses, and for names
    without a dot, which are no public ones. Names are not looked up.
    """
    host = host.lower().rstrip(".")
    address = _address(host)
    if address is None:
        return "." not in host or host.endswith(LOCAL_DOMAINS) or _is_own_name(host)
    return (
        address.is_loopback
        or address.is_unspecified
        or address.is_link_local
        or any(address in network for network in PRIVATE_NETWORKS)
        or (_is_own(address) and not _is_own(ip_address(NOBODY[address.version])))
    )


def new_session(near: bool) -> requests.Session:
    """Return a session for near hosts, without the environment's proxy, or for others.

    The environment's certificates hold in both.
    """
    session = requests.Session()
    if near:
        session.trust_env = False
        session.verify = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        )
    return session


def proxy_hint(url: str) -> str:
    """Return, for a message, which proxy was asked for an address, and what to do; "" for none."""
    try:
        proxy = None if is_near(urlsplit(url).hostname or "") else _proxy_of(url)
    except ValueError:  # not an address
        return ""
    if not proxy:
        return ""
    parts = urlsplit(proxy)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # without a password
    socks = "; for SOCKS install `requests[socks]`" if proxy.lower().startswith("socks") else ""
    return (
        f"the proxy {shown} was asked, which the environment names (http_proxy, https_proxy, "
        f"all_proxy): correct or unset it, or add the host to no_proxy{socks}"
    )


def _proxy_of(url: str) -> str | None:
    proxy: str | None = select_proxy(url, get_environ_proxies(url))
    return proxy


def _address(host: str) -> Address | None:
    """Read an address as a URL may have it; None where it is a name."""
    try:
        address = ip_address(host.partition("%")[0])  # without its zone
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))  # such as 127.1
        except (OSError, UnicodeError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_own(address: Address) -> bool:
    """Return whether this machine has an address; only then can a socket be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _is_own_name(host: str) -> bool:
    name = socket.gethostname().lower()
    if host == name:
        return True
    same_machine = host.partition(".")[0] == name.partition(".")[0]
    return same_machine and host == socket.getfqdn().lower()  # which may take a look-up
