"""A hospital and a cloud as real servers, a person with a record, and a physician."""

from __future__ import annotations

import contextlib

from ompd.crypto import Identity
from ompd.crypto.identity_files import load_identity, save_identity
from ompd.crypto.prekey_files import open_prekeys
from ompd.files import write_private
from ompd.stores.registry import Registry
from tests.portal.processes import PortalProcess
from tests.service.rig import Rig

DISEASE = "coronary-artery-disease"

_CONFIG = """
id = "{name}"
identity = "{home}/identity"
password_file = "{home}/password"
registry = "{home}/registry.db"
wallet = "{home}/wallet.db"

[clouds]
cloud = "{cloud}"
"""


class Scene(contextlib.ExitStack):
    """All of them; ended with the block.

    Parameters
    ----------
    folder : Path
    table : str
        What the hospital can be asked, if anything.
    """

    def __init__(self, folder, table="cleveland"):
        super().__init__()
        self.folder = folder
        self._table = table

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def _begin(self):
        rig = self.rig = self.enter_context(Rig(self.folder, profile="sealed", users=0))
        self.parties = rig.folder
        if self._table:
            assert "done" in rig.outsource(self._table, None, DISEASE, k=9)
        user = self.parties / "user.toml"
        user.write_text(user.read_text().replace("http://127.0.0.1:0", rig.hospital.proxy.url))
        self._person("physician")
        me = load_identity(*self._home("user"))
        publics = {"user": me.public, "dr-bell": load_identity(*self._home("physician")).public}
        cloud = self._public("cloud")
        with Registry(self.parties / "cloud" / "registry.db") as registry:
            for public in publics.values():
                registry.admit(public, "user")
        for home, name, other in (
            ("user", "user", "dr-bell"),
            ("physician", "dr-bell", "user"),
        ):
            with Registry(self.parties / home / "registry.db") as registry:
                registry.admit(cloud, "cloud")
                registry.admit(publics[other], "user")
            text = _CONFIG.format(name=name, home=home, cloud=rig.cloud.proxy.url)
            (self.parties / f"{home}-cloud.toml").write_text(text)

    def _person(self, home):
        folder = self.parties / home
        folder.mkdir()
        identity = Identity.generate("dr-bell")
        write_private(folder / "password", [b"a password\n"])
        save_identity(folder / "identity", identity, "a password", role="user", _n=2)

    def _home(self, home):
        folder = self.parties / home
        return folder / "identity", (folder / "password").read_text().strip()

    def _public(self, home):
        folder, password = self._home(home)
        identity = load_identity(folder, password)
        statement = open_prekeys(folder, password, identity, _n=2).statement
        return identity.public.with_prekey(statement)

    def portal(self, name="record"):
        """The person's pages, of a record of this name."""
        folder = self.folder / "person"
        folder.mkdir(exist_ok=True)
        return PortalProcess(
            folder / name,
            "--hospital", self.parties / "user.toml",
            "--cloud", self.parties / "user-cloud.toml",
        )  # fmt: skip

    def physician(self):
        """The physician's pages."""
        folder = self.folder / "practice"
        folder.mkdir(exist_ok=True)
        return PortalProcess(None, "--physician", self.parties / "physician-cloud.toml", at=folder)
