"""Servers over TLS, with and without certificates of their clients."""

from __future__ import annotations

import contextlib
import ssl

import pytest

from ompd.errors import ConfigError
from ompd.service.answers import REFUSAL
from ompd.service.config import Listen, Tls
from ompd.service.serving import run
from tests.service.certificates import Authority
from tests.service.lines import Peer, get, post, said, serving
from tests.service.test_http import PATIENCE, STRANGER, Echo, query


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"), "authority")


def trusting(authority, shown=None):
    context = ssl.create_default_context(cafile=authority.file)
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


@pytest.mark.long
def test_frames_over_tls(authority):
    certificate, key = authority.issue("server")
    with serving(Echo().app, patience=PATIENCE, tls=Tls(certificate=certificate, key=key)) as at:
        assert at.service.startswith("https://")
        with Peer(at.service, trusting(authority)) as peer:
            frame = query(size=3 << 20)
            peer.send(post(frame))
            assert peer.answer()[2] == bytes(96) + len(frame).to_bytes(4, "big")
            peer.send(get("/health/live"))
            assert peer.answer()[2] == b"alive"
        for wrong in (get("/"), post(query(STRANGER)), post(query())[:-5], b"GET /"):
            with Peer(at.service, trusting(authority)) as peer:
                peer.send(wrong)
                assert peer.rest() == REFUSAL
        # A handshake that does not come is waited for no longer than a request.
        with Peer(at.service) as peer:
            assert peer.rest() == b""
        # Nothing is said to who speaks no TLS.
        assert REFUSAL not in said(at.service, get("/health/live"))
        old = trusting(authority)
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Peer(at.service, old)


def test_clients_without_a_certificate_of_the_authority_stay_out(authority, tmp_path):
    certificate, key = authority.issue("server")
    tls = Tls(certificate=certificate, key=key, clients=authority.file)
    stranger = Authority(tmp_path, "stranger")
    with serving(Echo().app, tls=tls) as at:
        with Peer(at.service, trusting(authority, authority.issue("client"))) as peer:
            peer.send(get("/health/live"))
            assert peer.answer()[2] == b"alive"
        for shown in (None, stranger.issue("client")):
            # In TLS 1.3 a client learns of it when it reads.
            with (
                contextlib.suppress(ssl.SSLError, ConnectionError),
                Peer(at.service, trusting(authority, shown)) as peer,
            ):
                peer.socket.sendall(get("/health/live"))
                assert peer.rest() == b""
        with Peer(at.service, trusting(authority, authority.issue("client"))) as peer:
            peer.send(get("/health/live"))
            assert peer.answer()[2] == b"alive"


def test_files_that_are_none_of_tls(authority, tmp_path):
    certificate, key = authority.issue("server")
    _, other = authority.issue("other")
    empty = tmp_path / "empty"
    empty.touch()
    for tls in (
        Tls(certificate=certificate, key=other),
        Tls(certificate=empty, key=key),
        Tls(certificate=certificate, key=tmp_path / "missing"),
        Tls(certificate=certificate, key=key, clients=empty),
        Tls(certificate=certificate, key=key, clients=tmp_path / "missing"),
    ):
        with pytest.raises(ConfigError, match=r"tls: expected"):
            run(Echo().app, Listen(port=0, metrics_port=0, tls=tls))
