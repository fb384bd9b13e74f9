"""Addresses as people type them."""

import pytest

from custom_components.ollama_vision.model_server.address import InvalidAddressError, parse_address

ADDRESSES = {
    "ollama": "http://ollama:11434",
    "192.168.1.5": "http://192.168.1.5:11434",
    "gpu.lan": "http://gpu.lan:11434",
    "gpu_box": "http://gpu_box:11434",
    "GPU.Lan.": "http://gpu.lan.:11434",
    "  gpu\n": "http://gpu:11434",
    "gpu/": "http://gpu:11434",
    "gpu/ollama": "http://gpu:11434/ollama",
    "gpu:8080": "http://gpu:8080",
    "gpu:80": "http://gpu",
    "gpu:1": "http://gpu:1",
    "gpu:65535": "http://gpu:65535",
    "gpu:8080/ollama//": "http://gpu:8080/ollama",
    "gpu/a%20b": "http://gpu:11434/a%20b",
    "::1": "http://[::1]:11434",
    "::1/ollama": "http://[::1]:11434/ollama",
    "2001:DB8:0:0::5": "http://[2001:db8::5]:11434",
    "[::1]": "http://[::1]:11434",
    "[::1]:8080": "http://[::1]:8080",
    "[::1]:8080/ollama": "http://[::1]:8080/ollama",
    "fe80::1%eth0": "http://[fe80::1%eth0]:11434",
    "http://[fe80::1%25eth0]:8080": "http://[fe80::1%eth0]:8080",
    "http://gpu": "http://gpu",
    "http://gpu:11434": "http://gpu:11434",
    "https://gpu": "https://gpu",
    "https://gpu:443/": "https://gpu",
    "HTTPS://GPU:8443/Ollama/": "https://gpu:8443/Ollama",
    "http://[::1]:8080/ollama": "http://[::1]:8080/ollama",
    "http://gpu:8000/v1": "http://gpu:8000",
    "http://gpu:8000/v1/": "http://gpu:8000",
    "http://gpu:11434/api": "http://gpu:11434",
    "https://home.example/api/v1": "https://home.example/api",
    "bücher.example": "http://xn--bcher-kva.example:11434",
    "https://例え.jp/ollama": "https://xn--r8jz45g.jp/ollama",
}


def test_address() -> None:
    """A host in any form is one normal URL, without credentials."""
    assert {host: str(parse_address(host, 11434).url) for host in ADDRESSES} == ADDRESSES


def test_the_same_server_has_one_address() -> None:
    """However it is written, requests to a server stand in one queue."""
    written = ["gpu", "GPU/", "gpu:11434", "http://gpu:11434", "http://me:secret@gpu:11434/", "http://gpu:11434/v1/"]
    assert len({parse_address(host, 11434).url for host in written}) == 1
    assert parse_address("gpu:80", 11434).url == parse_address("http://gpu", 11434).url
    assert parse_address("https://gpu:443", 11434).url == parse_address("https://gpu", 11434).url


CREDENTIALS = {
    "http://gpu": (None, None),
    "http://me@gpu": ("me", None),
    "http://me:secret@gpu": ("me", "secret"),
    "me:secret@gpu:8080": ("me", "secret"),
    "https://me%40home:p%3Aw%2F@gpu/x": ("me@home", "p:w/"),
    "http://me:p@ss@gpu": ("me", "p@ss"),
}


def test_credentials() -> None:
    """Credentials are taken out of the URL and are not shown."""
    addresses = {host: parse_address(host, 11434) for host in CREDENTIALS}
    assert {host: (address.username, address.password) for host, address in addresses.items()} == CREDENTIALS
    for address in addresses.values():
        assert address.url.user is None
        assert not address.password or address.password not in repr(address)


NONSENSE = [
    "",
    "  ",
    "my gpu",
    "gpu\tbox",
    "gpu:",
    "gpu:0",
    "gpu:65536",
    "gpu:http",
    "gpu:" + "9" * 5000,
    "gpu:-1",
    "gpu:１２",  # noqa: RUF001  (digits of another script)
    ":11434",
    "/ollama",
    "http://",
    "http:///ollama",
    "http://http://gpu",
    "http:/gpu",
    "ftp://gpu",
    "ollama://gpu",
    "mailto:me",
    "gpu?x=1",
    "gpu#x",
    "gpu\\ollama",
    "gpu/ollama?x=1",
    "gpu/ollama#x",
    "gpu/my models",
    "gpu/ollama\\x",
    "-gpu",
    "gpu..lan",
    "gpu,box",
    "a" * 64,
    "1.2.3.999",
    "1.2.3",
    "12345",
    "::zz",
    "1:2:3",
    "[::1",
    "[::1]8080",
    "[gpu]:8080",
    "[]",
]


def test_nonsense() -> None:
    """What is no address is refused before anything is asked."""
    for host in NONSENSE:
        with pytest.raises(InvalidAddressError):
            pytest.fail(f"{host!r} is {parse_address(host, 11434)}")


def test_impossible_port() -> None:
    """A port out of range is refused, but only where it is used."""
    for port in (0, -1, 65536):
        with pytest.raises(InvalidAddressError, match="between 1 and 65535"):
            parse_address("gpu", port)
        assert str(parse_address("gpu:8080", port).url) == "http://gpu:8080"
