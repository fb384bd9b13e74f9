"""The form in which a URL may be shown: without userinfo, tokens and signatures."""

import re
from typing import Final
from urllib.parse import unquote

_USERINFO: Final = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)

# What programs and cameras call a secret in a query. Some harmless keys are caught with them ("monkey"), which costs
# less than a secret that is missed.
_SECRET_KEY: Final = re.compile(
    r"auth|cred|hash|hmac|jwt|key|login|nonce|pas|pin|policy|psw|pw|secret|session|sid|sig|ticket|token|user|usr|code"
    r"|^(?:k|p|s|u)$",
    re.IGNORECASE,
)

# Sizes, times and names are shorter; a secret under a key of its own invention mostly is not.
_LONGEST_HARMLESS_VALUE: Final = 31


def public_url(url: str) -> str:
    """Return a URL or path as it was given, without what could be secret in it; it need not be a valid one."""
    address, _, query = url.partition("?")
    pairs = [pair for pair in re.split("[&;]", query.partition("#")[0]) if not _is_secret(pair)]
    return "?".join(part for part in (_USERINFO.sub(r"\1", address), "&".join(pairs)) if part)


def _is_secret(pair: str) -> bool:
    key, _, value = pair.partition("=")
    # A lone word has no key to tell what it is.
    return not value or len(value) > _LONGEST_HARMLESS_VALUE or bool(_SECRET_KEY.search(unquote(key)))
