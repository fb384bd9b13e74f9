"""Names and limits that more than one module needs."""

from enum import StrEnum
from typing import Final

DOMAIN: Final = "ollama_vision"

EVENT_IMAGE_ANALYZED: Final = "ollama_vision_image_analyzed"
EVENT_ANALYSIS_FAILED: Final = "ollama_vision_analysis_failed"

CONF_VISION_HOST: Final = "vision_host"
CONF_VISION_PORT: Final = "vision_port"
CONF_VISION_API: Final = "vision_api"
CONF_VISION_API_KEY: Final = "vision_api_key"
CONF_VISION_VERIFY_SSL: Final = "vision_verify_ssl"
CONF_VISION_MODEL: Final = "vision_model"
CONF_VISION_KEEP_ALIVE: Final = "vision_keep_alive"
CONF_TEXT_MODEL_ENABLED: Final = "text_model_enabled"
CONF_TEXT_HOST: Final = "text_host"
CONF_TEXT_PORT: Final = "text_port"
CONF_TEXT_API: Final = "text_api"
CONF_TEXT_API_KEY: Final = "text_api_key"
CONF_TEXT_VERIFY_SSL: Final = "text_verify_ssl"
CONF_TEXT_MODEL: Final = "text_model"
CONF_TEXT_KEEP_ALIVE: Final = "text_keep_alive"

CONF_PICTURE_SIZE: Final = "picture_size"
CONF_CONCURRENCY: Final = "concurrency"
CONF_SILENCE_FIRST_TOKEN: Final = "silence_first_token"  # noqa: S105  (tokens of an answer)
CONF_SILENCE_NEXT_TOKEN: Final = "silence_next_token"  # noqa: S105  (as above)
CONF_CACHE_MINUTES: Final = "cache_minutes"
CONF_ANALYSES_PER_MINUTE: Final = "analyses_per_minute"
CONF_FORGET_AFTER_DAYS: Final = "forget_after_days"
CONF_HISTORY_DAYS: Final = "history_days"
CONF_HISTORY_RESULTS: Final = "history_results"
CONF_HISTORY_MEGABYTES: Final = "history_megabytes"
CONF_VISION_NUM_CTX: Final = "vision_num_ctx"
CONF_VISION_MAX_TOKENS: Final = "vision_max_tokens"
CONF_VISION_TEMPERATURE: Final = "vision_temperature"
CONF_TEXT_NUM_CTX: Final = "text_num_ctx"
CONF_TEXT_MAX_TOKENS: Final = "text_max_tokens"
CONF_TEXT_TEMPERATURE: Final = "text_temperature"
CONF_FALLBACK_AI_TASK: Final = "fallback_ai_task"

DEFAULT_NAME: Final = "Ollama Vision"
DEFAULT_PORT: Final = 11434
DEFAULT_VISION_MODEL: Final = "moondream"
DEFAULT_TEXT_MODEL: Final = "llama3.1"
DEFAULT_KEEP_ALIVE: Final = "-1"

DEFAULT_PICTURE_SIZE: Final = 1024
DEFAULT_CONCURRENCY: Final = 1
DEFAULT_SILENCE_FIRST_TOKEN: Final = 300
DEFAULT_SILENCE_NEXT_TOKEN: Final = 60
DEFAULT_CACHE_MINUTES: Final = 60
DEFAULT_ANALYSES_PER_MINUTE: Final = 0  # no limit
DEFAULT_FORGET_AFTER_DAYS: Final = 0  # never
DEFAULT_HISTORY_DAYS: Final = 7
DEFAULT_HISTORY_RESULTS: Final = 500
DEFAULT_HISTORY_MEGABYTES: Final = 50


class Role(StrEnum):
    """What a model does for a device; the first part of its keys in an entry."""

    VISION = "vision"
    TEXT = "text"


class AnalysisFault(StrEnum):
    """The closed list of what `ollama_vision_analysis_failed` carries as `error`."""

    CANNOT_CONNECT = "cannot_connect"
    TIMEOUT = "timeout"
    AUTHENTICATION = "authentication"
    MODEL_NOT_FOUND = "model_not_found"
    CANNOT_SEE = "cannot_see"
    BUSY = "busy"
    BAD_RESPONSE = "bad_response"
    EMPTY_ANSWER = "empty_answer"
    TRUNCATED = "truncated"
    STRUCTURE_MISMATCH = "structure_mismatch"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_UNREACHABLE = "image_unreachable"
    IMAGE_FORBIDDEN = "image_forbidden"
    IMAGE_TOO_LARGE = "image_too_large"
    NOT_AN_IMAGE = "not_an_image"
    RATE_LIMITED = "rate_limited"
    STOPPING = "stopping"
