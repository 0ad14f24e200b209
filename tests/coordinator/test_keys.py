"""Keys: from files and from the environment, as hashes."""

from __future__ import annotations

import hashlib
import warnings

import pytest

from aggrkit.coordinator.keys import Identity, Keys
from aggrkit.errors import AggrError, SourceError, UnknownNameError

HASHED = hashlib.sha256(b"of the hash").hexdigest()


def written(folder, text, mode=0o600):
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_of_keys_and_hashes(tmp_path):
    text = f'[keys]\nme = {{ key = "a key", role = "read" }}\nci = {{ sha256 = "{HASHED}", role = "admin" }}\n'
    keys = Keys.read(written(tmp_path, text))
    assert len(keys) == 2
    assert keys.check("a key") == Identity("me", "read")
    assert keys.check("of the hash") == Identity("ci", "admin")
    for wrong in ("", "A key", HASHED, "a key\0", "\ud800"):
        assert keys.check(wrong) is None
    assert "a key" not in repr(keys)
    assert "a key" not in str(vars(keys))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_warned_of(tmp_path, mode):
    path = written(tmp_path, '[keys]\nme = { key = "a key", role = "read" }\n', mode)
    with pytest.warns(UserWarning, match=r"can be read by others.*chmod 600"):
        Keys.read(path)
    path.chmod(0o600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Keys.read(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no table"),
        ("[keys]", "there is no key"),
        ("keys = 3", "no table"),
        ("[keys]\nme = 3", "isn't of the form"),
        ('[keys]\nme = "secret"', "isn't of the form"),
        ('[keys]\nme = { key = "secret" }', "unknown role"),
        ('[keys]\nme = { key = "secret", role = "boss" }', "unknown role 'boss'"),
        ('[keys]\nme = { key = "secret", role = ["read"] }', "unknown role"),
        ('[keys]\nme = { role = "read" }', "either a key or its sha256"),
        (f'[keys]\nme = {{ key = "secret", sha256 = "{HASHED}", role = "read" }}', "either a key or its sha256"),
        ('[keys]\nme = { sha256 = "secret", role = "read" }', "64 hexadecimal digits"),
        ('[keys]\nme = { key = "", role = "read" }', "isn't empty"),
        ('[keys]\nme = { key = 3, role = "read" }', "isn't empty"),
        ('[keys]\nme = { key = "secret", role = "read", colour = "red" }', "isn't of the form"),
        ('[keys]\nme = { key = "secret', "no TOML"),
    ],
)
def test_files_that_are_wrong_say_how_without_saying_a_key(tmp_path, text, words):
    with pytest.raises(AggrError, match=words) as caught:
        Keys.read(written(tmp_path, text))
    assert "secret" not in str(caught.value).replace("'secret'", "") or "me" not in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        Keys.read(tmp_path / "nonesuch")
    path = tmp_path / "keys.toml"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(SourceError, match="UTF-8"):
        Keys.read(path)


def test_keys_from_the_environment(monkeypatch):
    monkeypatch.delenv("AGGRKIT_KEYS", raising=False)
    assert Keys.from_environment() is None
    monkeypatch.setenv("AGGRKIT_KEYS", "me:read:a:key ci:submit:another")
    keys = Keys.from_environment()
    assert keys.check("a:key") == Identity("me", "read")
    assert keys.check("another") == Identity("ci", "submit")
    for wrong in ("me:read", "me", "me::x", ":read:x"):
        monkeypatch.setenv("AGGRKIT_KEYS", wrong)
        with pytest.raises(SourceError, match="name:role:key"):
            Keys.from_environment()
    monkeypatch.setenv("AGGRKIT_KEYS", "me:boss:x")
    with pytest.raises(UnknownNameError, match="boss"):
        Keys.from_environment()


@pytest.mark.parametrize(("role", "may"), [("read", 1), ("submit", 2), ("admin", 3)])
def test_each_role_may_what_those_before_it_may(role, may):
    assert [Identity("x", role).may(wanted) for wanted in ("read", "submit", "admin")] == [True] * may + [False] * (
        3 - may
    )
