"""What of a URL may be shown."""

import pytest

from custom_components.ollama_vision.public_url import public_url


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://cam/snap.jpg", "http://cam/snap.jpg"),
        ("http://cam:8080/snap.jpg?width=640&t=1700000000", "http://cam:8080/snap.jpg?width=640&t=1700000000"),
        ("http://admin:hunter2@cam/snap.jpg", "http://cam/snap.jpg"),
        ("https://admin:hun@ter2@cam:443/", "https://cam:443/"),
        ("HTTP://admin@cam/", "HTTP://cam/"),
        ("http://cam/a@2x.jpg?size=1", "http://cam/a@2x.jpg?size=1"),
        ("http://cam/?user=admin&pwd=hunter2&channel=1", "http://cam/?channel=1"),
        ("http://cam/?usr=a;loginpas=hunter2;q=2", "http://cam/?q=2"),
        ("http://cam/?%74oken=hunter2", "http://cam/"),
        ("http://cam/?hunter2", "http://cam/"),
        ("/api/camera_proxy/camera.x?token=hunter2&width=3", "/api/camera_proxy/camera.x?width=3"),
        ("/api/image?authSig=eyJhbGciOi.eyJpc3MiOi.hunter2", "/api/image"),
        (
            "http://s3/x.jpg?X-Amz-Credential=a&X-Amz-Signature=b&X-Amz-Date=20260101",
            "http://s3/x.jpg?X-Amz-Date=20260101",
        ),
        ("http://blob/x.jpg?sv=2026&sig=hunter2&se=2027", "http://blob/x.jpg?sv=2026&se=2027"),
        ("http://x/?Key-Pair-Id=a&Signature=b&Policy=c", "http://x/"),
        ("http://x/?api_key=a&apikey=b&access_token=c&sessionid=d&secret=e&p=f", "http://x/"),
        (f"http://x/?own_invention={'h' * 32}&long={'l' * 31}", f"http://x/?long={'l' * 31}"),
        ("http://x/?&a=1&&b=2;", "http://x/?a=1&b=2"),
        ("http://x/?size=1#token=hunter2", "http://x/?size=1"),
        ("/media/cam/a b.jpg", "/media/cam/a b.jpg"),
        ("", ""),
    ],
)
def test_secrets_are_left_out_and_all_else_stays(given: str, shown: str) -> None:
    """A URL is shown as it was given, but for what could be secret."""
    assert public_url(given) == shown
