"""Configuration: precedence, complaints, the generated file."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from pathlib import Path

import attrs
import pytest

from wit.config import Config, Uplink
from wit.config_file import default_text
from wit.config_rules import SECTIONS, TYPES, split_endpoint
from wit.config_sources import choose_data_dir, load, read, render
from wit.errors import ConfigError


def loaded(folder: Path, toml: str = "", flags: dict | None = None, **environ: str) -> Config:
    folder.joinpath("wit.toml").write_text(toml)
    return load(folder, flags or {}, environ, write_default=False)


def refused(folder: Path, toml: str = "", flags: dict | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, toml, flags, **environ)
    return caught.value.message


def test_each_source_overrules_the_one_before(tmp_path):
    toml = '[server]\nhttp = ["tcp:1"]\n[log]\nlevel = "warn"\n[git]\nmax_processes = 3\n'
    config = loaded(tmp_path, toml, {"http": ["tcp:3"]}, PORT="2", LOG_LEVEL="error")
    assert config.server.http == ("tcp:3",)
    assert config.log.level == "error"
    assert config.git.max_processes == 3
    assert config.ssh == Config(tmp_path).ssh


def test_own_variable_beats_the_reference_name(tmp_path):
    config = loaded(tmp_path, PORT="2", WIT_SERVER_HTTP="tcp:5,unix:/run/wit.sock:mode=660")
    assert config.server.http == ("tcp:5", "unix:/run/wit.sock:mode=660")


def test_reference_names(tmp_path):
    config = loaded(
        tmp_path, HOST="0.0.0.0", PORT="8080", SSH_PORT="22", SSH_HOST="::1", DB_POOL_MAX="7",
        DB_POOL_MIN="1", DB_CONNECT_TIMEOUT="2500", DATABASE_URL="postgres://u:p@h/wit",
        CORS_ORIGINS="http://localhost:5173, http://localhost:3000", LOG_LEVEL="fatal",
        LOG_FORMAT="pretty", BASE_URL="http://a", WIT_SERVER_URL="https://b",
        SSH_HOST_KEY_PATH="/k/key", REPOS_DIR="/srv/repos", TZ="", DB_IDLE_TIMEOUT="30000",
    )  # fmt: skip
    assert config.server.http == ("tcp:8080:interface=0.0.0.0",)
    assert config.ssh.listen == ("tcp6:22:interface=\\:\\:1",)
    assert config.database == attrs.evolve(
        config.database, pool_max=7, pool_min=1, connect_seconds=2.5, url="postgresql://u:p@h/wit"
    )
    assert config.server.cors_origins == ("http://localhost:5173", "http://localhost:3000")
    assert (config.log.level, config.log.format) == ("critical", "text")
    assert config.public_url == "https://b"
    assert config.ssh.host_keys == ("/k/key",)
    assert config.repos_dir == Path("/srv/repos")


def test_port_alone_listens_on_this_machine_only(tmp_path):
    assert loaded(tmp_path, PORT="80").server.http == ("tcp:80:interface=127.0.0.1",)


@pytest.mark.parametrize("value", ['"none"', '["none"]', "[]"])
def test_none_is_the_empty_list(tmp_path, value):
    assert loaded(tmp_path, f"[ssh]\nlisten = {value}\n").ssh.listen == ()
    assert loaded(tmp_path, "", {"ssh": ["none"]}).ssh.listen == ()
    assert loaded(tmp_path, WIT_METRICS_LISTEN="none").metrics.listen == ()


def test_empty_variables_and_absent_flags_count_as_not_given(tmp_path):
    assert loaded(tmp_path, "", {"http": [], "log-level": None}, PORT="") == Config(tmp_path)


def test_relative_paths_are_relative_to_their_source(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = loaded(tmp_path, '[repositories]\ndir = "r"\n', SSH_HOST_KEY_PATH="k")
    assert config.repositories.dir == str(tmp_path / "r")
    assert config.ssh.host_keys == ("/k",)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[git]\nmax_process = 3", ["git.max_process'", "did you mean git.max_processes?"]),
        ("[servers]\n", ["'servers'", "did you mean [server]?"]),
        ("htttp = 1", ["'htttp'", "did you mean http in [server]?"]),
        ("server = 1", ["server", "expected the section [server]"]),
        ("[git]\nmax_processes = 'x'", ["git.max_processes", "'x'", "a whole number"]),
        ("[git]\nmax_processes = true", ["git.max_processes", "True", "a whole number"]),
        ("[git]\nmax_processes = 0", ["git.max_processes", "0", "from 1 to 10000"]),
        ("[server]\nidle_seconds = nan", ["server.idle_seconds", "a number"]),
        ("[server]\nidle_seconds = 0", ["server.idle_seconds", "a number from"]),
        ("[ssh]\nanonymous_read = 1", ["ssh.anonymous_read", "true or false"]),
        ("[server]\nhttp = [1]", ["server.http", "a list of texts"]),
        ("[server]\nhttp = ['tpc:1']", ["server.http", "tpc:1", "an endpoint"]),
        ("[server]\nhttp = ['tcp:65536']", ["server.http", "PORT from 0 to 65535"]),
        ("[server]\nhttp = ['tcp:1:interface=x']", ["server.http", "an IP address"]),
        ("[server]\nhttp = ['tcp:1:intreface=::']", ["server.http", "tcp:PORT"]),
        ("[server]\nhttp = ['systemd:domain=INET']", ["server.http", "systemd:domain=INET:name"]),
        ("[server]\ntrusted_proxies = ['10.0.0.1/8']", ["trusted_proxies", "10.0.0.1/8"]),
        ("[server]\ncors_origins = ['http://a/b']", ["cors_origins", "http://a/b", "an origin"]),
        ("[server]\npublic_url = 'git.example.org'", ["public_url", "https://git.example.org"]),
        ("[log]\nlevel = 'loud'", ["log.level", "'loud'", "debug, info, warn, error, critical"]),
        ("[repositories]\nhidden_refs = ['heads']", ["hidden_refs", "refs/wit"]),
        ("[repositories]\ndefault_branch = '-x'", ["default_branch", "a branch name"]),
        ("[ssh]\nhost_key_algorithms = ['ssh-dss']", ["host_key_algorithms", "ssh-ed25519"]),
        ("[database]\npool_min = 9\npool_max = 3", ["pool_min = 9", "pool_max = 3"]),
        ('[accounts]\ncookie_same_site = "none"', ["cookie_same_site", "https://"]),
        ('[accounts]\ncookie_same_site = "strict"', ["lax", "none"]),
        ("[server\n", ["not valid TOML", "line 1"]),
    ],
)  # fmt: skip
def test_complaints_name_file_key_value_and_expectation(tmp_path, toml, words):
    message = refused(tmp_path, toml)
    assert message.startswith(str(tmp_path / "wit.toml"))
    for word in words:
        assert word in message
    assert "\n" not in message


def test_complaints_name_variable_and_flag(tmp_path):
    assert refused(tmp_path, PORT="http").startswith("environment PORT: server.http: ")
    assert refused(tmp_path, WIT_GIT_QUEUE_LENGTH="-1").startswith(
        "environment WIT_GIT_QUEUE_LENGTH: git.queue_length: '-1'"
    )
    assert refused(tmp_path, "", {"http": ["x"]}).startswith("flag --http: server.http: ['x']")
    assert "did you mean WIT_SSH_BANNER?" in refused(tmp_path, WIT_SSH_BANER="x")


def test_other_programs_variables_are_not_ours(tmp_path):
    config = loaded(tmp_path, WIT_TOKEN="x", WIT_GITHUB_CLIENT_ID="x", WIT_USER="x")
    assert config == Config(tmp_path)


def test_all_problems_at_once(tmp_path):
    message = refused(tmp_path, "[git]\nbinry = 'x'\n", {"ssh": ["x"]}, PORT="x")
    assert len(message.splitlines()) == 3


def test_a_password_is_in_no_complaint(tmp_path):
    message = refused(tmp_path, DATABASE_URL="mysql://u:canary@h/x")
    assert "DATABASE_URL" in message
    assert "canary" not in message


@pytest.mark.attack(57)
def test_the_encryption_key_is_shown_nowhere(tmp_path):
    message = refused(tmp_path, ENCRYPTION_KEY="short-canary")
    assert "ENCRYPTION_KEY" in message and "32 or more" in message
    assert "canary" not in message
    key = "canary-" * 5
    found = read(tmp_path, {}, {"ENCRYPTION_KEY": f"{key} {key}"}, write_default=False)
    assert found.config.accounts.encryption_key == f"{key} {key}"
    text = render(found)
    assert 'encryption_key = "***"  # environment ENCRYPTION_KEY' in text
    assert "canary" not in text


def test_print_shows_sources_and_no_password(tmp_path):
    tmp_path.joinpath("wit.toml").write_text("[git]\nqueue_length = 5\n")
    environ = {"DATABASE_URL": "postgresql://wit:canary@h/x"}
    text = render(read(tmp_path, {"http": ["tcp:1"]}, environ, write_default=False))
    assert f"queue_length = 5  # {tmp_path}/wit.toml" in text
    assert 'http = ["tcp:1"]  # flag --http' in text
    assert 'url = "postgresql://wit:***@h/x"  # environment DATABASE_URL' in text
    assert "max_processes = 16  # default" in text
    assert "canary" not in text
    assert set(tomllib.loads(text)) == set(SECTIONS)


def test_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert choose_data_dir(None, {})[0] == tmp_path / "home" / ".wit"
    (tmp_path / "var").mkdir()
    assert choose_data_dir(None, {})[0] == tmp_path / "var"
    assert choose_data_dir(None, {"DATA_DIR": "d"})[0] == tmp_path / "d"
    assert choose_data_dir(None, {"DATA_DIR": "d", "WIT_DATA_DIR": "w"})[0] == tmp_path / "w"
    assert choose_data_dir(Path("x"), {"WIT_DATA_DIR": "w"})[0] == tmp_path / "x"


def test_first_start_writes_the_file_once(tmp_path):
    folder = tmp_path / "data"
    load(folder, {}, {}, write_default=True)
    file = folder / "wit.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert file.read_text() == default_text()
    file.write_text("[log]\nlevel = 'debug'\n")
    assert load(folder, {}, {}, write_default=True).log.level == "debug"
    assert [path.name for path in folder.iterdir()] == ["wit.toml"]


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path):
    tmp_path.joinpath("file").write_text("")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "file" / "data"))):
        load(tmp_path / "file" / "data", {}, {}, write_default=True)


def test_the_file_uncommented_gives_the_defaults(tmp_path):
    text = re.sub(r"(?m)^#(?=\w)", "", default_text())
    assert loaded(tmp_path, text) == Config(tmp_path)
    document = tomllib.loads(text)
    assert {f"{s}.{k}" for s, keys in document.items() for k in keys} == set(TYPES)


def test_conf_wit_toml_is_the_generated_text():
    shipped = Path(__file__).parent.parent / "conf" / "wit.toml"
    assert shipped.read_text() == default_text()


UPLINK = {"name": "up", "url": "https://registry.example", "names": ["@a/*", "left-*"]}


def test_a_list_of_tables_comes_from_the_file_or_as_json(tmp_path):
    toml = (
        '[[packages.uplinks]]\nname = "up"\nurl = "https://registry.example"\n'
        'names = ["@a/*", "left-*"]\n[[packages.uplinks]]\nname = "other"\nurl = "http://x:1"\n'
    )
    expected = Uplink("up", "https://registry.example", names=("@a/*", "left-*"))
    assert loaded(tmp_path, toml).packages.uplinks == (expected, Uplink("other", "http://x:1"))
    given = loaded(tmp_path, toml, WIT_PACKAGES_UPLINKS=json.dumps([UPLINK])).packages
    assert given.uplinks == (expected,)
    assert loaded(tmp_path, toml, WIT_PACKAGES_UPLINKS="none").packages.uplinks == ()
    tmp_path.joinpath("wit.toml").write_text(toml)
    printed = tomllib.loads(render(read(tmp_path, {}, {}, write_default=False)))
    assert printed["packages"]["uplinks"][0].items() >= UPLINK.items()


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("{}", "list of tables"),
        ("[1]", "list of tables"),
        ("not json", "list of tables"),
        ([{"name": "up"}], "the key url"),
        ([UPLINK | {"url": ""}], "for url"),
        ([UPLINK | {"url": "ftp://x"}], "for url"),
        ([UPLINK | {"url": "https://me:password@x"}], "for url"),
        ([UPLINK | {"names": "*", "host": "x"}], "no key 'host'"),
        ([UPLINK | {"names": ["a b"]}], "for names"),
        ([UPLINK | {"timeout_seconds": "soon"}], "for timeout_seconds"),
    ],
)
def test_complaints_about_a_table_name_its_key(tmp_path, tables, words):
    text = tables if isinstance(tables, str) else json.dumps(tables)
    complaint = refused(tmp_path, WIT_PACKAGES_UPLINKS=text)
    assert "environment WIT_PACKAGES_UPLINKS: packages.uplinks: " in complaint
    assert words in complaint


def test_endpoints_are_read_as_twisted_reads_them():
    from twisted.internet.endpoints import _parse

    for text in (
        "tcp:3000:interface=127.0.0.1", "tcp6:0:interface=\\:\\:1", "unix:/a\\:b\\=c:mode=660",
        "ssl:443:privateKey=/k.pem:certKey=/c=d.pem", "systemd:domain=INET:name=http",
    ):  # fmt: skip
        positional, named = _parse(text)
        kind, options = split_endpoint(text)
        assert kind == positional[0]
        assert list(options.values()) == [*positional[1:], *named.values()]
