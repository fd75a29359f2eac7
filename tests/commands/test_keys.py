"""The commands around keys, as a party and the keeper of a registry use them."""

from __future__ import annotations

import json
import os
import stat

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.crypto import PublicIdentity, passwords
from ompd.crypto.identity_files import load_identity
from ompd.stores.registry import Registry

PASSWORD = "correct horse"  # noqa: S105


@pytest.fixture(autouse=True)
def cheap(monkeypatch, tmp_path):
    monkeypatch.setattr(passwords, "_SCRYPT_N", 16)
    monkeypatch.setenv("OMPD_PASSWORD", PASSWORD)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0, **options):
    done = CliRunner().invoke(app, ["keys", *map(str, arguments)], **options)
    assert done.exit_code == code, done.output
    assert PASSWORD not in done.output
    if code:
        assert done.stderr.startswith("ompd: ")
        assert done.stderr.count("\n") == 1
        assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def new(party="st-mary", role="hospital", folder=None, **options):
    return run("new", party, "--folder", folder or party, "--role", role, **options)


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("role", ["patient", "physician"])
def test_patients_and_physicians_have_keys_too(tmp_path, role):
    new("bob", role)
    assert role in run("show", "--folder", "bob").stdout
    run("export", "--folder", "bob", "--out", "public")
    run("admit", "public", "--registry", "r.db", "--role", role)
    run("rotate", "--folder", "bob", "--out", "rotation")
    run("accept", "rotation", "--registry", "r.db")
    with Registry("r.db") as registry:
        assert registry.role("bob") == role
        assert len(registry.history("bob")) == 2


def test_the_whole_story(tmp_path):
    made = new().stdout
    fingerprint = made.partition("fingerprint ")[2].strip()
    first = load_identity("st-mary", PASSWORD)
    shown = run("show", "--folder", "st-mary").stdout
    for words in ("st-mary", "hospital", "x25519", fingerprint):
        assert words in shown

    assert fingerprint in run("export", "--folder", "st-mary", "--out", "public").stdout
    assert PublicIdentity.from_bytes((tmp_path / "public").read_bytes()) == first.public
    run("export", "--folder", "st-mary", "--out", "text", "--base64")
    assert (tmp_path / "text").read_text().isascii()

    admitted = run("admit", "text", "--registry", "r.db", "--role", "hospital", "--days", "30")
    assert fingerprint in admitted.stdout
    run("admit", "public", "--registry", "r.db", "--role", "hospital")  # changes nothing
    with Registry("r.db") as registry:
        assert registry.get("st-mary") == first.public
        assert registry.history("st-mary")[0].valid_until is not None
    assert "valid" in run("show", "--registry", "r.db").stdout

    run("rotate", "--folder", "st-mary", "--out", "rotation", "--suite", "mlkem768x25519")
    second = load_identity("st-mary", PASSWORD)
    assert second.public.signing_key != first.public.signing_key
    assert second.envelope_key.suite == "mlkem768x25519"
    run("export", "--folder", "st-mary", "--out", "again", "--rotation")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "rotation").read_bytes()
    for _ in range(2):
        run("accept", "rotation", "--registry", "r.db")
    with Registry("r.db") as registry:
        assert registry.get("st-mary") == second.public

    # The statement travels as text too, and the suite stays unless another is asked for.
    run("rotate", "--folder", "st-mary", "--out", "rotation", "--base64")
    run("accept", "rotation", "--registry", "r.db")
    assert load_identity("st-mary", PASSWORD).envelope_key.suite == "mlkem768x25519"

    run("renew", "st-mary", "--registry", "r.db", "--days", "1")
    run("revoke", "st-mary", "--registry", "r.db", "--reason", "stolen [bold]laptop")
    shown = flat(run("show", "--registry", "r.db", "--folder", "st-mary").stdout)
    assert "revoked: stolen [bold]laptop" in shown
    assert shown.count("superseded") == 2
    assert "revoked" in run("renew", "st-mary", "--registry", "r.db", code=2).stderr

    new("st-mary", folder="fresh")
    run("export", "--folder", "fresh", "--out", "fresh.id")
    arguments = ("admit", "fresh.id", "--registry", "r.db", "--role", "hospital")
    assert "other keys" in run(*arguments, code=2).stderr
    run(*arguments, "--readmit")


def test_no_secret_is_printed_or_written(tmp_path):
    outputs = [new().output]
    key = load_identity("st-mary", PASSWORD)
    outputs.append(run("show", "--folder", "st-mary").output)
    outputs.append(run("rotate", "--folder", "st-mary", "--out", "rotation").output)
    outputs.append(run("export", "--folder", "st-mary", "--out", "public").output)
    new_key = load_identity("st-mary", PASSWORD)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for one in (key, new_key):
        for secret in (one.signing_key.to_bytes(), one.envelope_key.to_bytes()[1:]):
            assert secret not in files
            assert secret.hex().encode() not in files
            assert not any(secret.hex() in output for output in outputs)
    assert PASSWORD.encode() not in files


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_modes(tmp_path):
    new()
    run("rotate", "--folder", "st-mary", "--out", "rotation")
    assert stat.S_IMODE((tmp_path / "st-mary").stat().st_mode) == 0o700
    files = list((tmp_path / "st-mary").iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    (tmp_path / "st-mary" / "identity.json").chmod(0o644)
    for command in (("show",), ("rotate", "--out", "x"), ("export", "--out", "x")):
        assert "0600" in run(*command, "--folder", "st-mary", code=2).stderr
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    assert "0700" in new(folder="open", code=2).stderr


def test_passwords(tmp_path, monkeypatch):
    new()
    monkeypatch.setenv("OMPD_PASSWORD", "another one")
    before = {path: path.read_bytes() for path in (tmp_path / "st-mary").iterdir()}
    wrong = run("rotate", "--folder", "st-mary", "--out", "rotation", code=2)
    assert "another one" not in wrong.output
    assert before == {path: path.read_bytes() for path in (tmp_path / "st-mary").iterdir()}
    assert not (tmp_path / "rotation").exists()

    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\r\nsecond line\n")
    secret.chmod(0o600)
    run("rotate", "--folder", "st-mary", "--out", "rotation", "--password-file", secret)
    secret.write_bytes(b"\xff\xfe")
    assert "UTF-8" in run(
        "new", "eve", "--folder", "eve", "--role", "user", "--password-file", secret, code=2
    ).stderr  # fmt: skip
    if os.name == "posix":
        secret.chmod(0o644)
        assert "0600" in run(
            "rotate", "--folder", "st-mary", "--out", "x", "--password-file", secret, code=2
        ).stderr  # fmt: skip

    monkeypatch.setenv("OMPD_PASSWORD", "short")
    assert "at least 8" in new("carol", "user", code=2).stderr
    assert not (tmp_path / "carol").exists()


def test_the_prompt_asks_twice_and_hides(monkeypatch):
    monkeypatch.delenv("OMPD_PASSWORD")
    done = new(input=f"{PASSWORD}\n{PASSWORD}\n")
    assert "Password" in done.stderr
    assert load_identity("st-mary", PASSWORD)
    run("rotate", "--folder", "st-mary", "--out", "rotation", input=f"{PASSWORD}\n")
    done = CliRunner().invoke(
        app, ["keys", "new", "bob", "--folder", "bob", "--role", "user"], input="one one one\ntwo\n"
    )
    assert done.exit_code == 1  # nobody there to try again


def test_damage(tmp_path):
    new()
    file = tmp_path / "st-mary" / "identity.json"
    whole = file.read_bytes()
    tree = json.loads(whole)
    tree["crypto"]["kdf"]["params"]["n"] = 2**30
    for content, words in (
        (whole[: len(whole) // 2], "JSON"),
        (b"", "JSON"),
        (json.dumps(tree).encode(), "memory"),
        (whole.replace(b'"role": "hospital"', b'"role": "cloud"'), "damaged"),
    ):
        file.write_bytes(content)
        failed = run("rotate", "--folder", "st-mary", "--out", "rotation", code=2)
        assert words in failed.stderr
    file.write_bytes(whole)
    next((tmp_path / "st-mary").glob("signing*")).write_bytes(b"{}")
    run("rotate", "--folder", "st-mary", "--out", "rotation", code=2)
    (tmp_path / "r.db").write_bytes(b"nothing" * 1000)
    (tmp_path / "r.db").chmod(0o600)
    assert "r.db" in run("show", "--registry", "r.db", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "St Mary", "--folder", "x", "--role", "user"), "id: expected"),
        (("new", "a", "--folder", "no/such/parent", "--role", "user"), "folder"),
        (("show",), "--folder, --registry"),
        (("show", "--folder", "nowhere"), "identity.json"),
        (("show", "--registry", "no/such/parent"), "parent"),
        (("export", "--folder", "nowhere", "--out", "x"), "identity.json"),
        (("admit", "nowhere", "--registry", "r.db", "--role", "user"), "nowhere"),
        (("admit", "junk", "--registry", "r.db", "--role", "user"), "encoded"),
        (("admit", "junk", "--registry", "r.db", "--role", "user", "--days", "-1"), ""),
        (("accept", "junk", "--registry", "r.db"), "encoded"),
        (("revoke", "bob", "--registry", "typo.db"), "typo.db: there is no such registry"),
        (("renew", "bob", "--registry", "typo.db"), "typo.db: there is no such registry"),
        (("show", "--registry", "typo.db"), "typo.db: there is no such registry"),
        (("revoke", "bob", "--registry", "r.db"), "no party"),
        (("renew", "bob", "--registry", "r.db"), "no party"),
    ],
)
def test_wrong_input_is_explained_in_one_line(tmp_path, arguments, words):
    (tmp_path / "junk").write_bytes(b"\x95junk")
    Registry(tmp_path / "r.db").close()
    assert words in run(*arguments, code=2).stderr


def test_what_is_there_is_not_overwritten():
    new()
    public = load_identity("st-mary", PASSWORD).public
    assert "already" in new("other", folder="st-mary", code=2).stderr
    assert load_identity("st-mary", PASSWORD).public == public
    assert "first ones" in run(
        "export", "--folder", "st-mary", "--out", "x", "--rotation", code=2
    ).stderr  # fmt: skip
    assert "out" in run("export", "--folder", "st-mary", "--out", "no/out", code=2).stderr
    for command in ("export", "rotate"):
        arguments = (command, "--folder", "st-mary", "--out", "st-mary/identity.json")
        assert "key file" in run(*arguments, code=2).stderr
    assert load_identity("st-mary", PASSWORD).public == public


def test_a_statement_that_could_not_be_written_is_not_lost(tmp_path):
    new()
    run("export", "--folder", "st-mary", "--out", "public")
    run("admit", "public", "--registry", "r.db", "--role", "hospital")
    failed = run("rotate", "--folder", "st-mary", "--out", "no/out", code=2).stderr
    assert "new keys are in place" in failed
    assert "export --rotation" in failed
    run("export", "--folder", "st-mary", "--rotation", "--out", "rotation")
    run("accept", "rotation", "--registry", "r.db")
    with Registry("r.db") as registry:
        assert registry.get("st-mary") == load_identity("st-mary", PASSWORD).public


def test_help_names_every_command():
    shown = run("--help").stdout
    for command in ("new", "show", "export", "rotate", "admit", "accept", "renew", "revoke"):
        assert command in shown
        run(command, "--help")


def test_short_lived_keys(tmp_path):
    new()
    assert "short-lived key none" in flat(run("show", "--folder", "st-mary").stdout)
    run("export", "--folder", "st-mary", "--out", "bare")
    fingerprint = run("admit", "bare", "--registry", "r.db", "--role", "hospital").stdout
    files = []
    for name in ("first", "second"):
        said = run("prekey", "--folder", "st-mary", "--out", name, "--days", "3").stdout
        assert "made a short-lived key of st-mary, until" in said
        files.append(PublicIdentity.from_bytes((tmp_path / name).read_bytes()))
        admitted = run("admit", name, "--registry", "r.db", "--role", "hospital").stdout
        assert admitted == fingerprint  # which the short-lived key does not change
        with Registry("r.db") as registry:
            assert registry.get("st-mary") == files[-1]
    assert files[0].lasting == files[1].lasting
    assert files[0].prekey != files[1].prekey
    assert (
        "newer" in run("admit", "first", "--registry", "r.db", "--role", "hospital", code=2).stderr
    )
    assert " to 20" in flat(run("show", "--folder", "st-mary").stdout)
    run("export", "--folder", "st-mary", "--out", "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "second").read_bytes()
    for days in ("0", "90", "-1", "nan"):
        run("prekey", "--folder", "st-mary", "--out", "x", "--days", days, code=2)
    # The next generation has none until it makes one.
    run("rotate", "--folder", "st-mary", "--out", "statement")
    assert "short-lived key none" in flat(run("show", "--folder", "st-mary").stdout)
