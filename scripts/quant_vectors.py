#!/usr/bin/env python3
"""Writes quant/tests/vectors/NAME.bin: blocks of random bits in each format, then what they decode to.

The values come from the Python package `gguf`, an implementation that is not ours. Every file: blocks of 512 weights in
all, then 512 little-endian single precision numbers. Needs `pip install gguf`; the files are committed, so tests don't.
"""

import pathlib

import numpy
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

FORMATS = """F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS
TQ1_0 TQ2_0 IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S NVFP4""".split()
WEIGHTS = 512
OUT = pathlib.Path(__file__).parent.parent / "quant" / "tests" / "vectors"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = numpy.random.default_rng(7)
    for name in FORMATS:
        qtype = GGMLQuantizationType[name]
        block_len, block_bytes = GGML_QUANT_SIZES[qtype]
        row = rng.integers(0, 256, WEIGHTS // block_len * block_bytes, dtype=numpy.uint8)
        with numpy.errstate(all="ignore"):
            values = quants.dequantize(row, qtype).astype("<f4")
        assert values.size == WEIGHTS, name
        (OUT / f"{name.lower()}.bin").write_bytes(row.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
