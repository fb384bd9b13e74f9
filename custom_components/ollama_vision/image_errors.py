"""Why a picture cannot be had, as a person and an automation meet it."""

from typing import Final

from .const import AnalysisFault

MAX_BYTES: Final = 20 * 1024 * 1024


class ImageSourceError(Exception):
    """A picture cannot be had from where it should come from.

    `fault` is its name in the closed list, `translation_key` and `placeholders` make its sentence. Nothing in them is
    secret: raise it `from None`, for the texts of the errors below it hold whole URLs.
    """

    def __init__(self, fault: AnalysisFault, translation_key: str, **placeholders: str) -> None:
        """Take the sentence `exceptions.<translation_key>.message` and what it names."""
        super().__init__(translation_key, placeholders)
        self.fault = fault
        self.translation_key = translation_key
        self.placeholders = placeholders


def too_large(shown: str) -> ImageSourceError:
    """Return the error for a picture of more than MAX_BYTES, wherever it comes from."""
    limit = f"{MAX_BYTES // 1024**2} MB"
    return ImageSourceError(AnalysisFault.IMAGE_TOO_LARGE, "image_over_limit", source=shown, limit=limit)
