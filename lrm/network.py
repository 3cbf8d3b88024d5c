"""Whether this process can make requests at all, before it makes the first."""

from __future__ import annotations

import httpx2


def check_network() -> None:
    """Raises ConnectionError if what the environment says of proxies or certificates is unusable.

    Each HTTP client reads these variables as it is made, and then fails in ways that name none of
    them. The hub's clients and ours read them alike.
    """
    try:
        httpx2.Client().close()
    except OSError as error:
        raise ConnectionError(
            f"the certificates that SSL_CERT_FILE names cannot be read ({error}); correct or unset "
            "this variable"
        ) from error
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise ConnectionError(
            f"the proxy that ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names cannot be used ({error}); "
            "correct or unset these variables"
        ) from error
