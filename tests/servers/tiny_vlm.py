"""A tiny but real vision-language model: its weights are computed here, not trained, and the same bytes each time.

It looks at the picture: one transformer block averages the colour of each patch, one block of the language model
attends to the picture's tokens, and the answer is "The picture is mostly <colour>."; without a picture it is "No photo
was given.". Where a JSON schema is enforced, every free string in it becomes that sentence.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .gguf import Kind, Matrix, Metadata, Tensor, write

WIDTH = 64  # of both models
IMAGE_SIZE, PATCH_SIZE = 64, 16  # 4 x 4 tokens a picture

# The score of a colour is its weights times the mean red, green and blue (-1 to 1), plus its bias.
COLOURS = {
    "red": ((1.0, -0.5, -0.5), 0.0),
    "green": ((-0.5, 1.0, -0.5), 0.0),
    "blue": ((-0.5, -0.5, 1.0), 0.0),
    "yellow": ((0.6, 0.6, -1.2), 0.0),
    "purple": ((0.6, -1.2, 0.6), 0.0),
    "cyan": ((-1.2, 0.6, 0.6), 0.0),
    "white": ((0.35, 0.35, 0.35), 0.0),
    "black": ((-0.35, -0.35, -0.35), 0.0),
    "grey": ((0, 0, 0), 0.12),
}
SEEN = ["The", "▁picture", "▁is", "▁mostly"]  # "▁" is how the tokenizer writes a space
UNSEEN = ["No", "▁photo", "▁was", "▁given"]
SPECIAL = ["<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
WORDS = [*SEEN, *("▁" + colour for colour in COLOURS), *UNSEEN]
TOKENS = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
TOKEN = {token: index for index, token in enumerate(TOKENS)}
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _character(character: str) -> int:
    return TOKEN[f"<0x{ord(character):02X}>"]


START, QUOTE, DOT, COLON = TOKEN["<|assistant|>"], _character('"'), _character("."), _character(":")

# The state of the language model, by dimension: 0 is left alone (keys rotate with the position there), then one for
# each token that decides what follows, one for all other tokens, and then what is known about the picture.
STATES = [START, *(TOKEN[word] for word in WORDS), *(_character(character) for character in '.",:{}[]')]
STATE_OF = {token: 1 + index for index, token in enumerate(STATES)}
OTHER = 1 + len(STATES)
PICTURE = range(OTHER + 1, OTHER + 5)  # red, green, blue and "I am a picture", in a picture's own tokens
COPIED = range(OTHER + 5, OTHER + 9)  # the same, where attention has put it


@dataclass(frozen=True)
class TinyModel:
    """The two files of the model."""

    text: Path
    vision: Path


def make_tiny_vlm(folder: Path) -> TinyModel:
    """Write the model, 0.6 MB, into a folder."""
    model = TinyModel(folder / "tiny.gguf", folder / "tiny-mmproj.gguf")
    write(model.text, TEXT_METADATA, _text_tensors())
    write(model.vision, VISION_METADATA, _vision_tensors())
    return model


def _text_tensors() -> dict[str, Tensor]:
    embedding = Matrix(len(TOKENS), WIDTH)
    for token in range(len(TOKENS)):
        embedding[token, STATE_OF.get(token, OTHER)] = 8.0
    query, key, value, projection = (Matrix(WIDTH, WIDTH) for _ in range(4))
    for state in (*range(1, OTHER + 1), PICTURE[-1]):
        query[40, state] = 3.0  # every token asks,
    key[40, PICTURE[-1]] = 3.0  # only a picture's tokens answer
    for index, (source, target) in enumerate(zip(PICTURE, COPIED, strict=True)):
        value[index, source] = 1.0
        projection[target, index] = 0.5
    nothing, ones = Matrix(WIDTH, WIDTH), ([WIDTH], [1.0] * WIDTH)
    return {
        "token_embd.weight": embedding.tensor(),
        "output_norm.weight": ones,
        "output.weight": _output().tensor(),
        "blk.0.attn_norm.weight": ones,
        "blk.0.attn_q.weight": query.tensor(),
        "blk.0.attn_k.weight": key.tensor(),
        "blk.0.attn_v.weight": value.tensor(),
        "blk.0.attn_output.weight": projection.tensor(),
        "blk.0.ffn_norm.weight": ones,
        "blk.0.ffn_gate.weight": nothing.tensor(),
        "blk.0.ffn_up.weight": nothing.tensor(),
        "blk.0.ffn_down.weight": nothing.tensor(),
    }


def _output() -> Matrix:
    """Return which token follows which state: a row a token, a column a state; a state counts about 7."""
    output = Matrix(len(TOKENS), WIDTH)
    for token, weight in _unconditional().items():
        for state in range(1, OTHER + 1):
            output[token, state] = weight

    def follows(state: int, token: int, weight: float) -> None:
        output[token, STATE_OF[state]] += weight

    for start in (START, QUOTE):  # a sentence starts: is there a picture?
        follows(start, TOKEN["The"], 60.0)
        follows(start, TOKEN["No"], 62.0)
    output[TOKEN["The"], COPIED[-1]] = 6.0
    output[TOKEN["No"], COPIED[-1]] = -6.0
    for sentence in (SEEN, UNSEEN):
        for word, next_word in pairwise(sentence):
            follows(TOKEN[word], TOKEN[next_word], 60.0)
    follows(TOKEN["▁given"], DOT, 20.0)
    for colour, (weights, bias) in COLOURS.items():
        token = TOKEN["▁" + colour]
        follows(TOKEN["▁mostly"], token, 60.0)
        follows(token, DOT, 20.0)
        for dimension, weight in zip(COPIED, weights, strict=False):
            output[token, dimension] = 45 * weight
        output[token, COPIED[-1]] = 45 * bias * 0.25
    follows(DOT, TOKEN["</s>"], 50.0)  # the end,
    follows(DOT, QUOTE, 10.0)  # or the end of a string in JSON
    follows(_character("{"), QUOTE, 6.0)
    for character, weight in (('"', 10.0), ("5", 6.0), ("t", 6.0)):
        follows(COLON, _character(character), weight)
    return output


def _unconditional() -> dict[int, float]:
    """Return the tokens that are likely or unlikely whatever was said: JSON ends early, and holds no blanks."""
    weights = {_character(character): weight for character, weight in {'"': 1.5, "}": 2.3, "]": 2.3, ",": 1.9}.items()}
    weights |= dict.fromkeys((_character(character) for character in " \n\t\\"), -7)
    for byte in (*range(0x20), *range(0x7F, 256)):
        weights.setdefault(TOKEN[f"<0x{byte:02X}>"], -7.0)
    return weights | dict.fromkeys([*range(len(SPECIAL)), *(TOKEN[word] for word in WORDS)], -25.0)


def _vision_tensors() -> dict[str, Tensor]:
    pixels = PATCH_SIZE * PATCH_SIZE
    patch = [0.0] * (WIDTH * 3 * pixels)
    for channel in range(3):
        for pixel in range(pixels):
            patch[(channel * 3 + channel) * pixels + pixel] = 1.0 / pixels
    patch_bias = [0.0] * WIDTH
    patch_bias[3] = 1.0  # the fourth feature says "I am a picture"
    # Between the two layers is a gelu, and gelu(x + 6) - 6 is almost x.
    first, second = Matrix(WIDTH, WIDTH), Matrix(WIDTH, WIDTH)
    first_bias, second_bias = [0.0] * WIDTH, [0.0] * WIDTH
    for feature, (target, gain) in enumerate(zip(PICTURE, (4.0, 4.0, 4.0, 8.0), strict=True)):
        first[feature, feature] = 1.0
        first_bias[feature] = 6.0
        second[target, feature] = gain
        second_bias[target] = -6.0 * gain
    nothing = Matrix(WIDTH, WIDTH)
    ones, zeros = ([WIDTH], [1.0] * WIDTH), ([WIDTH], [0.0] * WIDTH)
    positions = (IMAGE_SIZE // PATCH_SIZE) ** 2
    tensors: dict[str, Tensor] = {
        "v.patch_embd.weight": ([PATCH_SIZE, PATCH_SIZE, 3, WIDTH], patch),
        "v.patch_embd.bias": ([WIDTH], patch_bias),
        "v.position_embd.weight": ([WIDTH, positions], [0.0] * (WIDTH * positions)),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
        tensors |= {f"v.blk.0.{name}.weight": nothing.tensor(), f"v.blk.0.{name}.bias": zeros}
    for name in ("ln1", "ln2"):
        tensors |= {f"v.blk.0.{name}.weight": ones, f"v.blk.0.{name}.bias": zeros}
    tensors |= {"mm.0.weight": first.tensor(), "mm.0.bias": ([WIDTH], first_bias)}
    tensors |= {"mm.1.weight": second.tensor(), "mm.1.bias": ([WIDTH], second_bias)}
    return tensors


TEXT_METADATA: Metadata = [
    ("general.architecture", Kind.STRING, "llama"),
    ("general.name", Kind.STRING, "tiny-colour-vlm"),
    ("general.license", Kind.STRING, "cc0-1.0"),
    ("general.file_type", Kind.U32, 0),
    ("llama.context_length", Kind.U32, 32768),
    ("llama.embedding_length", Kind.U32, WIDTH),
    ("llama.block_count", Kind.U32, 1),
    ("llama.feed_forward_length", Kind.U32, WIDTH),
    ("llama.attention.head_count", Kind.U32, 1),
    ("llama.attention.head_count_kv", Kind.U32, 1),
    ("llama.attention.layer_norm_rms_epsilon", Kind.F32, 1e-6),
    ("llama.rope.dimension_count", Kind.U32, WIDTH),
    ("llama.rope.freq_base", Kind.F32, 1e30),
    ("llama.vocab_size", Kind.U32, len(TOKENS)),
    ("tokenizer.ggml.model", Kind.STRING, "llama"),
    ("tokenizer.ggml.tokens", Kind.ARRAY, (Kind.STRING, TOKENS)),
    (
        "tokenizer.ggml.scores",
        Kind.ARRAY,
        (Kind.F32, [0.0] * (len(SPECIAL) + 256) + [-1.0 - index for index in range(len(WORDS))]),
    ),
    (
        "tokenizer.ggml.token_type",  # unknown, control, byte and normal tokens
        Kind.ARRAY,
        (Kind.I32, [2] + [3] * (len(SPECIAL) - 1) + [6] * 256 + [1] * len(WORDS)),
    ),
    ("tokenizer.ggml.bos_token_id", Kind.U32, 1),
    ("tokenizer.ggml.eos_token_id", Kind.U32, 2),
    ("tokenizer.ggml.unknown_token_id", Kind.U32, 0),
    ("tokenizer.ggml.add_bos_token", Kind.BOOL, True),
    ("tokenizer.ggml.add_space_prefix", Kind.BOOL, False),
    ("tokenizer.chat_template", Kind.STRING, CHAT_TEMPLATE),
]

VISION_METADATA: Metadata = [
    ("general.architecture", Kind.STRING, "clip"),
    ("general.name", Kind.STRING, "tiny-colour-vlm mmproj"),
    ("general.file_type", Kind.U32, 0),
    ("clip.has_vision_encoder", Kind.BOOL, True),
    ("clip.projector_type", Kind.STRING, "janus_pro"),
    ("clip.use_gelu", Kind.BOOL, True),
    ("clip.vision.image_size", Kind.U32, IMAGE_SIZE),
    ("clip.vision.patch_size", Kind.U32, PATCH_SIZE),
    ("clip.vision.embedding_length", Kind.U32, WIDTH),
    ("clip.vision.feed_forward_length", Kind.U32, WIDTH),
    ("clip.vision.block_count", Kind.U32, 1),
    ("clip.vision.attention.head_count", Kind.U32, 1),
    ("clip.vision.attention.layer_norm_epsilon", Kind.F32, 1e-6),
    ("clip.vision.projection_dim", Kind.U32, WIDTH),
    ("clip.vision.image_mean", Kind.ARRAY, (Kind.F32, [0.5] * 3)),
    ("clip.vision.image_std", Kind.ARRAY, (Kind.F32, [0.5] * 3)),
]
