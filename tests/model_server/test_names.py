"""Names of models as people write them."""

from custom_components.ollama_vision.model_server.names import same_model

NAMES = [
    ("moondream", "moondream:latest", True),
    ("Moondream", "moondream", True),
    (" moondream ", "moondream", True),
    ("moondream:1.8b", "moondream", False),
    ("moondream:1.8b", "moondream:1.8B", True),
    ("moondream", "moondream2", False),
    ("registry.lan:5000/me/eyes", "registry.lan:5000/me/eyes:latest", True),
    ("hf.co/me/eyes:Q4_K_M", "hf.co/me/eyes:q4_k_m", True),
    ("me/eyes", "eyes", False),
]


def test_same_model() -> None:
    """A name without a tag means the latest; letter case does not count."""
    assert [(a, b, same_model(a, b)) for a, b, _ in NAMES] == NAMES
    assert [(a, b, same_model(b, a)) for a, b, _ in NAMES] == NAMES
