#!/usr/bin/env python3
"""Writes tests/fixtures/arch: one tiny seeded model per family and the logits that reference.py computes for it.

    make_fixtures.py [DIR] [--only NAME]

index.json lists, per model: `tokens`, `positions` (the rows kept in `logits`, raw little-endian f32 of `shape`), `ctx` (the
session's context), `greedy` (the tokens that follow) and `int8` (true = the file has quantized matrices, so the logits were
computed with their inputs rounded to int8). perplexity.json: runs of that command and their results. Needs: pip install numpy gguf
"""
import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import reference
from gguf import GGMLQuantizationType as Q

ROOT = Path(__file__).resolve().parent.parent / "tests/fixtures/arch"
PAIRS = ["t h", "th e", "i n", "a n", "e r", "Ġ t", "Ġt he", "Ġ a", "ì ķ", "ìķ Ī"]
SPECIALS = ["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
TEMPLATE = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_symbols():
    """The printable stand-in of every byte, as byte-level BPE vocabularies spell them."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(shifted)) for b in range(256)]


VOCAB = byte_symbols() + [p.replace(" ", "") for p in PAIRS] + SPECIALS
V = len(VOCAB)


class Builder:
    """One model file: keys under the architecture's prefix, seeded tensors."""

    def __init__(self, path, arch, seed, layers, embd, heads, kv, dim, ffn, pre="llama-bpe", bos=False, **keys):
        self.w, self.rng = gguf.GGUFWriter(path, arch), np.random.default_rng(seed)
        self.arch, self.layers, self.E, self.H, self.KV, self.d, self.ffn_width = arch, layers, embd, heads, kv, dim, ffn
        self.mixed = lambda name: Q.F16
        defaults = {
            "block_count": layers, "context_length": 512, "embedding_length": embd, "feed_forward_length": ffn,
            "attention.head_count": heads, "attention.head_count_kv": kv, "attention.key_length": dim,
            "attention.value_length": dim, "rope.dimension_count": dim, "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.freq_base": 10000.0,
        }
        for key, value in (defaults | keys).items():
            if value is not None:
                self.key(f"{arch}.{key}", value)
        self.tokenizer(pre, bos)

    def key(self, name, value):
        if isinstance(value, bool):
            self.w.add_bool(name, value)
        elif isinstance(value, int):
            self.w.add_uint32(name, value)
        elif isinstance(value, float):
            self.w.add_float32(name, value)
        elif isinstance(value, str):
            self.w.add_string(name, value)
        else:
            self.w.add_array(name, value)

    def tokenizer(self, pre, bos):
        w = self.w
        w.add_name(f"{self.arch} fixture")
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(VOCAB)
        w.add_token_types([1] * (V - len(SPECIALS)) + [3] * len(SPECIALS))
        w.add_token_merges(PAIRS)
        w.add_bos_token_id(VOCAB.index("<|begin|>"))
        w.add_eos_token_id(VOCAB.index("<|im_end|>"))
        w.add_add_bos_token(bos)
        w.add_chat_template(TEMPLATE)

    def vector(self, name, n, low=0.5, high=1.5):
        self.w.add_tensor(name, self.rng.uniform(low, high, n).astype(np.float32))

    def matrix(self, name, inputs, outputs, gain=1.0, count=None, dtype=None):
        """`outputs` rows of `inputs` values (GGUF {inputs, outputs[, count]})."""
        shape = (outputs, inputs) if count is None else (count, outputs, inputs)
        dtype = dtype or self.mixed(name)
        if dtype in RANDOM_BLOCKS:
            data = random_blocks(self.rng, dtype, shape, gain / np.sqrt(inputs))
            self.w.add_tensor(f"{name}.weight", data, raw_dtype=dtype)
            return
        data = (self.rng.normal(0, gain / np.sqrt(inputs), shape)).astype(np.float32)
        if dtype == Q.F32:
            self.w.add_tensor(f"{name}.weight", data)
        elif dtype == Q.F16:
            self.w.add_tensor(f"{name}.weight", data.astype(np.float16))
        else:
            self.w.add_tensor(f"{name}.weight", gguf.quantize(data, dtype), raw_dtype=dtype)

    def bias(self, name, n, count=None):
        shape = n if count is None else (count, n)
        self.w.add_tensor(f"{name}.bias", self.rng.normal(0, 0.2, shape).astype(np.float32))

    def ends(self, tied=False):
        self.matrix("token_embd", self.E, V, gain=np.sqrt(self.E))
        self.vector("output_norm.weight", self.E)
        if not tied:
            self.matrix("output", self.E, V, gain=2.0)

    def attention(self, i, biases="", qk_norm=False, fused=False):
        p, q, kv = f"blk.{i}.attn_", self.H * self.d, self.KV * self.d
        if fused:
            self.matrix(p + "qkv", self.E, q + 2 * kv, gain=1.5)
        else:
            self.matrix(p + "q", self.E, q, gain=1.5)
            self.matrix(p + "k", self.E, kv, gain=1.5)
            self.matrix(p + "v", self.E, kv)
        self.matrix(p + "output", q, self.E)
        for name in biases:
            self.bias(p + {"o": "output"}.get(name, name), {"q": q, "o": self.E}.get(name, kv))
        if qk_norm:
            self.vector(p + "q_norm.weight", self.d, 0.8, 2.0)
            self.vector(p + "k_norm.weight", self.d, 0.8, 2.0)

    def norms(self, i, *names, low=0.5, high=1.5):
        for name in names:
            self.vector(f"blk.{i}.{name}.weight", self.E, low, high)

    def ffn(self, i, width=None, suffix="", fused=False):
        p, width = f"blk.{i}.ffn_", width or self.ffn_width
        if not fused:
            self.matrix(f"{p}gate{suffix}", self.E, width, gain=1.5)
        self.matrix(f"{p}up{suffix}", self.E, width * (2 if fused else 1))
        self.matrix(f"{p}down{suffix}", width, self.E)

    def experts(self, i, count, width, bias=False, shared=0, dtype=None, merged=False, biases=False):
        p = f"blk.{i}.ffn_"
        self.matrix(p + "gate_inp", self.E, count, dtype=Q.F32)
        if merged:
            self.matrix(p + "gate_up_exps", self.E, 2 * width, gain=1.5, count=count)
        else:
            self.matrix(p + "gate_exps", self.E, width, gain=1.5, count=count, dtype=dtype)
            self.matrix(p + "up_exps", self.E, width, count=count, dtype=dtype)
        self.matrix(p + "down_exps", width, self.E, count=count, dtype=dtype)
        if bias:
            self.bias(f"blk.{i}.exp_probs_b", count)
        if biases:
            self.bias(p + "gate_inp", count)
            for name, n in (("gate", width), ("up", width), ("down", self.E)):
                self.bias(f"{p}{name}_exps", n, count)
        if shared:
            self.ffn(i, shared, "_shexp")

    def close(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


# --- blocks of the formats that the gguf package only reads ----------------------------------------------------------

def packed(rng, n, width):
    return rng.integers(0, 256, (n, width), dtype=np.uint8)


def halves(x):
    return np.asarray(x, np.float16).reshape(-1, 1).view(np.uint8)


def k4_scales(rng, n, levels, std):
    """Q4_K / Q5_K: d, dmin and the packed 6-bit scales and minimums of 8 groups; the values come out centred."""
    spread = std / (40 * levels / np.sqrt(12)) * rng.uniform(0.7, 1.3, n)
    return np.concatenate([halves(spread), halves(spread * levels / 2), packed(rng, n, 12)], 1)


def block_q4k(rng, n, std):
    return np.concatenate([k4_scales(rng, n, 15, std), packed(rng, n, 128)], 1)


def block_q5k(rng, n, std):
    return np.concatenate([k4_scales(rng, n, 31, std), packed(rng, n, 160)], 1)


def block_q6k(rng, n, std):
    return np.concatenate([packed(rng, n, 208), halves(std / (18.5 * 74) * rng.uniform(0.7, 1.3, n))], 1)


def block_q3k(rng, n, std):
    return np.concatenate([packed(rng, n, 108), halves(std / (2.3 * 18.5) * rng.uniform(0.7, 1.3, n))], 1)


def block_q2k(rng, n, std):
    spread = std / (1.1 * 8.8) * rng.uniform(0.7, 1.3, n)
    return np.concatenate([packed(rng, n, 80), halves(spread), halves(spread * 1.5)], 1)


def block_iq4nl(rng, n, std):
    return np.concatenate([halves(std / 70 * rng.uniform(0.7, 1.3, n)), packed(rng, n, 16)], 1)


def block_iq4xs(rng, n, std):
    return np.concatenate([halves(std / (70 * 18.5) * rng.uniform(0.7, 1.3, n)), packed(rng, n, 134)], 1)


RANDOM_BLOCKS = {Q.Q4_K: block_q4k, Q.Q5_K: block_q5k, Q.Q6_K: block_q6k, Q.Q3_K: block_q3k, Q.Q2_K: block_q2k,
                 Q.IQ4_NL: block_iq4nl, Q.IQ4_XS: block_iq4xs}


def random_blocks(rng, dtype, shape, std):
    length, _ = gguf.GGML_QUANT_SIZES[dtype]
    assert shape[-1] % length == 0, (dtype, shape)
    blocks = RANDOM_BLOCKS[dtype](rng, int(np.prod(shape)) // length, std)
    return blocks.reshape(*shape[:-1], -1)


# --- the families ----------------------------------------------------------------------------------------------------

def plain(b, biases="", qk_norm=False, tied=False, fused_qkv=False, fused_ffn=False):
    b.ends(tied)
    for i in range(b.layers):
        b.norms(i, "attn_norm", "ffn_norm")
        b.attention(i, biases, qk_norm, fused_qkv)
        b.ffn(i, fused=fused_ffn)


def llama3_divisors(dim, base, factor, original):
    wave = 2 * np.pi * base ** (2 * np.arange(dim // 2) / dim)
    low, high = original / 1.0, original / 4.0
    s = (original / wave - 1.0) / 3.0
    return np.where(wave < high, 1.0, np.where(wave > low, factor, 1 / ((1 - s) / factor + s))).astype(np.float32)


def llama(path, seed):
    b = Builder(path, "llama", seed, 2, 24, 4, 2, 16, 40)
    b.mixed = lambda name: Q.F32 if "attn_q" in name or name == "output" else Q.F16
    b.w.add_tensor("rope_freqs.weight", llama3_divisors(16, 10000.0, 8.0, 64))
    plain(b)
    b.close()


def llama_moe(path, seed):
    b = Builder(path, "llama", seed, 2, 24, 4, 1, 8, 16, expert_count=8, expert_used_count=2)
    b.ends(tied=True)
    for i in range(2):
        b.norms(i, "attn_norm", "ffn_norm")
        b.attention(i)
        b.experts(i, 8, 16)
    b.close()


def qwen2(path, seed):
    b = Builder(path, "qwen2", seed, 2, 24, 5, 1, 8, 40, "qwen2", **{"rope.freq_base": 1e6})
    plain(b, "qkv")
    b.close()


def qwen3(path, seed):
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
    b = Builder(path, "qwen3", seed, 2, 24, 6, 2, 16, 40, "qwen2", **yarn)
    plain(b, qk_norm=True, tied=True)
    b.close()


def qwen3moe(path, seed):
    b = Builder(path, "qwen3moe", seed, 2, 24, 4, 2, 8, 64, "qwen2", expert_count=9, expert_used_count=3,
                expert_feed_forward_length=16)
    b.ends(tied=True)
    for i in range(2):
        b.norms(i, "attn_norm", "ffn_norm")
        b.attention(i, qk_norm=True)
        b.experts(i, 9, 16)
    b.close()


def exaone(path, seed):
    b = Builder(path, "exaone", seed, 2, 24, 2, 1, 80, 32, "exaone")
    b.w.add_tensor("rope_freqs.weight", llama3_divisors(80, 10000.0, 8.0, 64))
    plain(b, tied=True)
    b.close()


def exaone4_layers(b, low=0.5, high=1.5):
    b.ends(tied=True)
    for i in range(b.layers):
        b.attention(i, qk_norm=True)
        b.ffn(i)
        b.norms(i, "post_attention_norm", "post_ffw_norm", low=low, high=high)


def exaone4(path, seed):
    b = Builder(path, "exaone4", seed, 3, 24, 4, 2, 16, 32, "exaone4")
    b.w.add_tensor("rope_freqs.weight", llama3_divisors(16, 10000.0, 16.0, 64))
    exaone4_layers(b)
    b.close()


def exaone4_windows(path, seed):
    b = Builder(path, "exaone4", seed, 64, 8, 2, 1, 4, 8, "exaone4",
                **{"attention.sliding_window": 6, "attention.sliding_window_pattern": 4})
    exaone4_layers(b, 0.1, 0.3)  # gentle branches: 64 layers of rounding must not add up to another answer
    b.close()


def exaone_moe(path, seed):
    b = Builder(path, "exaone-moe", seed, 6, 24, 2, 1, 8, 32, "exaone-moe", expert_count=6, expert_used_count=2,
                expert_feed_forward_length=8, expert_shared_count=1, expert_gating_func=2, expert_weights_norm=True,
                expert_weights_scale=2.5, leading_dense_block_count=1, nextn_predict_layers=1,
                **{"attention.sliding_window": 8, "attention.sliding_window_pattern": [True, True, True, False, True, True]})
    b.ends(tied=True)
    for i in range(5):
        b.norms(i, "attn_norm", "ffn_norm")
        b.attention(i, qk_norm=True)
        b.ffn(i) if i == 0 else b.experts(i, 6, 8, bias=True, shared=8)
    b.norms(5, "attn_norm", "ffn_norm")  # the extra layer that predicts one token further is never run
    b.matrix("blk.5.nextn.eh_proj", 48, 24)
    b.close()


def latent_layer(b, i, nope, rope, v_dim, rank, q_rank, joint=False):
    p, H = f"blk.{i}.attn_", b.H
    if q_rank:
        b.matrix(p + "q_a", b.E, q_rank)
        b.vector(p + "q_a_norm.weight", q_rank)
        b.matrix(p + "q_b", q_rank, H * (nope + rope), gain=1.5)
    else:
        b.matrix(p + "q", b.E, H * (nope + rope), gain=1.5)
    b.matrix(p + "kv_a_mqa", b.E, rank + rope, gain=1.5)
    b.vector(p + "kv_a_norm.weight", rank)
    if joint:
        b.matrix(p + "kv_b", rank, H * (nope + v_dim))
    else:
        b.matrix(p + "k_b", nope, rank, count=H)
        b.matrix(p + "v_b", rank, v_dim, count=H)
    b.matrix(p + "output", H * v_dim, b.E)


def deepseek2(path, seed):
    """The dimensions of latent attention as in DeepSeek-R1 (512 + 64, 128, 128), two heads, grouped experts."""
    b = Builder(path, "deepseek2", seed, 1, 24, 2, 1, 576, 48, "deepseek-v3", expert_count=8, expert_used_count=3,
                expert_feed_forward_length=16, expert_shared_count=1, expert_gating_func=2, expert_weights_norm=True,
                expert_weights_scale=2.5, expert_group_count=4, expert_group_used_count=2, leading_dense_block_count=0,
                **{"attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
                   "attention.q_lora_rank": 24, "attention.kv_lora_rank": 512, "rope.dimension_count": 64,
                   "rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 64,
                   "rope.scaling.yarn_log_multiplier": 0.1, "attention.layer_norm_rms_epsilon": 1e-6})
    b.ends(tied=True)
    b.norms(0, "attn_norm", "ffn_norm")
    latent_layer(b, 0, 128, 64, 128, 512, 24)
    b.experts(0, 8, 16, bias=True, shared=16)
    b.close()


def deepseek2_small(path, seed):
    """Three layers (the first dense), merged gate and up, and no key for the yarn multiplier."""
    b = Builder(path, "deepseek2", seed, 3, 24, 4, 1, 40, 32, "deepseek-v3", expert_count=6, expert_used_count=2,
                expert_feed_forward_length=16, expert_shared_count=2, expert_gating_func=2, expert_weights_norm=True,
                expert_weights_scale=2.5, leading_dense_block_count=1,
                **{"attention.value_length": 32, "attention.key_length_mla": 24, "attention.value_length_mla": 16,
                   "attention.q_lora_rank": 24, "attention.kv_lora_rank": 32, "rope.dimension_count": 8,
                   "rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 64})
    b.ends(tied=True)
    for i in range(3):
        b.norms(i, "attn_norm", "ffn_norm")
        latent_layer(b, i, 16, 8, 16, 32, 24)
        b.ffn(i) if i == 0 else b.experts(i, 6, 16, bias=True, shared=32, merged=True)
    b.close()


def deepseek2_joint(path, seed):
    """The older files: keys and values in one tensor, plain queries, softmax routing, another multiplier."""
    b = Builder(path, "deepseek2", seed, 2, 24, 4, 4, 24, 32, "deepseek-v3", expert_count=6, expert_used_count=2,
                expert_feed_forward_length=16, expert_shared_count=2, expert_weights_scale=1.0, leading_dense_block_count=1,
                **{"attention.value_length": 16, "attention.kv_lora_rank": 32, "rope.dimension_count": 8,
                   "rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 64,
                   "rope.scaling.yarn_log_multiplier": 0.0707})
    b.ends(tied=True)
    for i in range(2):
        b.norms(i, "attn_norm", "ffn_norm")
        latent_layer(b, i, 16, 8, 16, 32, None, joint=True)
        b.ffn(i) if i == 0 else b.experts(i, 6, 16, shared=32)
    b.close()


def glm4moe(b, dense, qk_norm, biases):
    b.ends(tied=True)
    for i in range(2):
        b.norms(i, "attn_norm", "post_attention_norm")
        b.attention(i, biases, qk_norm)
        b.ffn(i) if i < dense else b.experts(i, 6, 16, bias=True, shared=16)


def solar_open(path, seed):
    b = Builder(path, "glm4moe", seed, 2, 24, 4, 1, 16, 64, "solar-open", expert_count=6, expert_used_count=2,
                expert_feed_forward_length=16, expert_shared_count=1, expert_gating_func=2, expert_weights_norm=True,
                expert_weights_scale=1.0, leading_dense_block_count=0,
                **{"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 64})
    glm4moe(b, 0, False, "")
    b.close()


def glm4moe_partial(path, seed):
    b = Builder(path, "glm4moe", seed, 3, 24, 4, 2, 16, 32, "default", expert_count=6, expert_used_count=2,
                expert_feed_forward_length=16, expert_shared_count=1, expert_gating_func=2, expert_weights_norm=True,
                expert_weights_scale=1.5, leading_dense_block_count=1, nextn_predict_layers=1, **{"rope.dimension_count": 8})
    glm4moe(b, 1, True, "qkv")
    b.norms(2, "attn_norm", "post_attention_norm")
    b.matrix("blk.2.nextn.eh_proj", 48, 24)
    b.close()


def hyperclovax(path, seed):
    b = Builder(path, "hyperclovax", seed, 2, 24, 4, 2, 16, 32, "hyperclovax", logit_scale=0.125, embedding_scale=10.0,
                residual_scale=0.5, **{"attention.scale": 0.125, "attention.layer_norm_rms_epsilon": None,
                                       "attention.layer_norm_epsilon": 1e-5, "rope.freq_base": 1e8})
    plain(b)
    for i in range(2):
        b.norms(i, "post_attention_norm", "post_ffw_norm")
    b.close()


def hyperclovax_plain(path, seed):
    b = Builder(path, "hcx-seed-think", seed, 2, 24, 4, 2, 16, 32, "hyperclovax")
    plain(b)
    b.close()


def solar(path, seed):
    listed = lambda *layers: [int(i in layers) for i in range(6)]
    skips = {"0": listed(1, 3), "1": listed(2), "2": listed(2, 4), "3": listed(5)}
    b = Builder(path, "solar", seed, 6, 24, 2, 1, 8, 16, "llama-bpe",
                **{f"attention.block_skip_connection.{k}": v for k, v in skips.items()})
    b.w.add_tensor("bskcn_tv.weight", np.array([0.8, 0.2], np.float32))
    plain(b, tied=True)
    b.close()


def granite(path, seed):
    b = Builder(path, "granite", seed, 2, 24, 4, 2, 16, 32, "refact", logit_scale=8.0, embedding_scale=12.0,
                residual_scale=0.22, **{"attention.scale": 0.0625})
    plain(b, tied=True)
    b.close()


def granitemoe(path, seed):
    b = Builder(path, "granitemoe", seed, 2, 24, 4, 2, 16, 16, "refact", logit_scale=4.0, embedding_scale=12.0,
                residual_scale=0.22, expert_count=6, expert_used_count=3, expert_shared_feed_forward_length=24,
                **{"attention.scale": 0.1})
    b.ends(tied=True)
    for i in range(2):
        b.norms(i, "attn_norm", "ffn_norm")
        b.attention(i)
        b.experts(i, 6, 16, shared=24)
    b.close()


def gemma(b, qk_norm):
    plain(b, qk_norm=qk_norm, tied=True)
    for i in range(b.layers):
        b.norms(i, "post_attention_norm", "post_ffw_norm")
    b.close()


def gemma2(path, seed):
    gemma(Builder(path, "gemma2", seed, 3, 24, 2, 1, 16, 32, "default", attn_logit_softcapping=20.0,
                  final_logit_softcapping=15.0, **{"attention.sliding_window": 8}), False)


def gemma3(path, seed):
    gemma(Builder(path, "gemma3", seed, 7, 16, 2, 1, 16, 16, "default", True,
                  **{"attention.sliding_window": 8, "rope.freq_base": 1e6, "rope.scaling.type": "linear",
                     "rope.scaling.factor": 8.0}), True)


def phi3(path, seed):
    b = Builder(path, "phi3", seed, 2, 24, 4, 2, 16, 32, "gpt-4o",
                **{"rope.dimension_count": 12, "rope.scaling.type": "longrope", "rope.scaling.attn_factor": 1.19,
                   "rope.scaling.original_context_length": 128, "attention.sliding_window": 16})
    b.vector("rope_factors_short.weight", 6, 1.0, 1.3)
    b.vector("rope_factors_long.weight", 6, 1.0, 9.0)
    plain(b, fused_qkv=True, fused_ffn=True)
    b.close()


def gpt_oss_layers(b, dtype):
    b.ends(tied=True)
    for i in range(b.layers):
        b.norms(i, "attn_norm", "post_attention_norm")
        b.attention(i, "qkvo")
        b.vector(f"blk.{i}.attn_sinks.weight", b.H, -1.0, 2.0)
        b.experts(i, 4, 32, dtype=dtype, biases=True)
    b.close()


def gpt_oss(path, seed, dtype=Q.F16):
    gpt_oss_layers(Builder(path, "gpt-oss", seed, 2, 32, 4, 1, 16, 32, "gpt-4o", expert_count=4, expert_used_count=2,
                           expert_feed_forward_length=32,
                           **{"attention.sliding_window": 8, "rope.freq_base": 150000.0, "rope.scaling.type": "yarn",
                              "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 64}), dtype)


def gpt_oss_mxfp4(path, seed):
    gpt_oss(path, seed, Q.MXFP4)


def quantized(path, seed, kinds):
    """A llama whose matrices cycle through `kinds`: (name part, type), the first that fits."""
    b = Builder(path, "llama", seed, 1, 256, 2, 1, 32, 96 if "K" in kinds else 256)
    b.mixed = lambda name: next((t for part, t in kinds.items() if part != "K" and part in name), Q.F16)
    plain(b, tied=True)
    b.close()


def llama_q4k(path, seed):
    quantized(path, seed, {"K": 0, "token_embd": Q.Q4_K, "attn_q": Q.Q4_K, "attn_k": Q.Q4_K, "attn_v": Q.Q6_K,
                           "attn_output": Q.Q8_0, "gate": Q.Q4_K, "up": Q.Q5_K, "down": Q.Q5_0})


def llama_mixed(path, seed):
    quantized(path, seed, {"K": 0, "token_embd": Q.Q3_K, "attn_q": Q.IQ4_XS, "attn_k": Q.Q4_1, "attn_v": Q.Q5_1,
                           "attn_output": Q.IQ4_NL, "gate": Q.Q2_K, "up": Q.BF16, "down": Q.Q4_0})


def llama_q6k(path, seed):
    quantized(path, seed, {"token_embd": Q.Q2_K, "attn_q": Q.Q8_0, "attn_k": Q.Q4_0, "attn_v": Q.Q4_K,
                           "attn_output": Q.Q8_0, "gate": Q.Q3_K, "up": Q.IQ4_XS, "down": Q.Q6_K})


PLAIN = dict(count=40, keep=[0, 1, 2, 7, 16, 31, 38, 39], ctx=256)
LONG = dict(count=300, keep=[0, 5, 127, 128, 129, 255, 257, 299], ctx=512)
FIXTURES = [  # (file, builder, runs)
    ("llama", llama, [PLAIN, LONG]),
    ("llama-moe", llama_moe, [PLAIN]),
    ("qwen2", qwen2, [PLAIN]),
    ("qwen3", qwen3, [PLAIN]),
    ("qwen3moe", qwen3moe, [PLAIN]),
    ("exaone", exaone, [PLAIN]),
    ("exaone4", exaone4, [PLAIN]),
    ("exaone4-windows", exaone4_windows, [PLAIN]),
    ("exaone-moe", exaone_moe, [PLAIN]),
    ("deepseek2", deepseek2, [PLAIN]),
    ("deepseek2-small", deepseek2_small, [PLAIN, LONG]),
    ("deepseek2-joint", deepseek2_joint, [PLAIN]),
    ("solar-open", solar_open, [PLAIN]),
    ("glm4moe-partial", glm4moe_partial, [PLAIN]),
    ("hyperclovax", hyperclovax, [PLAIN]),
    ("hyperclovax-plain", hyperclovax_plain, [PLAIN]),
    ("solar", solar, [PLAIN]),
    ("granite", granite, [PLAIN]),
    ("granitemoe", granitemoe, [PLAIN]),
    ("gemma2", gemma2, [PLAIN]),
    ("gemma3", gemma3, [PLAIN, LONG]),
    ("phi3", phi3, [PLAIN | dict(ctx=256), LONG]),
    ("gpt-oss", gpt_oss, [PLAIN, LONG]),
    ("gpt-oss-mxfp4", gpt_oss_mxfp4, [PLAIN]),
    ("llama-q4k", llama_q4k, [PLAIN]),
    ("llama-mixed", llama_mixed, [PLAIN]),
    ("llama-q6k", llama_q6k, [PLAIN]),
]
GREEDY = 12


def one_run(path, number, seed, run):
    """One index entry: the logits of `run`'s tokens and the greedy continuation. None: a choice is too close to call."""
    int8 = any(gguf.GGML_QUANT_SIZES[t.tensor_type][0] > 1 for t in gguf.GGUFReader(path).tensors)
    f = reference.File(path, int8)
    tokens = [int(t) for t in np.random.default_rng(seed + 1).integers(0, V, run["count"])]
    logits = reference.forward(f, tokens, run["ctx"])[run["keep"]].astype("<f4")
    greedy, lead = reference.greedy(f, tokens, GREEDY, run["ctx"])
    if lead < (0.05 if int8 else 0.002) * logits.std():
        return None
    name = f"{path.stem}{number or ''}.f32"
    logits.tofile(path.parent / name)
    return {"model": path.name, "logits": name, "tokens": tokens, "positions": run["keep"], "shape": list(logits.shape),
            "ctx": run["ctx"], "greedy": greedy, "int8": int8}


def make(folder, name, build, runs, seed):
    path = folder / f"{name}.gguf"
    for attempt in range(20):
        build(path, seed + 1000 * attempt)
        entries = [one_run(path, n, seed + 1000 * attempt, run) for n, run in enumerate(runs)]
        if all(entries):
            print(f"{path.name:28} {path.stat().st_size:8} bytes, seed {seed + 1000 * attempt}", flush=True)
            return entries
    raise SystemExit(f"{name}: no seed gives clear greedy choices")


def log_probs(f, tokens, length, scored, step):
    """The log-probabilities of the predictions that count, and the tokens that came: the last `scored` of each window."""
    rows, targets = [], []
    for start in range(0, len(tokens) - length + 1, step):
        window = list(tokens[start : start + length])
        if f.reader.fields["tokenizer.ggml.add_bos_token"].contents():
            window[0] = VOCAB.index("<|begin|>")
        logits = reference.forward(f, window, length)[length - 1 - scored : -1]
        rows.append(np.log(reference.softmax(logits)))
        targets += window[length - scored :]
    return np.concatenate(rows), np.array(targets)


def perplexities(folder):
    """Runs of the perplexity command and what they have to give. Every byte of the text is one token."""
    rng = np.random.default_rng(77)
    text = " ".join("".join(rng.choice(list("BCDFGHKLMPQRSUVWXYZ0123456789"), rng.integers(2, 9))) for _ in range(60))
    runs = [("llama", 64, None, None), ("llama", 32, 8, None), ("gemma3", 48, None, None), ("qwen2", 64, None, "llama")]
    out = []
    for model, length, stride, base in runs:
        f = reference.File(folder / f"{model}.gguf")
        tokens = list(text.encode())
        if model == "gemma3":
            tokens.insert(0, VOCAB.index("<|begin|>"))
        cut = (length, stride or length - length // 2 - 1, stride or length)
        rows, targets = log_probs(f, tokens, *cut)
        true = rows[np.arange(len(rows)), targets]
        run = {"model": f"{model}.gguf", "ctx": length, "stride": stride, "against": base and f"{base}.gguf",
               "predictions": len(rows), "perplexity": float(np.exp(-true.mean()))}
        if base:
            other, _ = log_probs(reference.File(folder / f"{base}.gguf"), tokens, *cut)
            kl = (np.exp(other) * (other - rows)).sum(1)
            change = np.exp(true) - np.exp(other[np.arange(len(rows)), targets])
            run["divergence"] = {"mean": kl.mean(), "max": kl.max(), "p90": np.percentile(kl, 90),
                                 "same_top": float((other.argmax(1) == rows.argmax(1)).mean()),
                                 "probability_change_rms": np.sqrt((change**2).mean())}
        out.append(run)
    return {"text": text, "runs": out}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", nargs="?", type=Path, default=ROOT)
    ap.add_argument("--only", help="print this one's entries and leave the index alone")
    a = ap.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    index = []
    for number, (name, build, runs) in enumerate(FIXTURES):
        if a.only in (None, name):
            index += make(a.folder, name, build, runs, 100 + number)
    lines = ",\n".join(json.dumps(entry) for entry in index)
    if a.only:
        print(lines)
    else:
        (a.folder / "index.json").write_text(f"[\n{lines}\n]\n")
        (a.folder / "perplexity.json").write_text(json.dumps(perplexities(a.folder), indent=1) + "\n")


if __name__ == "__main__":
    main()
