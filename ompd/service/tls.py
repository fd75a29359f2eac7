"""TLS of those who connect."""

from __future__ import annotations

import ssl

from ompd.errors import ConfigError
from ompd.service.config import Connect


def client_context(files: Connect) -> ssl.SSLContext:
    """Return what a party checks others with, and shows itself.

    Raises
    ------
    ConfigError
        If a file is missing or of another form, or a key of another certificate.
    """
    context: ssl.SSLContext | None = None
    try:
        context = ssl.create_default_context(cafile=files.authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if files.certificate is not None and files.key is not None:
            # An empty password, so that nobody is asked for one.
            context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError):
        context = None
    if context is None:
        raise ConfigError("connect: expected certificates and a key without password, in PEM")
    return context
