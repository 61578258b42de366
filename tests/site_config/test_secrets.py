from pathlib import Path

import pytest

from site_config.errors import ConfigError
from site_config.secrets import read_secret


def test_from_a_file_without_the_lines_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    assert read_secret(tmp_path / "token", None) == "abc"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "abc")
    assert read_secret(None, "TOKEN") == "abc"


def test_none_declared() -> None:
    assert read_secret(None, None) is None


def test_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"token: the secret in it cannot be read: no such file or directory"):
        read_secret(tmp_path / "token", None)
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match=r"token: is empty, but should hold a secret"):
        read_secret(tmp_path / "token", None)
    (tmp_path / "token").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"token: the secret in it cannot be read: not text"):
        read_secret(tmp_path / "token", None)
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(ConfigError, match=r"\$TOKEN: is not set, but should hold a secret"):
        read_secret(None, "TOKEN")
