"""Yesterday's backup of one side, while the other went on: nothing old is told as if new."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ompd
from ompd.crypto import Identity
from ompd.crypto.identity_files import save_identity, write_private
from ompd.errors import (
    ConfigError,
    DecryptionError,
    ExpiredError,
    OmpdError,
    StoreError,
    UnknownDiseaseError,
    VersionError,
)
from ompd.service.answers import REFUSAL
from ompd.service.backups import back_up_party, restore_party
from ompd.service.config import HospitalConfig, read_config
from ompd.service.parties import open_hospital
from ompd.service.setup import set_up
from ompd.stores import FolderTables
from ompd.stores.backup import Backup
from tests.roles.conftest import Clock, instances, post_of
from tests.service.lines import answer_to, post, said
from tests.service.processes import cloud_process, made

PARTIES = {"hospital": "st-mary", "cloud": "cloud", "user": "alice"}
IDENTITIES = {role: Identity.generate(party) for role, party in PARTIES.items()}
PASSWORD = b"correct horse\n"


class Site:
    """A hospital and a cloud, each with its configuration, state and identity in a folder."""

    def __init__(self, home, profile):
        self.home, self.profile, self.clock = home, profile, Clock()
        self.rows = 3000 if profile == "sealed" else 60
        for role in ("hospital", "cloud"):
            folder = home / role
            folder.mkdir()
            save_identity(folder / "identity", IDENTITIES[role], PASSWORD.decode().strip(),
                          role=role, _n=16)  # fmt: skip
            write_private(folder / "password", PASSWORD)
            write_private(folder / "registry.db", b"")
            (folder / "registry.db").unlink()
            ompd.stores.Registry(folder / "registry.db").close()
            write_private(folder / "party.toml", _config(role, profile).encode())
        # As if they had not been lost with all else, so that old frames can be read.
        self.prekeys = dict.fromkeys(("hospital", "cloud"))
        self.where = {role: home / role for role in ("hospital", "cloud")}
        self.start()

    def start(self):
        options = {"clock": self.clock}
        cloud = self.where["cloud"] / "state"
        cloud.mkdir(exist_ok=True, mode=0o700)
        self.hospital = ompd.Hospital(
            IDENTITIES["hospital"], profile=self.profile, share=1.0,
            state=self.where["hospital"] / "state", prekeys=self.prekeys["hospital"], **options,
        )  # fmt: skip
        self.cloud = ompd.Cloud(
            IDENTITIES["cloud"],
            tables=FolderTables(cloud / "tables"),
            replays=ompd.stores.DurableReplayGuard(cloud / "frames", 120),
            prekeys=self.prekeys["cloud"],
            **options,
        )
        self.prekeys = {
            "hospital": post_of(self.hospital).prekeys, "cloud": post_of(self.cloud).prekeys
        }  # fmt: skip
        self.user = ompd.User(IDENTITIES["user"], **options)
        ompd.introduce(self.hospital, self.cloud, self.user)

    def stop(self):
        self.hospital.close()
        self.cloud.close()
        self.cloud.tables.close()

    def publish(self, seed):
        data = instances(seed, rows=self.rows)
        upload = self.hospital.publish("flu", data, cloud="cloud", k=3)
        self.hospital.deliver(upload, self.cloud.store)

    def ask(self):
        query = self.user.ask("st-mary", "flu", (3, 4, 5))
        job = self.hospital.forward(query)
        report = self.hospital.report(self.cloud.answer(job))
        return self.user.read(report).probabilities

    def put_back(self, role):
        """Stop all, and start one side from its backup a day later."""
        self.stop()
        self.clock.now += 86_400
        new = self.home / f"{role}-again"
        with Backup(self.home / f"{role}.backup") as backup:
            restore_party(backup, new / "party.toml", self.clock)
        self.where[role] = new
        self.start()
        # Until then frames are refused that may have been accepted before.
        self.clock.now += 121


def _config(role, profile):
    listen = "[listen]\nport = 0\nmetrics_port = 0\n"
    head = f'id = "{PARTIES[role]}"\nidentity = "identity"\npassword_file = "password"\n'
    head += 'registry = "registry.db"\nstate = "state"\n'
    if role == "hospital":
        head += f'profile = "{profile}"\n'
        listen += '[clouds]\ncloud = "http://127.0.0.1:1"\n'
    return head + listen


@pytest.fixture(params=["paper", "hardened", "sealed"])
def site(request, tmp_path):
    """A site whose sides were both backed up after its first table."""
    site = Site(tmp_path, request.param)
    site.publish(1)
    site.first = site.ask()
    site.stop()
    for role in ("hospital", "cloud"):
        back_up_party(role, tmp_path / role / "party.toml", tmp_path / f"{role}.backup")
    site.start()
    yield site
    site.stop()


@pytest.mark.parametrize("asked", [False, True])
def test_a_hospital_of_yesterday(site, asked):
    site.publish(2)
    site.publish(3)
    if asked:
        site.ask()
    site.put_back("hospital")
    if site.profile == "sealed":
        # It asks for the version that it knows, which this cloud has no more.
        with pytest.raises(VersionError):
            site.ask()
    else:
        # A cloud has an old version as long as no newer one was asked.
        with pytest.raises(UnknownDiseaseError):
            site.ask()
    # Behind all versions that it may have given since, so at once.
    site.publish(4)
    assert len(site.ask()) == 1


def test_a_cloud_of_yesterday(site):
    site.publish(2)
    site.ask()
    site.put_back("cloud")
    with pytest.raises(VersionError):
        site.ask()
    site.publish(3)
    assert len(site.ask()) == 1


def test_both_of_yesterday_when_nothing_has_happened_since(site):
    for role in ("hospital", "cloud"):
        site.put_back(role)
    if site.profile != "sealed":
        site.publish(1)
    # A sealed table goes on, with a window of its own.
    assert np.array_equal(site.ask(), site.first)


def test_frames_of_before_are_refused(site):
    query = site.user.ask("st-mary", "flu", (3, 4, 5))
    site.hospital.forward(query)
    site.stop()
    new = site.home / "again"
    with Backup(site.home / "hospital.backup") as backup:
        restore_party(backup, new / "party.toml", site.clock)
    site.where["hospital"] = new
    site.start()
    if site.profile != "sealed":
        site.publish(1)
    # Accepted after the backup, and still fresh.
    with pytest.raises(ExpiredError):
        site.hospital.forward(query)


def test_hints_are_in_no_backup(tmp_path):
    site = Site(tmp_path, "sealed")
    site.publish(1)
    site.ask()
    assert site.hospital.remaining("flu")
    site.stop()
    assert list((tmp_path / "hospital" / "state").glob("*/hints"))
    back_up_party("hospital", tmp_path / "hospital" / "party.toml", tmp_path / "hospital.backup")
    # Reading costs the running party nothing.
    site.start()
    assert site.hospital.remaining("flu")
    site.put_back("hospital")
    assert not site.hospital.remaining("flu")
    assert len(site.ask()) == 1
    site.stop()


def test_the_configuration_says_where_things_go(site):
    folder = site.home / "elsewhere"
    folder.mkdir()
    config = folder / "own.toml"
    text = _config("hospital", site.profile).replace('"state"', '"deep/down/state"')
    config.write_text(text.replace('"identity"', '"keys"', 1).replace("identity =", "identity ="))
    with Backup(site.home / "hospital.backup") as backup:
        found = restore_party(backup, config)
        assert found.state == folder / "deep" / "down" / "state"
        assert (found.state / "records").is_dir()
        assert (folder / "keys" / "identity.json").exists()
        with pytest.raises(StoreError, match="not empty"):
            restore_party(backup, config)
        config.write_text(text.replace("st-mary", "st-john"))
        with pytest.raises(ConfigError, match="another party"):
            restore_party(backup, config)
        # Nothing is left of one that fails, the configuration in it included.
        other = site.home / "other"
        (other / "state").mkdir(parents=True)
        (other / "state" / "x").touch()
        with pytest.raises(StoreError, match="not empty"):
            restore_party(backup, other / "party.toml")
        assert sorted(path.name for path in other.iterdir()) == ["state"]


def test_a_server_that_runs_and_a_password_in_the_wrong_place(tmp_path, site):
    config = tmp_path / "hospital" / "party.toml"
    with pytest.raises(StoreError, match="state: another process has it open"):
        back_up_party("hospital", config, tmp_path / "other")
    with pytest.raises(StoreError, match="state/tables: another process has it open"):
        back_up_party("cloud", tmp_path / "cloud" / "party.toml", tmp_path / "other")
    site.stop()
    write_private(tmp_path / "hospital" / "identity" / "password", PASSWORD)
    config.write_text(config.read_text().replace('"password"', '"identity/password"'))
    with pytest.raises(ConfigError, match="apart from"):
        back_up_party("hospital", config, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    site.start()


def test_what_init_makes_can_be_backed_up(tmp_path):
    set_up(tmp_path / "site", _n=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = back_up_party("user", tmp_path / "site" / "user.toml", tmp_path / "user.backup")
    assert {file.name.partition("/")[0] for file in made.files} == {
        "config", "identity", "registry"
    }  # fmt: skip
    with Backup(tmp_path / "user.backup") as backup:
        restore_party(backup, tmp_path / "new" / "user.toml")
    names = {path.name for path in (tmp_path / "new" / "user").rglob("*")}
    assert "password" not in names
    assert "identity.json" in names
    with pytest.raises(OmpdError):
        # Never started: it has no state.
        back_up_party("cloud", tmp_path / "site" / "cloud.toml", tmp_path / "other")


def test_a_cloud_learns_the_next_short_lived_key(tmp_path):
    folder = made(tmp_path / "site", profile="paper")
    config = read_config(folder / "hospital.toml", HospitalConfig)
    with cloud_process(folder) as cloud:

        def send(frame):
            return answer_to(cloud.url, post(frame))[1]

        def meet(identity):
            return answer_to(cloud.url, post(identity, "/v1/identity"))[0]

        with open_hospital(config) as hospital:
            old = hospital.public
            hospital.deliver(hospital.publish("flu", instances(), cloud="cloud", k=3), send)
        # No backup has it, so that a restore loses it.
        (folder / "hospital" / "identity" / "prekeys.json").unlink()
        with open_hospital(config) as hospital:
            upload = hospital.publish("flu", instances(2), cloud="cloud", k=3)
            with pytest.raises(DecryptionError):
                hospital.deliver(upload, send)
            for _ in range(2):
                assert meet(hospital.public.to_bytes()) == 200
            hospital.deliver(hospital.resend("flu"), send)
            stranger = Identity.generate("stranger").public
            other = Identity.generate("hospital").public
            for identity in (old, stranger, other):
                assert said(cloud.url, post(identity.to_bytes(), "/v1/identity")) == REFUSAL
            for junk in (b"", b"junk", bytes(1 << 13)):
                assert said(cloud.url, post(junk, "/v1/identity")) == REFUSAL
            hospital.deliver(hospital.publish("flu", instances(3), cloud="cloud", k=3), send)
