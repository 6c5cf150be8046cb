"""Local inference with llama.cpp: a GGUF file behind an OpenAI-compatible address.

Two processes. The engine (`server`) holds the address, bounds the queue and watches; the model process (`worker`)
holds the weights and does nothing but compute. Native code can abort, or be killed for the memory it takes: then
the engine is still there to say so and to start it again.
"""
