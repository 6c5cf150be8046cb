"""Why a model process ended, in one line that a person can act on."""

from pathlib import Path

import pytest

from sekisho.capacity.llama.failures import how_it_ended, why_not_loaded

FILE = Path("a.gguf")
NOISE = "0.00.003.377 I srv          init: loading model\n0.00.001.771 W srv  init: security: no API key\n"


def error(text):
    return f"{NOISE}0.00.004.588 E {text}\n0.00.004.619 E llama_model_load_from_file_impl: failed to load model\n"


@pytest.mark.parametrize(
    ("code", "log", "says", "remedy"),
    [
        (1, error("llama_model_load: error loading model: unknown model architecture: 'x9'"), "'x9'", "another model"),
        (1, error("gguf_init_from_reader: failed to read key-value pairs"), "truncated or damaged", "again"),
        (1, error("tensor 'output.weight' data is not within the file bounds"), "truncated or damaged", "again"),
        (1, error("ggml_aligned_malloc: insufficient memory (attempted …)"), "not enough memory", "--context"),
        (1, error("llama_init_from_model: failed to initialize the context: std::bad_alloc"), "memory", "--parallel"),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'\n", "not enough memory", "--context"),
        (-9, NOISE, "killed, most likely because memory ran out, while a.gguf was loaded", "--context"),
        (-4, NOISE, "signal 4", "processor"),
        (-6, NOISE + "/src/x.cpp:7: GGML_ASSERT(n > 0) failed\n", "GGML_ASSERT(n > 0) failed", "damaged"),
        (1, error("error loading model: CLIP cannot be used as main model"), "be loaded: CLIP cannot be used", ""),
        (1, "Traceback\nModuleNotFoundError: No module named 'x'\n", "No module named 'x'", ""),
        (1, "", "gave no reason", ""),
    ],
)
def test_the_reason_is_one_line(code, log, says, remedy):
    reason = why_not_loaded(FILE, code, log)
    assert says in reason.message
    assert remedy in reason.remedy
    assert "\n" not in str(reason)


def test_what_a_request_said_is_not_repeated():
    log = f'{NOISE}got exception: {{"last read": "my secret"}}\n/src/x.cpp:7: GGML_ASSERT(false) failed\n'
    assert how_it_ended(-6, log) == "llama.cpp crashed (signal 6: /src/x.cpp:7: GGML_ASSERT(false) failed)"
    assert "secret" not in how_it_ended(1, log)
    assert how_it_ended(-9, "") == "the model process was killed, most likely because memory ran out,"


def test_control_characters_of_a_file_do_not_reach_the_terminal():
    reason = why_not_loaded(FILE, 1, error("unknown model architecture: '\x1b[31m'"))
    assert "\x1b" not in reason.message
