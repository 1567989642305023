"""What an artifact shows of a workload, and what it does not."""

import pytest

from cpln_flows.reconcile.masking import HIDDEN, shown, without_secrets

CANARY = "canary"


@pytest.mark.parametrize(
    "name",
    [
        *("DB_PASS", "SMTP_PASS", "PGPASS", "JWT", "BEARER", "SLACK_WEBHOOK_URL", "ENCRYPTION_SALT", "TLS_CERT", "PASSWORD"),
        *("api_key", "GITHUB_TOKEN", "SESSION", "CLIENT_SECRET", "SENTRY_DSN", "SSH_PRIVATE", "HMAC"),
    ],
)
def test_a_variable_with_a_telling_name_is_hidden(name) -> None:
    assert shown({"name": name, "value": CANARY})["value"] == HIDDEN
    assert shown({"name": name, "value": "cpln://secret/s.x"})["value"] == "cpln://secret/s.x"


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://me:canary@db/etl",
        "-----BEGIN PRIVATE KEY-----",
        "ghp_0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
        "AKIAIOSFODNN7EXAMPLE",
        "https://hooks.slack.com/services/T0/B0/x",
        "0123456789abcdef0123456789abcdef",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE",
    ],
)
def test_a_value_that_reads_like_a_secret_is_hidden_whatever_its_name(value) -> None:
    assert shown({"name": "VALUE", "value": value})["value"] == HIDDEN


@pytest.mark.parametrize("value", ["production", "https://api.example.com/v2", "2026-01-10T10:00:00Z", "a b c", "8080", ""])
def test_a_harmless_value_is_shown(value) -> None:
    assert shown({"name": "VALUE", "value": value})["value"] == value


@pytest.mark.parametrize(
    "args",
    [
        ["--password", CANARY],
        ["--api-token", CANARY],
        ["--password=canary"],
        ["-c", "export DB_PASS=canary; run"],
        ["-c", "mysql --password canary -u me"],
        ["-c", "curl -H 'Authorization: Bearer canary' https://x"],
        ["-c", "psql postgres://me:canary@db/etl"],
    ],
)
def test_what_a_program_is_given_as_a_secret_is_hidden(args) -> None:
    container = {"name": "main", "image": "python", "command": "sh", "args": args, "env": [{"name": "A", "value": "b"}]}
    shown = without_secrets({"type": "cron", "containers": [container]})
    assert CANARY not in str(shown)
    assert shown["containers"][0] | {"args": args} == container


def test_the_header_of_a_probe_is_hidden_and_a_program_is_shown() -> None:
    headers = [{"name": "Authorization", "value": CANARY}, {"name": "Accept", "value": "text/plain"}]
    args = ["-c", "import sys\nprint('hello', flush=True)\nsys.exit(3)", "--verbose", "--keep"]
    container = {"name": "main", "args": args, "readinessProbe": {"httpGet": {"httpHeaders": headers, "port": 80}}}
    (shown,) = without_secrets({"containers": [container]})["containers"]
    assert CANARY not in str(shown)
    assert shown["args"] == args
    assert shown["readinessProbe"]["httpGet"]["httpHeaders"][1] == headers[1]
