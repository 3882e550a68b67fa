"""Settings: defaults, and one clear line for each value that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.settings import SettingsError, parse_size, read_settings


def test_without_variables_the_defaults_hold() -> None:
    settings = read_settings({}, Path("/somewhere"))
    assert settings.published == Path("/somewhere/published")
    assert settings.tokens == Path("/somewhere/api_tokens.json")
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 5000, 1)
    assert settings.url == "http://127.0.0.1:5000"


def test_an_empty_variable_is_a_missing_one() -> None:
    assert read_settings({"PORT": " ", "WAREHOUSE_TOKENS": ""}) == read_settings({})


def test_an_absolute_path_stays_what_it_is() -> None:
    settings = read_settings({"WAREHOUSE_PUBLISHED": "/elsewhere/p"}, Path("/somewhere"))
    assert settings.published == Path("/elsewhere/p")


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65536), ("64MB", 64_000_000), ("1 GiB", 2**30), ("1.5kb", 1500), ("2k", 2000)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ("*",)),
        ("https://A.example.com", ("https://a.example.com",)),
        ("https://a.example.com:443 http://b:80", ("https://a.example.com", "http://b")),
        (
            "http://localhost:3000, http://[::1]:8080,http://localhost:3000,",
            ("http://localhost:3000", "http://[::1]:8080"),
        ),
    ],
)
def test_origins_are_as_browsers_send_them(text: str, origins: tuple[str, ...]) -> None:
    assert read_settings({"API_CORS_ORIGINS": text}).cors_origins == origins


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PORT", "٨٠"),
        ("HOST", "127.0.0"),
        ("HOST", "two words"),
        ("WORKERS", "0"),
        ("WORKERS", "-1"),
        ("API_THREADS", "none"),
        ("API_RATE_LIMIT", "many"),
        ("API_RATE_LIMIT", "0 per minute"),
        ("API_FAILED_LIMIT", "20"),
        ("API_OPEN_LIMIT", "some"),
        ("API_CONNECTIONS_PER_ADDRESS", "0"),
        ("API_RATE_STORAGE", "file:limits"),
        ("API_CACHE_BYTES", "64 elephants"),
        ("API_CACHE_BYTES", "-1"),
        ("API_PAGE_BYTES", "10KB"),
        ("API_MEMORY_LIMIT", "1e9"),
        ("API_IN_MEMORY_BYTES", "MB"),
        ("API_QUERY_SECONDS", "0"),
        ("API_QUERY_SECONDS", "nan"),
        ("API_POLL_SECONDS", "1e3"),
        ("API_TRUSTED_PROXIES", "yes"),
        ("API_CORS_ORIGINS", "dashboard.example.com"),
        ("API_CORS_ORIGINS", "https://*.example.com"),
        ("API_CORS_ORIGINS", "https://a.example.com/"),
        ("API_CORS_ORIGINS", "https://a.example.com, null"),
        ("API_CORS_ORIGINS", "https://a:b@example.com"),
        ("API_CORS_ORIGINS", "https://a.example.com:99999"),
        ("API_CORS_ORIGINS", "file://x"),
        ("API_CORS_ORIGINS", "*, https://a.example.com"),
        ("API_CORS_ORIGINS", "https://a.example.com\r\nSet-Cookie: x"),
        ("API_CORS_ORIGINS", ","),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({name: value})
    message = caught.value.format_message()
    assert message.startswith(f"{name} is {value!r}: give ")
    assert "\n" not in message
