"""A GGUF model made from nothing: llama architecture, random weights of a fixed seed, 170 KB. Its words are noise.

The layout is ggml's docs/gguf.md. Only syllables get a score above zero, so that answers are text, and they go on
until a bound or a grammar ends them: nothing that this model says would end by itself.
"""

import random
import struct
from pathlib import Path

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
F32 = 0
WIDTH, LAYERS, HEADS, FEED_FORWARD = 32, 2, 2, 64
CONTEXT = 131_072  # to go on to its end takes minutes
SYLLABLES = [consonant + vowel for consonant in ("k", "s", "t", "n") for vowel in "aiueo"]
TOOL_CALL = "<tool_call>\n"
TOKENS = [
    ("<unk>", UNKNOWN),
    ("<s>", CONTROL),
    ("</s>", CONTROL),
    *((f"<0x{byte:02X}>", BYTE) for byte in range(256)),
    ("▁", NORMAL),
    (TOOL_CALL, NORMAL),
    *(("▁" + syllable, NORMAL) for syllable in SYLLABLES),
]
TOKEN_OF = {text: number for number, (text, _) in enumerate(TOKENS)}
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
Call with <tool_call>{"name": <function-name>, "arguments": <args-json-object>}</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}
<|im_start|>{{ message.role }}
{%- if message.content %}
{{ message.content }}
{%- endif %}
{%- if message.tool_calls %}
{%- for tool_call in message.tool_calls %}
<tool_call>
{"name": "{{ tool_call.function.name }}", "arguments": {{ tool_call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}
{%- endif %}<|im_end|>
{%- endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""


def write_tiny_gguf(path: Path, *, architecture: str = "llama", name: str = "Tiny", version: int = 3) -> Path:
    """Write the model; the same arguments give the same bytes."""
    pairs = _pairs(architecture, name)
    tensors = _tensors()
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, (kind, value) in pairs.items():
        head += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    data = b""
    for tensor, (shape, values) in tensors.items():
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += _string(tensor) + dimensions + struct.pack("<IQ", F32, len(data))
        data += _padded(struct.pack(f"<{len(values)}f", *values))
    path.write_bytes(_padded(head) + data)
    return path


def _pairs(architecture: str, name: str) -> dict[str, tuple[int, object]]:
    return {
        "general.architecture": (STRING, architecture),
        "general.name": (STRING, name),
        f"{architecture}.context_length": (UINT32, CONTEXT),
        f"{architecture}.embedding_length": (UINT32, WIDTH),
        f"{architecture}.block_count": (UINT32, LAYERS),
        f"{architecture}.feed_forward_length": (UINT32, FEED_FORWARD),
        f"{architecture}.attention.head_count": (UINT32, HEADS),
        f"{architecture}.attention.head_count_kv": (UINT32, HEADS),
        f"{architecture}.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        f"{architecture}.rope.dimension_count": (UINT32, WIDTH // HEADS),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, [text for text, _ in TOKENS])),
        "tokenizer.ggml.scores": (ARRAY, (FLOAT32, [0.0] * len(TOKENS))),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, [kind for _, kind in TOKENS])),
        "tokenizer.ggml.add_space_prefix": (BOOL, False),
        "tokenizer.ggml.unknown_token_id": (UINT32, 0),
        "tokenizer.ggml.bos_token_id": (UINT32, 1),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.chat_template": (STRING, TEMPLATE),
    }


def _tensors() -> dict[str, tuple[tuple[int, ...], list[float]]]:
    chance = random.Random(7)

    def matrix(columns: int, rows: int, spread: float) -> tuple[tuple[int, int], list[float]]:
        return (columns, rows), [chance.gauss(0, spread) for _ in range(columns * rows)]

    ones = (WIDTH,), [1.0] * WIDTH
    tensors = {"token_embd.weight": matrix(WIDTH, len(TOKENS), 1)}
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        tensors[f"{block}attn_norm.weight"] = tensors[f"{block}ffn_norm.weight"] = ones
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{block}{part}.weight"] = matrix(WIDTH, WIDTH, 0.3)
        for part in ("ffn_gate", "ffn_up"):
            tensors[f"{block}{part}.weight"] = matrix(WIDTH, FEED_FORWARD, 0.3)
        tensors[f"{block}ffn_down.weight"] = matrix(FEED_FORWARD, WIDTH, 0.3)
    silent = len(TOKENS) - len(SYLLABLES)
    _, loud = matrix(WIDTH, len(SYLLABLES), 1)
    return {
        **tensors,
        "output_norm.weight": ones,
        "output.weight": ((WIDTH, len(TOKENS)), [0.0] * WIDTH * silent + loud),
    }


def _value(kind: int, value) -> bytes:
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        item, items = value
        return struct.pack("<IQ", item, len(items)) + b"".join(_value(item, one) for one in items)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)
