//! THE TABLE OF SHAPES: one row per published model, from its `config.json`.

use super::shape::{Shape, ShapeExperts, ShapeLatent, Yarn};

impl Shape {
    /// All shapes.
    pub fn all() -> &'static [Self] {
        SHAPES
    }

    /// The shape of this name, if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        SHAPES.iter().find(|shape| shape.name.eq_ignore_ascii_case(name)).cloned()
    }
}

/// What most rows share; each row says the rest.
const LLAMA: Shape = Shape {
    name: "",
    recipe: "q4_k_m",
    arch: "llama",
    pre: "llama-bpe",
    layers: 32,
    embd: 4096,
    ffn: 14336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocab: 128_256,
    context: 8192,
    rope_base: 5e5,
    eps: 1e-5,
    tied: false,
    qkv_bias: false,
    output_bias: false,
    rope_divisors: None,
    yarn: None,
    window: None,
    experts: None,
    latent: None,
    extra: &[],
};

const EXAONE: Shape = Shape {
    arch: "exaone",
    pre: "exaone",
    vocab: 102_400,
    context: 32768,
    rope_base: 1e6,
    rope_divisors: Some(8.0),
    ..LLAMA
};

const EXAONE4: Shape =
    Shape { arch: "exaone4", pre: "exaone4", vocab: 102_400, rope_base: 1e6, rope_divisors: Some(16.0), ..LLAMA };

const QWEN2_SHAPE: Shape = Shape {
    arch: "qwen2",
    pre: "deepseek-r1-qwen",
    vocab: 152_064,
    context: 131_072,
    rope_base: 1e6,
    qkv_bias: true,
    ..LLAMA
};

const QWEN3: Shape =
    Shape { arch: "qwen3", pre: "qwen2", vocab: 151_936, context: 40960, rope_base: 1e6, eps: 1e-6, ..LLAMA };

const HYPERCLOVA_SHAPE: Shape = Shape { arch: "hyperclovax", pre: "hyperclovax", context: 131_072, ..LLAMA };

/// All shapes, small ones of a family first.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "smollm2-135m",
        pre: "smollm",
        layers: 30,
        embd: 576,
        ffn: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocab: 49152,
        rope_base: 1e5,
        tied: true,
        ..LLAMA
    },
    Shape { name: "llama3-8b", ..LLAMA },
    Shape { name: "r1-distill-llama-8b", context: 131_072, rope_divisors: Some(8.0), ..LLAMA },
    Shape {
        name: "r1-distill-llama-70b",
        layers: 80,
        embd: 8192,
        ffn: 28672,
        heads: 64,
        context: 131_072,
        rope_divisors: Some(8.0),
        ..LLAMA
    },
    Shape { name: "solar-10.7b", layers: 48, vocab: 32000, context: 4096, rope_base: 1e4, pre: "default", ..LLAMA },
    Shape { name: "exaone-deep-2.4b", layers: 30, embd: 2560, ffn: 7168, head_dim: 80, tied: true, ..EXAONE },
    Shape { name: "exaone-deep-7.8b", ..EXAONE },
    Shape { name: "exaone-deep-32b", layers: 64, embd: 5120, ffn: 27392, heads: 40, ..EXAONE },
    Shape {
        name: "exaone-4.0-1.2b",
        layers: 30,
        embd: 2048,
        ffn: 4096,
        head_dim: 64,
        context: 65536,
        tied: true,
        ..EXAONE4
    },
    Shape {
        name: "exaone-4.0-32b",
        layers: 64,
        embd: 5120,
        ffn: 27392,
        heads: 40,
        context: 131_072,
        window: Some((4096, 4)),
        ..EXAONE4
    },
    Shape {
        name: "qwen2.5-0.5b",
        pre: "qwen2",
        layers: 24,
        embd: 896,
        ffn: 4864,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        vocab: 151_936,
        context: 32768,
        eps: 1e-6,
        tied: true,
        ..QWEN2_SHAPE
    },
    Shape {
        name: "r1-distill-qwen-1.5b",
        layers: 28,
        embd: 1536,
        ffn: 8960,
        heads: 12,
        kv_heads: 2,
        vocab: 151_936,
        rope_base: 1e4,
        eps: 1e-6,
        ..QWEN2_SHAPE
    },
    Shape {
        name: "r1-distill-qwen-7b",
        layers: 28,
        embd: 3584,
        ffn: 18944,
        heads: 28,
        kv_heads: 4,
        rope_base: 1e4,
        eps: 1e-6,
        ..QWEN2_SHAPE
    },
    Shape { name: "r1-distill-qwen-14b", layers: 48, embd: 5120, ffn: 13824, heads: 40, ..QWEN2_SHAPE },
    Shape { name: "r1-distill-qwen-32b", layers: 64, embd: 5120, ffn: 27648, heads: 40, ..QWEN2_SHAPE },
    Shape { name: "qwen3-8b", layers: 36, ffn: 12288, ..QWEN3 },
    Shape { name: "qwen3-32b", layers: 64, embd: 5120, ffn: 25600, heads: 64, ..QWEN3 },
    Shape {
        name: "hcx-seed-think-14b",
        layers: 38,
        embd: 6144,
        heads: 48,
        vocab: 110_592,
        rope_base: 1e8,
        extra: &[("embedding_scale", 10.0), ("attention.scale", 0.007_812_5), ("logit_scale", 0.125)],
        ..HYPERCLOVA_SHAPE
    },
    Shape {
        name: "hcx-seed-think-32b",
        layers: 72,
        embd: 5120,
        ffn: 24192,
        heads: 40,
        rope_base: 5e7,
        ..HYPERCLOVA_SHAPE
    },
    Shape {
        name: "gpt-oss-20b",
        recipe: "mxfp4",
        arch: "gpt-oss",
        pre: "gpt-4o",
        layers: 24,
        embd: 2880,
        ffn: 2880,
        heads: 64,
        head_dim: 64,
        vocab: 201_088,
        context: 131_072,
        rope_base: 150_000.0,
        qkv_bias: true,
        output_bias: true,
        yarn: Some(Yarn { factor: 32.0, original: 4096, log_multiplier: None }),
        window: Some((128, 2)),
        experts: Some(ShapeExperts {
            count: 32,
            used: 4,
            width: 2880,
            shared: 0,
            dense_layers: 0,
            gating: 3,
            selection_bias: false,
            biases: true,
            scale: 1.0,
            groups: None,
        }),
        ..LLAMA
    },
    Shape {
        name: "solar-open-100b",
        arch: "glm4moe",
        pre: "solar-open",
        layers: 48,
        ffn: 10240,
        heads: 64,
        vocab: 196_608,
        context: 131_072,
        rope_base: 1e6,
        yarn: Some(Yarn { factor: 2.0, original: 65536, log_multiplier: None }),
        experts: Some(ShapeExperts {
            count: 128,
            used: 8,
            width: 1280,
            shared: 1,
            dense_layers: 0,
            gating: 2,
            selection_bias: true,
            biases: false,
            scale: 1.0,
            groups: None,
        }),
        ..LLAMA
    },
    Shape {
        name: "deepseek-r1",
        arch: "deepseek2",
        pre: "deepseek-v3",
        layers: 61,
        embd: 7168,
        ffn: 18432,
        heads: 128,
        kv_heads: 1,
        head_dim: 576,
        vocab: 129_280,
        context: 163_840,
        rope_base: 1e4,
        eps: 1e-6,
        yarn: Some(Yarn { factor: 40.0, original: 4096, log_multiplier: Some(0.1) }),
        experts: Some(ShapeExperts {
            count: 256,
            used: 8,
            width: 2048,
            shared: 1,
            dense_layers: 3,
            gating: 2,
            selection_bias: true,
            biases: false,
            scale: 2.5,
            groups: Some((8, 4)),
        }),
        latent: Some(ShapeLatent { q_rank: 1536, kv_rank: 512, nope: 128, rope: 64, v_dim: 128 }),
        ..LLAMA
    },
];
