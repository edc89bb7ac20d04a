#!/usr/bin/env python3
"""The forward pass of every supported model family in plain numpy (float64): short, slow, and written independently of the engine.

    reference.py MODEL.gguf --tokens 1,2,3 [--output logits.f32] [--ctx N]     raw little-endian f32, one row per position
    reference.py MODEL.gguf --tokens 1,2,3 --against logits.f32                prints the normalized mean squared error
    reference.py MODEL.gguf --tokens 1,2,3 --greedy 16                         prints the greedy continuation
    reference.py --check DIR                                                   every model of DIR/index.json

Weights of any type that the `gguf` package can dequantize are widened first, so quantized files give the logits of exact
arithmetic on their decoded weights. With --int8 the inputs of quantized matrices are rounded to int8 first, as the engine's
numeric contract says, so that what is left between the two is the rounding of f32 alone. Needs: pip install numpy gguf
"""
import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np

F = np.float64
NEOX = {"qwen2", "qwen3", "qwen3moe", "exaone", "exaone4", "exaone-moe", "gemma2", "gemma3", "phi3", "gpt-oss", "glm4moe"}
HYPERCLOVAX = {"hyperclovax", "hcx-seed-think", "malta", "greenland"}
ADJACENT = {"llama", "granite", "granitemoe", "deepseek2", "solar"} | HYPERCLOVAX
PRE_FFN_NORM = {"gpt-oss": "post_attention_norm", "glm4moe": "post_attention_norm"}  # elsewhere ffn_norm
FFN_SCALED = {"llama", "qwen3", "qwen3moe"}
ALWAYS_NORMALIZED = {"llama", "qwen3moe", "granitemoe"}  # expert weights, whatever the key says


class File:
    """Keys (without the architecture's prefix) and tensors (as float64, widened once)."""

    def __init__(self, path, int8=False):
        self.int8 = int8
        self.reader = gguf.GGUFReader(path)
        self.infos = {t.name: t for t in self.reader.tensors}
        self.cache = {}
        self.arch = self.reader.fields["general.architecture"].contents()
        if self.arch not in NEOX | ADJACENT:
            raise SystemExit(f"{path}: architecture {self.arch!r} is not one of the reference's")

    def key(self, name, default=None):
        field = self.reader.fields.get(f"{self.arch}.{name}")
        return default if field is None else field.contents()

    def layer_key(self, name, layer, default=None):
        value = self.key(name, default)
        return value[layer] if isinstance(value, list) else value

    def has(self, name):
        return name in self.infos

    def inputs(self, name, x):
        """What the matrix `name` is multiplied with: x itself, or x rounded to int8 with one scale per block."""
        kind = self.infos[name].tensor_type
        length = gguf.GGML_QUANT_SIZES[kind][0]
        if not self.int8 or length == 1:
            return x
        blocks = x.reshape(*x.shape[:-1], -1, length)
        scale = np.abs(blocks).max(-1, keepdims=True) / 127
        return (np.rint(blocks / np.where(scale == 0, 1, scale)) * scale).reshape(x.shape)

    def get(self, name):
        """The tensor in numpy's order (the last axis is the contiguous one), or None."""
        if name not in self.infos:
            return None
        if name not in self.cache:
            t = self.infos[name]
            data = gguf.dequantize(t.data, t.tensor_type) if t.data.dtype == np.uint8 else t.data
            self.cache[name] = np.asarray(data, F).reshape([int(n) for n in t.shape[::-1]])
        return self.cache[name]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def linear(f, name, x):
    """y = s W x + b, with the scalar `name.scale` and the bias where the file has them."""
    y = f.inputs(f"{name}.weight", x) @ f.get(f"{name}.weight").T
    if f.has(f"{name}.scale"):
        y = y * f.get(f"{name}.scale")
    return y + f.get(f"{name}.bias") if f.has(f"{name}.bias") else y


def ffn_linear(f, name, x, expert=None):
    """y = s (W x + b): in the feed-forward the scale comes last, and only FFN_SCALED families apply it at all."""
    pick = lambda tensor: tensor if expert is None else tensor[expert]
    y = f.inputs(f"{name}.weight", x) @ pick(f.get(f"{name}.weight")).T
    if f.has(f"{name}.bias"):
        y = y + pick(f.get(f"{name}.bias"))
    return y * pick(f.get(f"{name}.scale")) if f.arch in FFN_SCALED and f.has(f"{name}.scale") else y


# --- positions -------------------------------------------------------------------------------------------------------

def rope_table(f, layer, positions, ctx):
    """cos and sin of every position, [n, dims / 2], and dims; None where the layer has no positions."""
    windowed = window(f, layer) is not None
    if f.arch == "exaone4" and not windowed and any(window(f, i) for i in range(layers(f))):
        return None
    if f.arch == "exaone-moe" and not windowed:
        return None
    if f.arch in ("granite", "granitemoe") and not f.key("rope.scaling.finetuned", True):
        return None
    dims = f.key("rope.dimension_count") or head_dim(f)
    base = f.key("rope.freq_base", 10000.0)
    kind = f.key("rope.scaling.type", "linear")
    factor = f.key("rope.scaling.factor") or f.key("rope.scale_linear") or 1.0
    if kind == "none":
        factor = 1.0
    if f.arch == "gemma3" and windowed:
        base, kind, factor = f.key("rope.freq_base_swa", 10000.0), "linear", 1.0
    elif windowed:
        base = f.key("rope.freq_base_swa", base)
    original = f.key("rope.scaling.original_context_length") or f.key("context_length")
    divisors = frequency_divisors(f, len(positions) > original)
    i = np.arange(dims // 2)
    own = F(base) ** (-2 * i / dims) / (1 if divisors is None else divisors)
    angle, magnitude = own / (factor if kind in ("linear", "yarn") else 1.0), f.key("rope.scaling.attn_factor", 1.0)
    if kind == "yarn":
        turns = lambda b: dims * np.log(original / (b * 2 * np.pi)) / (2 * np.log(base))
        low, high = max(0.0, np.floor(turns(32.0))), min(dims - 1.0, np.ceil(turns(1.0)))
        keep = 1 - np.clip((i - low) / max(0.001, high - low), 0, 1)
        angle = angle * (1 - keep) + own * keep
        magnitude *= yarn_magnitude(f, factor)
    theta = np.asarray(positions, F)[:, None] * angle
    return np.cos(theta) * magnitude, np.sin(theta) * magnitude, dims


def yarn_log_multiplier(f):
    """DeepSeek's `mscale_all_dim`; the file holds a tenth of it. Old files lack the key: 1 (as in R1 and V3)."""
    return F(np.float32(f.key("rope.scaling.yarn_log_multiplier", 0.1))) / F(np.float32(0.1))


def yarn_magnitude(f, factor):
    grown = lambda k: 1.0 if factor <= 1 else 0.1 * k * np.log(factor) + 1
    if f.arch != "deepseek2":
        return grown(1.0)
    m = yarn_log_multiplier(f)  # the published files have mscale == mscale_all_dim: both cancel
    return grown(m) / grown(m) if m else grown(1.0)


def frequency_divisors(f, beyond_original):
    if f.has("rope_freqs.weight"):
        return f.get("rope_freqs.weight")
    return f.get("rope_factors_long.weight" if beyond_original else "rope_factors_short.weight")


def rope(x, table, halves):
    """x: [n, heads, d]. Pairs are (i, i + dims/2) or (2i, 2i+1); values from dims on pass through."""
    if table is None:
        return x
    cos, sin, dims = table[0][:, None, :], table[1][:, None, :], table[2]
    turned, out = x[..., :dims], x.copy()
    a, b = (turned[..., : dims // 2], turned[..., dims // 2 :]) if halves else (turned[..., 0::2], turned[..., 1::2])
    ra, rb = a * cos - b * sin, a * sin + b * cos
    out[..., :dims] = np.concatenate([ra, rb], -1) if halves else np.stack([ra, rb], -1).reshape(turned.shape)
    return out


# --- attention -------------------------------------------------------------------------------------------------------

def layers(f):
    return f.key("block_count") - (f.key("nextn_predict_layers") or 0)


def head_dim(f):
    return f.key("attention.key_length") or f.key("embedding_length") // f.layer_key("attention.head_count", 0)


def window(f, layer):
    """The sliding window of a layer, or None."""
    default = {"gemma2": 4096, "exaone4": 4096 if layers(f) == 64 else 0, "exaone-moe": 128, "gpt-oss": 128}
    period = {"exaone4": 4, "exaone-moe": 4, "gemma2": 2, "gemma3": 6, "gpt-oss": 2}
    if f.arch not in period:
        return None
    size = f.key("attention.sliding_window") or default.get(f.arch, 0)
    if not size or (f.arch == "exaone4" and layers(f) != 64):
        return None
    pattern = f.key("attention.sliding_window_pattern", period[f.arch])
    local = pattern[layer] if isinstance(pattern, list) else layer % pattern < pattern - 1
    return size if local else None


def attend(q, k, v, scale, size, softcap, sinks):
    """q [n, H, d], k [n, KV, d], v [n, KV, dv] -> [n, H * dv]."""
    n, heads, group = len(q), q.shape[1], q.shape[1] // k.shape[1]
    back = np.arange(n)[:, None] - np.arange(n)
    hidden = (back < 0) | (back >= size) if size else back < 0
    out = np.empty((n, heads, v.shape[2]), F)
    for h in range(heads):
        s = q[:, h] @ k[:, h // group].T * scale
        if softcap:
            s = softcap * np.tanh(s / softcap)
        s = np.where(hidden, -np.inf, s)
        if sinks is not None:
            s = np.concatenate([s, np.full((n, 1), sinks[h])], 1)
        out[:, h] = softmax(s)[:, :n] @ v[:, h // group]
    return out.reshape(n, -1)


def attention_scale(f, dim):
    if f.arch == "deepseek2":
        factor = f.key("rope.scaling.factor") or 1.0
        yarn = f.key("rope.scaling.type") == "yarn" and factor > 1
        return (1 + 0.1 * yarn_log_multiplier(f) * np.log(factor)) ** 2 / np.sqrt(dim) if yarn else dim**-0.5
    if f.arch in ("gemma2", "gemma3"):
        big = f.arch == "gemma2" and layers(f) == 46 or f.arch == "gemma3" and layers(f) == 62
        return (f.key("embedding_length") / f.layer_key("attention.head_count", 0)) ** -0.5 if big else dim**-0.5
    return f.key("attention.scale") or dim**-0.5


def attention(f, layer, x, eps, positions, ctx):
    p, n = f"blk.{layer}.", len(x)
    heads = f.layer_key("attention.head_count", layer)
    kv_heads = f.layer_key("attention.head_count_kv", layer) or heads
    k_dim = head_dim(f)
    v_dim = f.key("attention.value_length") or k_dim
    if f.has(p + "attn_qkv.weight"):
        q, k, v = np.split(linear(f, p + "attn_qkv", x), [heads * k_dim, (heads + kv_heads) * k_dim], 1)
    else:
        q, k, v = (linear(f, p + f"attn_{name}", x) for name in "qkv")
    q, k, v = q.reshape(n, heads, k_dim), k.reshape(n, kv_heads, k_dim), v.reshape(n, kv_heads, v_dim)
    if f.has(p + "attn_q_norm.weight"):
        q, k = rms_norm(q, f.get(p + "attn_q_norm.weight"), eps), rms_norm(k, f.get(p + "attn_k_norm.weight"), eps)
    table = rope_table(f, layer, positions, ctx)
    q, k = rope(q, table, f.arch in NEOX), rope(k, table, f.arch in NEOX)
    cap = f.key("attn_logit_softcapping", 50.0) if f.arch == "gemma2" else None
    o = attend(q, k, v, attention_scale(f, k_dim), window(f, layer), cap, f.get(p + "attn_sinks.weight"))
    return linear(f, p + "attn_output", o)


def latent_attention(f, layer, x, eps, positions, ctx):
    """Multi-head latent attention in its expanded form: keys and values per head are built from the shared latent."""
    p, n = f"blk.{layer}.", len(x)
    heads, rank = f.layer_key("attention.head_count", layer), f.key("attention.kv_lora_rank")
    k_dim = f.key("attention.key_length_mla") or f.key("attention.key_length")
    v_dim = f.key("attention.value_length_mla") or f.key("attention.value_length")
    nope = k_dim - f.key("rope.dimension_count")
    if f.has(p + "attn_q_a.weight"):
        q = linear(f, p + "attn_q_b", rms_norm(linear(f, p + "attn_q_a", x), f.get(p + "attn_q_a_norm.weight"), eps))
    else:
        q = linear(f, p + "attn_q", x)
    q = q.reshape(n, heads, k_dim)
    kv = linear(f, p + "attn_kv_a_mqa", x)
    latent = rms_norm(kv[:, :rank], f.get(p + "attn_kv_a_norm.weight"), eps)
    if f.has(p + "attn_kv_b.weight"):
        joint = (latent @ f.get(p + "attn_kv_b.weight").T).reshape(n, heads, nope + v_dim)
        k_nope, v = joint[..., :nope], joint[..., nope:]
    else:
        k_nope = np.einsum("tr,hrd->thd", latent, f.get(p + "attn_k_b.weight").reshape(heads, rank, nope))
        v = np.einsum("tr,hdr->thd", latent, f.get(p + "attn_v_b.weight").reshape(heads, v_dim, rank))
    table = rope_table(f, layer, positions, ctx)
    k_rope = np.repeat(rope(kv[:, None, rank:], table, False), heads, 1)
    q = np.concatenate([q[..., :nope], rope(q[..., nope:], table, False)], -1)
    o = attend(q, np.concatenate([k_nope, k_rope], -1), v, attention_scale(f, k_dim), None, None, None)
    return linear(f, p + "attn_output", o)


# --- feed-forward ----------------------------------------------------------------------------------------------------

def gated(f, gate, up):
    if f.arch == "gpt-oss":
        gate, up = np.minimum(gate, 7.0), np.clip(up, -7.0, 7.0)
        return gate * sigmoid(1.702 * gate) * (up + 1)
    return (gelu_tanh(gate) if f.arch in ("gemma2", "gemma3") else gate * sigmoid(gate)) * up


def dense(f, p, x, suffix=""):
    if f.has(f"{p}ffn_gate{suffix}.weight"):
        gate, up = ffn_linear(f, f"{p}ffn_gate{suffix}", x), ffn_linear(f, f"{p}ffn_up{suffix}", x)
    else:
        gate, up = np.split(ffn_linear(f, f"{p}ffn_up{suffix}", x), 2, 1)
    return ffn_linear(f, f"{p}ffn_down{suffix}", gated(f, gate, up))


def route(f, p, x):
    """The chosen experts of every token and their weights: [n, used] each."""
    used, n = f.key("expert_used_count"), len(x)
    z = linear(f, p + "ffn_gate_inp", x)
    default = {"gpt-oss": 3, "glm4moe": 2}.get(f.arch, 1)
    gating = f.key("expert_gating_func") or default
    prob = {1: softmax, 2: sigmoid, 3: lambda z: z}[gating](z)
    score = prob + f.get(p + "exp_probs_b.bias") if f.has(p + "exp_probs_b.bias") else prob
    groups, kept = f.key("expert_group_count") or 0, f.key("expert_group_used_count") or 0
    if groups > 1 and 0 < kept < groups:
        by_group = score.reshape(n, groups, -1)
        best = np.sort(by_group, -1)[..., -2:].sum(-1)
        out = np.argsort(-best, 1, kind="stable")[:, kept:]
        by_group = by_group.copy()
        np.put_along_axis(by_group, out[:, :, None], -np.inf, 1)
        score = by_group.reshape(n, -1)
    chosen = np.argsort(-score, 1, kind="stable")[:, :used]
    weights = np.take_along_axis(prob, chosen, 1)
    if gating == 3:
        weights = softmax(weights)
    elif f.arch in ALWAYS_NORMALIZED or f.key("expert_weights_norm", False):
        weights = weights / np.maximum(weights.sum(1, keepdims=True), 6.103515625e-5)
    scale = f.key("expert_weights_scale") or 1.0
    return chosen, weights * scale


def experts(f, p, x):
    chosen, weights = route(f, p, x)
    out = np.zeros_like(x)
    for e in np.unique(chosen):
        rows, slots = np.nonzero(chosen == e)
        h = x[rows]
        if f.has(p + "ffn_gate_up_exps.weight"):
            gate, up = np.split(ffn_linear(f, p + "ffn_gate_up_exps", h, e), 2, 1)
        else:
            gate, up = ffn_linear(f, p + "ffn_gate_exps", h, e), ffn_linear(f, p + "ffn_up_exps", h, e)
        out[rows] += weights[rows, slots][:, None] * ffn_linear(f, p + "ffn_down_exps", gated(f, gate, up), e)
    return out + dense(f, p, x, "_shexp") if f.has(p + "ffn_up_shexp.weight") else out


# --- the model -------------------------------------------------------------------------------------------------------

def blend_skips(f, layer, x, kept):
    """Solar: the stream is kept at the layers of lists 0 and 1, and blended in again at those of lists 2 and 3."""
    listed = lambda i: f.layer_key(f"attention.block_skip_connection.{i}", layer, 0)
    for slot in (0, 1):
        if listed(slot):
            kept[slot] = x
    for slot in (0, 1):
        if listed(2 + slot):
            own = f.get(f"blk.{layer}.bskcn_tv.weight")
            of_kept, of_stream = f.get("bskcn_tv.weight") if own is None else own
            x = of_kept * kept[slot] + of_stream * x
    return x


def forward(f, tokens, ctx=None):
    """Logits [n, vocab] in float64. `ctx`: the session's context, which changes nothing."""
    eps = f.key("attention.layer_norm_rms_epsilon") or f.key("attention.layer_norm_epsilon") or 1e-5
    ctx = ctx or f.key("context_length")
    positions = np.arange(len(tokens))
    norm = lambda name, x: rms_norm(x, f.get(name), eps) if f.has(name) else x
    scaled = f.arch in {"granite", "granitemoe"} | HYPERCLOVAX
    x = f.get("token_embd.weight")[np.asarray(tokens)]
    if f.arch in ("gemma2", "gemma3"):
        x = x * np.sqrt(F(f.key("embedding_length")))
    if scaled:
        x = x * (f.key("embedding_scale") or 1.0)
    residual = (f.key("residual_scale") or 1.0) if scaled else 1.0
    mixer = latent_attention if f.arch == "deepseek2" else attention
    kept = {}
    for layer in range(layers(f)):
        p, pre_ffn = f"blk.{layer}.", PRE_FFN_NORM.get(f.arch, "ffn_norm")
        if f.arch == "solar":
            x = blend_skips(f, layer, x, kept)
        a = mixer(f, layer, norm(p + "attn_norm.weight", x), eps, positions, ctx)
        x = x + residual * (a if f.arch in PRE_FFN_NORM else norm(p + "post_attention_norm.weight", a))
        h = norm(f"{p}{pre_ffn}.weight", x)
        y = experts(f, p, h) if f.has(p + "ffn_gate_inp.weight") else dense(f, p, h)
        x = x + residual * norm(p + "post_ffw_norm.weight", y)
    x = norm("output_norm.weight", x)
    logits = linear(f, "output" if f.has("output.weight") else "token_embd", x)
    if scaled and f.key("logit_scale"):
        logits = logits * f.key("logit_scale") if f.arch in HYPERCLOVAX else logits / f.key("logit_scale")
    default_cap = 30.0 if f.arch == "gemma2" else 0.0
    cap = f.key("final_logit_softcapping", default_cap) if f.arch in ("gemma2", "gemma3") else 0.0
    return cap * np.tanh(logits / cap) if cap else logits


def greedy(f, tokens, count, ctx=None):
    """The next `count` tokens, each the most likely one, and the smallest lead of a winner over the second."""
    tokens, lead = list(tokens), np.inf
    for _ in range(count):
        last = forward(f, tokens, ctx)[-1]
        second, first = np.sort(last)[-2:]
        lead = min(lead, first - second)
        tokens.append(int(last.argmax()))
    return tokens[-count:], lead


def nmse(got, want):
    return float(((got - want) ** 2).sum() / (want**2).sum())


def check(folder):
    worst = 0.0
    for entry in json.loads((folder / "index.json").read_text()):
        want = np.fromfile(folder / entry["logits"], "<f4").reshape(entry["shape"]).astype(F)
        f = File(folder / entry["model"], entry.get("int8", False))
        got = forward(f, entry["tokens"], entry.get("ctx"))
        error = nmse(got[entry["positions"]] if "positions" in entry else got, want)
        worst = max(worst, error)
        print(f"{entry['model']:32} nmse {error:.3e}{'' if error <= 1e-7 else '   MISMATCH'}", flush=True)
    return worst <= 1e-7


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", nargs="?", type=Path)
    ap.add_argument("--tokens", type=lambda s: [int(t) for t in s.split(",")])
    ap.add_argument("--ctx", type=int)
    ap.add_argument("--int8", action="store_true")
    ap.add_argument("--output", type=Path)
    ap.add_argument("--against", type=Path)
    ap.add_argument("--greedy", type=int)
    ap.add_argument("--check", type=Path)
    a = ap.parse_args()
    if a.check:
        sys.exit(0 if check(a.check) else 1)
    if not a.model or not a.tokens:
        ap.error("a model and --tokens are needed (or --check DIR)")
    f = File(a.model, a.int8)
    if a.greedy:
        print(",".join(map(str, greedy(f, a.tokens, a.greedy, a.ctx)[0])))
        return
    logits = forward(f, a.tokens, a.ctx)
    if a.output:
        logits.astype("<f4").tofile(a.output)
    if a.against:
        print(nmse(logits, np.fromfile(a.against, "<f4").reshape(logits.shape).astype(F)))


if __name__ == "__main__":
    main()
