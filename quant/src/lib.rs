//! Numbers only: dot products straight on the quantized blocks of GGUF files.
