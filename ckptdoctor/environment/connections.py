"""Connections to indexes, with pip's certificates, proxy and time limit."""

from __future__ import annotations

import os
import time
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ckptdoctor.environment.pip_settings import PipSettings
from ckptdoctor.errors import TargetError

AT_ONCE = 16
"""Requests that may be under way at once."""
_TIMEOUT = 15.0
"""Seconds to wait for an index where pip's settings do not say."""
_LARGEST_PAGE = 64 * 2**20


def connect(settings: PipSettings) -> requests.Session:
    """What reads from the network as pip would."""
    session = requests.Session()
    timeout = time_limit(settings)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(timeout))
    for host in settings.trusted_hosts:
        # With the slash, `host` does not stand for `host.example` as well; without a port it stands for the default one.
        session.mount(f"https://{host}/", _Adapter(timeout, trusted=True))
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if settings.cert:
        session.verify = settings.cert
    if settings.client_cert:
        session.cert = settings.client_cert
    if settings.proxy:
        proxy = settings.proxy if "://" in settings.proxy else f"http://{settings.proxy}"
        session.proxies = {"http": proxy, "https": proxy}
        # requests would let the environment's proxy win over this one. Its variables for certificates go with that.
        session.trust_env = False
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        session.verify = settings.cert or bundle or True
    return session


def time_limit(settings: PipSettings) -> float:
    """Seconds to wait for an index.

    Raises:
        TargetError: pip's setting is not a number.
    """
    try:
        seconds = float(settings.timeout or _TIMEOUT)
    except ValueError:
        message = "pip's setting timeout is not a number."
        raise TargetError(message, "Correct it: `pip config debug` shows where.") from None
    return seconds if seconds > 0 else _TIMEOUT


def read_within(response: requests.Response, deadline: float) -> bytes:
    """The body, unless it is too large or comes too slowly."""
    body = bytearray()
    for chunk in response.iter_content(2**16):
        body += chunk
        if len(body) > _LARGEST_PAGE or time.monotonic() > deadline:
            raise requests.ReadTimeout("the page is too large or comes too slowly")
    return bytes(body)


class _Adapter(HTTPAdapter):
    """Connections with a time limit on each answer, and without a check of certificates where pip has none."""

    def __init__(self, timeout: float, trusted: bool = False) -> None:
        self._limit = timeout
        self._trusted = trusted
        super().__init__(pool_connections=AT_ONCE, pool_maxsize=AT_ONCE)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or self._limit
        if self._trusted:
            kwargs["verify"] = False
        return super().send(request, *args, **kwargs)
