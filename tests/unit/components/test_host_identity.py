"""Host keys and user data: known before the host exists, the same text at every run, and real OpenSSH accepts them."""

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from component_helpers import HOST_KEY_SECRET, deployer_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from components.host_identity import deployer_public_key, derive_host_key, public_key_in, user_data

OTHER_SECRET = "f" * 64
secrets = st.binary(min_size=32, max_size=32).map(bytes.hex)
hosts = st.text("abcdefghij-0123456789", min_size=1, max_size=40)


def openssh(key: Any) -> str:
    form = serialization.PrivateFormat.OpenSSH
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@given(secrets, hosts)
def test_derived_key_is_one_key_in_both_forms(secret: str, host: str) -> None:
    """Read by a library that shares no code with the writer."""
    key = derive_host_key(secret, host)
    assert key == derive_host_key(secret, host)
    assert deployer_public_key(key.private) == key.public


@given(secrets, secrets, hosts, hosts)
def test_keys_differ_by_host_and_by_secret(one: str, two: str, host: str, other: str) -> None:
    same = (one, host) == (two, other)
    assert (derive_host_key(one, host).public == derive_host_key(two, other).public) == same


def test_derivation_is_a_contract_with_running_hosts() -> None:
    """Another derivation would shut the deployer out of every host that is running."""
    assert derive_host_key(HOST_KEY_SECRET, "us-west-2-lax-1a-1").public == (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIowOeXOEjBp85KgiZ1AXRUXAfVEy5zDFUNJutAdaXQj"
    )


needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


@needs_ssh_keygen
def test_real_ssh_keygen_reads_the_private_key(tmp_path: Path) -> None:
    key = derive_host_key(HOST_KEY_SECRET, "us-west-2a-1")
    path = tmp_path / "host_key"
    path.touch(mode=0o600)
    path.write_text(key.private)
    printed = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == key.public


def test_private_key_is_not_in_the_repr() -> None:
    key = derive_host_key(HOST_KEY_SECRET, "us-west-2a-1")
    assert "PRIVATE" not in repr(key)


@given(secrets, hosts)
def test_user_data_is_cloud_config_that_installs_the_key(secret: str, host: str) -> None:
    key = derive_host_key(secret, host)
    text = user_data(key)
    assert text == user_data(derive_host_key(secret, host)), "a text that differs at every run would stop and start the host"
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    assert config["ssh_keys"] == {"ed25519_private": key.private.rstrip("\n"), "ed25519_public": key.public} or (
        config["ssh_keys"] == {"ed25519_private": key.private, "ed25519_public": key.public}
    )
    assert config["ssh_deletekeys"] is True
    assert config["ssh_pwauth"] is False
    assert config["disable_root"] is True
    (sshd,) = config["write_files"]
    assert "HostKey /etc/ssh/ssh_host_ed25519_key" in sshd["content"].splitlines()
    for setting in ("PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin no"):
        assert setting in sshd["content"].splitlines()


@given(secrets, hosts)
def test_the_key_that_a_host_shows_is_read_from_its_user_data(secret: str, host: str) -> None:
    key = derive_host_key(secret, host)
    assert public_key_in(user_data(key)) == key.public


@pytest.mark.parametrize(
    "text", [None, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "#cloud-config\n# ed25519_public: ssh-ed25519 A"]
)
def test_user_data_of_others_says_no_key(text: str | None) -> None:
    assert public_key_in(text) is None


def test_user_data_fits_what_ec2_takes() -> None:
    assert len(user_data(derive_host_key(HOST_KEY_SECRET, "h")).encode()) < 16 * 1024


def test_deployer_public_key_is_derived() -> None:
    key = Ed25519PrivateKey.generate()
    expected = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    assert deployer_public_key(openssh(key)) == expected


@pytest.mark.parametrize("change", [str.strip, lambda text: text.replace("\n", "\r\n"), lambda text: text + "\n\n"])  # type: ignore[misc] # a table of small functions
def test_ways_in_which_a_shell_hands_over_a_file(change: Any) -> None:
    assert deployer_public_key(change(deployer_key())) == deployer_public_key(deployer_key())


@pytest.fixture(scope="module")
def refused_keys() -> dict[str, str]:
    ed25519 = openssh(Ed25519PrivateKey.generate())
    return {
        "rsa": openssh(rsa.generate_private_key(65537, 2048)),
        "ecdsa": openssh(ec.generate_private_key(ec.SECP256R1())),
        "truncated": ed25519[: len(ed25519) // 2],
        "public": deployer_public_key(ed25519),
        "pkcs8": Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode(),
        "security key": reworded(ed25519, b"ssh-ed25519", b"sk-ed25519x"),
        "other cipher": reworded(ed25519, b"\0\0\0\4none\0\0\0\4none", b"\0\0\0\4nono\0\0\0\4none"),
        "empty": "",
    }


def reworded(private_key: str, old: bytes, new: bytes) -> str:
    """The key's file with other bytes in it."""
    lines = private_key.strip().splitlines()
    blob = base64.b64decode("".join(lines[1:-1]))
    assert old in blob
    return "\n".join([lines[0], base64.b64encode(blob.replace(old, new)).decode(), lines[-1], ""])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rsa", "not an ed25519 key"),
        ("ecdsa", "not an ed25519 key"),
        ("truncated", "not an unencrypted OpenSSH private key"),
        ("public", "not an unencrypted OpenSSH private key"),
        ("pkcs8", "not an unencrypted OpenSSH private key"),
        ("security key", "not an unencrypted OpenSSH private key"),
        ("other cipher", "not an unencrypted OpenSSH private key"),
        ("empty", "not an unencrypted OpenSSH private key"),
    ],
)
def test_other_keys_are_refused_without_being_quoted(refused_keys: dict[str, str], name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        deployer_public_key(refused_keys[name])
    for line in refused_keys[name].split():
        assert len(line) < 12 or line not in str(raised.value)


@needs_ssh_keygen
def test_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", str(path)], check=True)
    with pytest.raises(ValueError, match="protected by a passphrase, which nobody can type"):
        deployer_public_key(path.read_text())


@needs_ssh_keygen
def test_key_that_real_ssh_keygen_made_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(path)], check=True)
    assert deployer_public_key(path.read_text()) == path.with_suffix(".pub").read_text().removesuffix(" me\n")
