"""init, serve, outsource, query and status, as a new user has them: real processes, real files."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ompd
from ompd.commands.app import app
from ompd.errors import ReplayError
from ompd.service import Client
from ompd.service.config import HospitalConfig, read_config
from ompd.service.parties import open_hospital_server
from ompd.service.setup import Ports, set_up
from tests.bulk.conftest import records, rows_of
from tests.marks import long
from tests.places import ROOT
from tests.service.rig import until


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output + done.stderr
    return done


class Server:
    """`ompd serve`, which tells where it is and stays there when it is started again."""

    def __init__(self, folder, party):
        self.folder = folder
        self.party = party
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ompd", "serve", self.party, "--config",
             self.folder / f"{self.party}.toml"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        found = re.fullmatch(rf"{self.party} serves at (\S+), figures (\S+)\n", line)
        if not found:
            self.kill()
            pytest.fail(f"{self.party} did not start: {line!r}")
        self.url, self.figures = found.groups()
        path = self.folder / f"{self.party}.toml"
        ports = [url.rpartition(":")[2] for url in (self.url, self.figures)]
        text = path.read_text().replace("\nport = 0", f"\nport = {ports[0]}")
        path.write_text(text.replace("metrics_port = 0", f"metrics_port = {ports[1]}"))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.kill()


@contextlib.contextmanager
def serving(folder):
    """Both servers, which end whatever happens."""
    with contextlib.ExitStack() as stack:
        cloud = Server(folder, "cloud")
        stack.callback(cloud.kill)
        point(folder / "hospital.toml", cloud.url)
        hospital = Server(folder, "hospital")
        stack.callback(hospital.kill)
        point(folder / "user.toml", hospital.url)
        yield hospital, cloud


def point(path, url):
    path.write_text(re.sub(r"http://127.0.0.1:\d+", url, path.read_text()))


def written(folder, data, people):
    """Files of records, of their schema, and of people who ask."""
    names = [feature.name for feature in data.schema.features]
    with (folder / "old.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([*names, "class"])
        labels = [data.schema.classes[code] for code in data.labels]
        out.writerows([*row, label] for row, label in zip(data.features, labels, strict=True))
    (folder / "old.toml").write_text(data.schema.to_toml())
    with (folder / "people.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows(people)


@pytest.mark.parametrize("party", ["hospital", "cloud"])
@pytest.mark.parametrize("which", ["port", "metrics_port"])
def test_a_port_that_is_taken_is_told_before_anything_is_compiled(tmp_path, party, which):
    set_up(tmp_path / "own", ports=Ports(0, 0, 0, 0), _n=2)
    config = tmp_path / f"own/{party}.toml"
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        config.write_text(config.read_text().replace(f"\n{which} = 0", f"\n{which} = {port}"))
        done = run("serve", party, "--config", config, code=2)
    assert "cannot be listened on: Address already in use" in done.stderr
    assert "preparing" not in done.stderr


@pytest.fixture
def folder(tmp_path):
    set_up(tmp_path / "clinic", ports=Ports(0, 0, 0, 0), _n=16)
    return tmp_path / "clinic"


@pytest.mark.parametrize("profile", ["sealed", *long("hardened", "paper")])
def test_four_commands_give_the_diagnosis_of_a_plain_call(tmp_path, profile):
    folder = tmp_path / "clinic"
    set_up(folder, profile=profile, ports=Ports(0, 0, 0, 0), _n=16)
    data, people = records(rows=120), rows_of(12)
    written(tmp_path, data, people)
    hospital_file, user_file = folder / "hospital.toml", folder / "user.toml"
    with serving(folder) as (hospital, cloud):
        said = run(
            "outsource", tmp_path / "old.csv", "--disease", "flu", "--config", hospital_file,
            "--advice", "yes=Stay at home.", "--k", "5",
        ).stdout  # fmt: skip
        assert said == "flu: 120 records at cloud, 5 neighbours vote\n"
        expected = ompd.diagnose(people, data, disease="flu", profile=profile, k=5, progress=False)
        # A file of people.
        run("query", tmp_path / "people.csv", "--config", user_file, "--out", tmp_path / "out.csv")
        with (tmp_path / "out.csv").open() as file:
            assert [row["label"] for row in csv.DictReader(file)] == expected.labels.tolist()
        said = run("query", "--config", user_file).stdout
        assert said.startswith("\nflu\n")
        assert all(feature.name in said for feature in data.schema.features)
        assert (
            "has another: flu"
            in run("query", "--disease", "cold", "--config", user_file, code=2).stderr
        )
        # One person.
        named = [f"{f.name}={value}" for f, value in zip(data.schema.features, people[0],
                                                         strict=True)]  # fmt: skip
        said = run("query", *named, "--config", user_file).stdout
        assert said.startswith(f"flu: {expected[0].label}\n")
        assert ("Stay at home." in said) == (expected[0].label == "yes")
        with Client.open(user_file) as client:
            client.diseases()
            query = client.user.ask("hospital", "flu", people[1])
            report = client.send(query)
            assert client.send(query) == report
            # Counted once it is answered.
            until(
                lambda: json.loads(run_status(hospital))["queries"]["repeated"] == 1,
                "the hospital says that a query was repeated",
            )
            # Both are killed, and answer alike when they are there again.
            hospital.kill()
            cloud.kill()
            cloud.start()
            hospital.start()
            assert client.send(query) == report
            (found,) = client.user.read(report)
            assert (found.label, found.votes) == (expected[1].label, expected[1].votes)
            found = client.ask("flu", people)
            assert found.labels.tolist() == expected.labels.tolist()
            if profile != "sealed":
                assert found.votes.tolist() == expected.votes.tolist()
        assert hospital.stop() == 0
        assert cloud.stop() == 0
    assert not (folder / "hospital/state/running.json").exists()
    # Nothing was accepted twice, and the log says who asked.
    with open_hospital_server(read_config(hospital_file, HospitalConfig)) as (opened, _):
        with pytest.raises(ReplayError):
            opened.forward(query)
        assert list(opened.diseases) == ["flu"]


def run_status(server):
    import urllib.request

    with urllib.request.urlopen(server.figures + "/status", timeout=30) as answer:  # noqa: S310
        return answer.read()


@pytest.mark.long
def test_a_table_is_handed_over_by_the_command_where_no_server_runs(folder, tmp_path):
    written(tmp_path, records(), rows_of(1))
    order = ("outsource", tmp_path / "old.csv", "--disease", "flu", "--config",
             folder / "hospital.toml")  # fmt: skip
    cloud = Server(folder, "cloud")
    try:
        point(folder / "hospital.toml", cloud.url)
        assert (
            "server: none"
            in run("status", "--config", folder / "hospital.toml", "--once", code=2).stderr
        )
        assert "role" not in run("status", "--config", folder / "cloud.toml").stdout
        # A server that was killed leaves this.
        state = folder / "hospital/state"
        state.mkdir(mode=0o700)
        left = {"pid": 1, "service": "http://127.0.0.1:9", "metrics": "http://127.0.0.1:9"}
        (state / "running.json").write_text(json.dumps(left | {"token": "x"}))
        assert "90 records" in run(*order).stdout
        # While another process has the state, nothing is done.
        config = read_config(folder / "hospital.toml", HospitalConfig)
        with open_hospital_server(config) as (hospital, _):
            assert list(hospital.diseases) == ["flu"]
            assert "another process" in run(*order, code=2).stderr
    finally:
        cloud.kill()
    assert "cannot be reached" in run(*order, code=2).stderr


@pytest.mark.long
def test_orders_are_taken_from_the_owner_alone(folder, tmp_path):
    written(tmp_path, records(), rows_of(1))
    with serving(folder) as (hospital, _):
        path = folder / "hospital/state/running.json"
        assert path.stat().st_mode & 0o777 == 0o600
        order = ("outsource", tmp_path / "old.csv", "--disease", "flu", "--config",
                 folder / "hospital.toml")  # fmt: skip
        told = path.read_text()
        path.write_text(told.replace(json.loads(told)["token"], "x" * 43))
        assert "does not take this order" in run(*order, code=2).stderr
        path.write_text(told)
        (tmp_path / "old.csv").write_text("f0,f1,f2,class\n1,2,300,yes\n")
        said = run(*order, code=2).stderr
        assert "line 2" in said
        assert "300" not in said
        written(tmp_path, records(), rows_of(1))
        assert "clouds:" in run(*order, "--cloud", "other", code=2).stderr
        assert json.loads(run_status(hospital))["tables"] == []
        # From another folder, by a path that is relative to it.
        before = Path.cwd()
        os.chdir(tmp_path)
        try:
            run("outsource", "old.csv", "--disease", "flu", "--config", folder / "hospital.toml")
        finally:
            os.chdir(before)
        assert "flu" in run("status", "--config", folder / "hospital.toml").stdout


def test_input_that_cannot_be_used(folder, tmp_path):
    hospital, user = folder / "hospital.toml", folder / "user.toml"
    for command in ("serve hospital", "outsource x --disease flu", "query a=1", "status"):
        said = run(*command.split(), "--config", tmp_path / "none.toml", code=2).stderr
        assert said.startswith("ompd: none.toml: ")
    said = run("outsource", tmp_path / "x.csv", "--disease", "flu", "--config", hospital, code=2)
    assert "ompd schema" in said.stderr
    said = run(
        "outsource", "wbc", "--disease", "x", "--advice", "yes", "--config", hospital, code=2
    )
    assert "CLASS=TEXT" in said.stderr
    (tmp_path / "out.csv").write_text("mine")
    said = run("query", "a=1", "--out", tmp_path / "out.csv", "--config", user, code=2)
    assert "is there already" in said.stderr
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_init(tmp_path, monkeypatch):
    monkeypatch.setattr("ompd.crypto.passwords._SCRYPT_N", 16)
    said = run("init", tmp_path / "clinic", "--profile", "paper", "--port", "7000").stdout
    assert said.count("fingerprint") == 3
    read = read_config(tmp_path / "clinic/hospital.toml", HospitalConfig)
    assert (read.listen.port, read.listen.metrics_port) == (7000, 8000)
    assert read.clouds == {"cloud": "http://127.0.0.1:7001"}
    assert "empty folder" in run("init", tmp_path / "clinic", code=2).stderr
    assert "id:" in run("init", tmp_path / "x", "--user", "Ann Smith", code=2).stderr
