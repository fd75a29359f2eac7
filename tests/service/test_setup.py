"""What `ompd init` makes, and configurations that cannot be used."""

from __future__ import annotations

import os
import stat

import pytest

from ompd.crypto.identity_files import read_card
from ompd.errors import (
    ConfigError,
    KeyMaterialError,
    KeystoreError,
    ParameterError,
    PasswordError,
    StoreError,
)
from ompd.service.config import CloudConfig, HospitalConfig, UserConfig, read_config
from ompd.service.parties import (
    open_cloud_server,
    open_hospital,
    open_hospital_server,
    open_user,
)
from ompd.service.setup import Ids, Ports, set_up
from ompd.stores.registry import Registry

KINDS = {"hospital": HospitalConfig, "cloud": CloudConfig, "user": UserConfig}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A configuration that tests only read."""
    folder = tmp_path_factory.mktemp("made") / "clinic"
    set_up(folder, profile="hardened", ids=Ids("st.mary", "cloud-9", "alice"), _n=16)
    return folder


@pytest.fixture
def own(tmp_path):
    """A configuration that a test may change."""
    set_up(tmp_path / "clinic", _n=16)
    return tmp_path / "clinic"


def change(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)


def test_all_parties_know_whom_they_need(made):
    public = {role: read_card(made / role / "identity").public for role in KINDS}
    assert [public[role].id for role in KINDS] == ["st.mary", "cloud-9", "alice"]
    known = {
        "hospital": {"st.mary", "cloud-9", "alice"}, "cloud": {"st.mary"}, "user": {"st.mary"},
    }  # fmt: skip
    for role, ids in known.items():
        with Registry(made / role / "registry.db") as registry:
            assert {entry.public.id for entry in registry.parties()} == ids
            for other, identity in public.items():
                if identity.id in ids:
                    assert registry.get(identity.id).lasting == identity
                    assert registry.role(identity.id) == other


def test_configurations_are_read_and_folders_can_be_moved(made, tmp_path, monkeypatch):
    hospital = read_config(made / "hospital.toml", HospitalConfig)
    assert hospital.id == "st.mary"
    assert hospital.profile == "hardened"
    assert hospital.clouds == {"cloud-9": "http://127.0.0.1:8112"}
    assert hospital.state == made / "hospital/state"
    assert hospital.listen.tls is None
    assert hospital.connect.authorities is None
    user = read_config(made / "user.toml", UserConfig)
    assert (user.hospital, user.least_profile) == ("st.mary", "hardened")
    assert user.url == f"http://127.0.0.1:{hospital.listen.port}"
    monkeypatch.chdir(made.parent)
    moved = tmp_path / "moved"
    moved.symlink_to(made)
    assert read_config(moved / "cloud.toml", CloudConfig).state == moved / "cloud/state"
    assert read_config("clinic/cloud.toml", CloudConfig).state == made / "cloud/state"


def test_the_parts_that_are_commented_out_can_be_used(made, tmp_path):
    for role, kind in KINDS.items():
        text = (made / f"{role}.toml").read_text()
        lines = [
            line.removeprefix("# ") if line.startswith(("# [", "# c", "# k", "# a")) else line
            for line in text.splitlines()
        ]
        path = tmp_path / f"{role}.toml"
        path.write_text("\n".join(lines))
        read = read_config(path, kind)
        if role != "user":
            assert read.listen.tls.clients == tmp_path / "authorities-of-clients.pem"
        if role != "cloud":
            assert read.connect.key == tmp_path / "key.pem"


def test_secrets_are_for_the_owner_alone(made):
    for folder, folders, names in os.walk(made):
        for name in [*folders, *names]:
            mode = stat.S_IMODE(os.lstat(os.path.join(folder, name)).st_mode)
            assert not mode & 0o077, name
    passwords = {(made / role / "password").read_text() for role in KINDS}
    assert len(passwords) == 3
    assert all(len(password.strip()) >= 32 for password in passwords)
    for role in KINDS:
        text = (made / f"{role}.toml").read_text()
        assert not any(password.strip() in text for password in passwords)


def test_what_is_there_stays(own, tmp_path):
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="empty folder"):
        set_up(own, _n=16)
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError):
        set_up(tmp_path / "file", _n=16)
    with pytest.raises(StoreError):
        set_up(tmp_path / "no" / "parent", _n=16)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"profile": "open"}, ParameterError),
        ({"ids": Ids("St Mary")}, KeyMaterialError),
        ({"ids": Ids("a", "a", "b")}, ParameterError),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, options, error):
    with pytest.raises(error):
        set_up(tmp_path / "clinic", _n=16, **options)
    assert not (tmp_path / "clinic").exists()


def test_an_interrupted_setup_leaves_an_empty_folder(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ompd.service.setup.save_identity", interrupted)
    with pytest.raises(KeyboardInterrupt):
        set_up(tmp_path / "clinic", _n=16)
    assert list((tmp_path / "clinic").iterdir()) == []
    monkeypatch.undo()
    set_up(tmp_path / "clinic", _n=16)


def test_parties_open_with_all_state(own):
    with open_hospital_server(read_config(own / "hospital.toml", HospitalConfig)) as opened:
        hospital, audit = opened
        assert hospital.profile == "sealed"
        assert hospital.public.prekey is not None
        with (
            pytest.raises(StoreError, match="another process"),
            open_hospital(read_config(own / "hospital.toml", HospitalConfig)),
        ):
            pass
        first = hospital.public
    with open_cloud_server(read_config(own / "cloud.toml", CloudConfig)) as (cloud, audit):
        assert cloud.id == "cloud"
        assert audit.head.n >= 1
    with open_user(read_config(own / "user.toml", UserConfig)) as user:
        assert user.id == "user"
    # The short-lived key is kept, or what is on its way could not be read.
    with open_hospital(read_config(own / "hospital.toml", HospitalConfig)) as hospital:
        assert hospital.public == first


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ([('"hospital/identity"', '"cloud/identity"')], ConfigError, "another party"),
        (
            [('"hospital/identity"', '"cloud/identity"'), ('"hospital"', '"cloud"')],
            ConfigError,
            "keys of a hospital",
        ),
        ([('"hospital/registry.db"', '"none"')], ConfigError, "no none"),
        ([('"hospital/password"', '"cloud/password"')], PasswordError, "wrong"),
        ([('"hospital/password"', '"none"')], KeystoreError, "none"),
        ([('"hospital/identity"', '"none"')], KeystoreError, "identity.json"),
    ],
)
def test_what_a_configuration_names_is_checked(own, changes, error, match):
    change(own / "hospital.toml", *changes)
    with (
        pytest.raises(error, match=match),
        open_hospital(read_config(own / "hospital.toml", HospitalConfig)),
    ):
        pass
    assert not (own / "hospital/state").exists()


def test_a_password_that_others_can_read_is_refused(own):
    (own / "hospital/password").chmod(0o644)
    with (
        pytest.raises(KeystoreError, match="0600"),
        open_hospital(read_config(own / "hospital.toml", HospitalConfig)),
    ):
        pass


@pytest.mark.parametrize(
    ("change_of", "match"),
    [
        (("signers = 2", "signers = 65"), r"\$.signers"),
        (("signers = 2", "signers = 2\nsigner = 2"), "unknown field `signer`"),
        (("users_share = 0.5", "users_share = 0"), r"\$.users_share"),
        (('profile = "sealed"', 'profile = "open"'), r"\$.profile"),
        (("port = 8111", "port = 65536"), r"\$.listen.port"),
        (("port = 8111", ""), "missing required field `port`"),
        (('state = "hospital/state"', ""), "missing required field `state`"),
        (('state = "hospital/state"', 'state = ""'), "expected a path"),
        (('state = "hospital/state"', "state = 7"), "expected a path"),
        (('"cloud" = "http', '"cloud" = "ftp'), "expected a URL"),
        (('"cloud" = "http://127.0.0.1', '"cloud" = "http://me:secret@127.0.0.1'), "a URL"),
        (('"cloud" = "http://127.0.0.1:8112"', ""), r"\$.clouds"),
        (("[clouds]", '[connect]\nkey = "k"\n[clouds]'), "`certificate` and `key`"),
        (("[clouds]", "[noise]\nepsilon = 1.0\n[clouds]"), "missing required field `limit`"),
        (("[clouds]", "[clouds"), "line"),
    ],
)
def test_what_is_wrong_is_told(made, tmp_path, change_of, match):
    text = (made / "hospital.toml").read_text()
    path = tmp_path / "hospital.toml"
    path.write_text(text)
    change(path, ('profile = "hardened"', 'profile = "sealed"'), ("cloud-9", "cloud"), change_of)
    with pytest.raises(ConfigError, match=match) as caught:
        read_config(path, HospitalConfig)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_configuration(made, tmp_path):
    for content in (b"\xff\xfe", b"x" * (2 << 20), b""):
        (tmp_path / "x.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"x\.toml"):
            read_config(tmp_path / "x.toml", UserConfig)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml", UserConfig)
    with pytest.raises(ConfigError):
        read_config(tmp_path, UserConfig)
    with pytest.raises(ConfigError, match="unknown field `state`"):
        read_config(made / "cloud.toml", UserConfig)


def test_ports_are_told_to_those_who_connect(tmp_path):
    set_up(tmp_path / "x", ports=Ports(1, 2, 3, 4), _n=16)
    hospital = read_config(tmp_path / "x/hospital.toml", HospitalConfig)
    cloud = read_config(tmp_path / "x/cloud.toml", CloudConfig)
    assert hospital.clouds == {"cloud": "http://127.0.0.1:3"}
    assert (hospital.listen.port, hospital.listen.metrics_port) == (1, 2)
    assert (cloud.listen.port, cloud.listen.metrics_port) == (3, 4)
    assert read_config(tmp_path / "x/user.toml", UserConfig).url == "http://127.0.0.1:1"
