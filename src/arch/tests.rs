#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::Writer;

/// A file with the keys that every family needs, E 64, 4 heads of 16, 2 layers.
fn base(arch: &str) -> Writer {
    let key = |name: &str| format!("{arch}.{name}");
    Writer::new(arch)
        .u32(&key("context_length"), 4096)
        .u32(&key("embedding_length"), 64)
        .u32(&key("block_count"), 2)
        .u32(&key("feed_forward_length"), 96)
        .u32(&key("attention.head_count"), 4)
        .u32(&key("vocab_size"), 100)
        .f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)
}

fn layers(arch: &str, n: u32) -> Writer {
    let mut writer = base(arch);
    let block_count = format!("{arch}.block_count").into_bytes();
    writer.keys.iter_mut().find(|key| key.0 == block_count).unwrap().2 = n.to_le_bytes().to_vec();
    writer
}

fn read(writer: &Writer) -> Result<Spec> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    writer.write(&path).unwrap();
    spec(&Gguf::open(&path).unwrap())
}

fn spec_of(writer: &Writer) -> Spec {
    read(writer).unwrap()
}

fn attn(layer: &Layer) -> &Attention {
    layer.attention().unwrap()
}

fn windows(spec: &Spec) -> Vec<Option<usize>> {
    spec.layers.iter().map(|layer| attn(layer).reach()).collect()
}

/// Tensors of the norms before and after both branches.
fn norms(layer: &Layer) -> [Option<&'static str>; 4] {
    let feed = layer.feeds.first().and_then(|feed| feed.norm);
    [layer.attn_norm, layer.attn_post_norm, feed, layer.ffn_post_norm].map(|norm| norm.and_then(|norm| norm.tensor))
}

fn dense(layer: &Layer) -> &Dense {
    layer.feeds[0].ffn.dense().unwrap()
}

fn scale_and_cap(spec: &Spec) -> (f32, Option<f32>) {
    match spec.output {
        Output::Logits { scale, softcap, .. } => (scale, softcap),
        Output::Vectors => unreachable!("a model of vectors"),
    }
}

fn experts(arch: &str) -> Writer {
    let key = |name: &str| format!("{arch}.{name}");
    base(arch)
        .u32(&key("expert_count"), 8)
        .u32(&key("expert_used_count"), 2)
        .u32(&key("expert_feed_forward_length"), 32)
}

#[test]
fn every_row_of_the_table_reads_a_plain_file() {
    for (arch, _) in ARCHITECTURES {
        let writer = experts(arch)
            .u32(&format!("{arch}.rope.dimension_count"), 8)
            .u32(&format!("{arch}.attention.key_length"), 16)
            .u32(&format!("{arch}.attention.value_length"), 16)
            .u32(&format!("{arch}.attention.kv_lora_rank"), 24)
            .u32(&format!("{arch}.attention.relative_buckets_count"), 8)
            .u32(&format!("{arch}.ssm.inner_size"), 64)
            .u32(&format!("{arch}.ssm.conv_kernel"), 4)
            .u32(&format!("{arch}.ssm.state_size"), 16)
            .u32(&format!("{arch}.ssm.time_step_rank"), 4)
            .u32(&format!("{arch}.ssm.group_count"), 2)
            .u32(&format!("{arch}.shortconv.l_cache"), 3)
            .u32(&format!("{arch}.kda.head_dim"), 16)
            .u32(&format!("{arch}.wkv.head_size"), 16)
            .u32(&format!("{arch}.time_mix_extra_dim"), 8)
            .u32(&format!("{arch}.time_decay_extra_dim"), 8)
            .u32(&format!("{arch}.attention.decay_lora_rank"), 8)
            .u32(&format!("{arch}.attention.iclr_lora_rank"), 8)
            .u32(&format!("{arch}.attention.value_residual_mix_lora_rank"), 8)
            .u32(&format!("{arch}.hrm.layers_per_stack"), 1)
            .u32(&format!("{arch}.hrm.h_cycles"), 1)
            .u32(&format!("{arch}.hrm.l_cycles"), 1)
            .f32("xielu.alpha_n", 1.0)
            .f32("xielu.alpha_p", 1.0)
            .f32("xielu.beta", 1.0)
            .f32("xielu.eps", -1e-6);
        let spec = spec_of(&writer);
        let blocks = spec.layers.iter().map(|layer| layer.block).max();
        assert_eq!((spec.arch.as_str(), blocks, spec.vocab), (*arch, Some(1), 100));
    }
}

#[test]
fn defaults_of_the_plain_decoder() {
    let spec = spec_of(&base("llama"));
    let layer = &spec.layers[1];
    assert_eq!((layer.block, attn(layer).kv_heads, attn(layer).k_dim, attn(layer).v_dim), (1, 4, 16, 16));
    assert_eq!((attn(layer).scale, attn(layer).rope), (0.25, Some(0)));
    assert_eq!(norms(layer), [Some("attn_norm"), None, Some("ffn_norm"), None]);
    assert_eq!(*dense(layer), Dense::plain(96));
    let rope = &spec.ropes[0];
    assert_eq!((rope.pairing, rope.dims, rope.base, rope.magnitude), (Pairing::Adjacent, 16, 10_000.0, 1.0));
    assert_eq!((rope.scaling, rope.factors.as_ref()), (RopeScaling::Linear { factor: 1.0 }, None));
    assert_eq!((spec.embedding.clone(), scale_and_cap(&spec)), (Embedding::default(), (1.0, None)));
}

#[test]
fn either_epsilon_key_and_neither() {
    let mut writer = base("exaone");
    writer.keys.retain(|key| !key.0.ends_with(b"epsilon"));
    assert_eq!(spec_of(&writer).output_norm.unwrap().eps, 1e-5);
    assert_eq!(spec_of(&writer.f32("exaone.attention.layer_norm_epsilon", 1e-3)).output_norm.unwrap().eps, 1e-3);
}

#[test]
fn per_layer_values_and_skipped_prediction_layers() {
    let mut writer = layers("llama", 3).u32("llama.nextn_predict_layers", 1);
    writer.keys.retain(|key| key.0 != b"llama.feed_forward_length");
    let writer = writer.i32s("llama.feed_forward_length", &[96, 128]).i32s("llama.attention.head_count_kv", &[1, 2, 4]);
    let spec = spec_of(&writer);
    let kv: Vec<_> = spec.layers.iter().map(|layer| attn(layer).kv_heads).collect();
    assert_eq!(kv, [1, 2]);
    assert_eq!(*dense(&spec.layers[1]), Dense::plain(128));
    let short = read(&layers("llama", 3).i32s("llama.attention.head_count_kv", &[1])).unwrap_err().to_string();
    assert!(short.contains("head_count_kv") && short.contains("one per layer"), "{short}");
}

#[test]
fn rope_scaling_rules() {
    let key = |name: &str| format!("qwen2.rope.scaling.{name}");
    let linear = spec_of(&base("qwen2").f32("qwen2.rope.scale_linear", 4.0));
    assert_eq!(linear.ropes[0].scaling, RopeScaling::Linear { factor: 4.0 });
    let none = spec_of(&base("qwen2").text(&key("type"), "none").f32(&key("factor"), 4.0));
    assert_eq!(none.ropes[0].scaling, RopeScaling::Linear { factor: 1.0 });
    let yarn = base("qwen2").text(&key("type"), "yarn").f32(&key("factor"), 32.0);
    let yarn = spec_of(&yarn.u32(&key("original_context_length"), 1024));
    let scaling = RopeScaling::Yarn { factor: 32.0, original: 1024, beta_fast: 32.0, beta_slow: 1.0 };
    assert_eq!(yarn.ropes[0].scaling, scaling);
    assert!((yarn.ropes[0].magnitude - 1.3466).abs() < 1e-4);
    let long = base("phi3").text("phi3.rope.scaling.type", "longrope").f32("phi3.rope.scaling.attn_factor", 1.19);
    let factors = [1.0; 8];
    let long = long.tensor_f32("rope_factors_long.weight", &[8], &factors);
    let long = spec_of(&long.u32("phi3.rope.scaling.original_context_length", 2048));
    assert_eq!((long.ropes[0].magnitude, long.ropes[0].pairing), (1.19, Pairing::Halves));
    assert_eq!(long.ropes[0].factors, Some(RopeFactors::ByContext { original: 2048 }));
    let unknown = read(&base("qwen2").text(&key("type"), "dynamic")).unwrap_err().to_string();
    assert!(unknown.contains("rope.scaling.type") && unknown.contains("dynamic"), "{unknown}");
}

#[test]
fn llama3_divisors_are_restored_only_where_they_are_missing() {
    let long = |arch: &str, context: u32| {
        let mut writer = base(arch);
        let key = format!("{arch}.context_length").into_bytes();
        writer.keys.iter_mut().find(|k| k.0 == key).unwrap().2 = context.to_le_bytes().to_vec();
        writer
    };
    let given = |spec: Spec| match spec.ropes[0].factors.clone() {
        Some(RopeFactors::Given(factors)) => factors,
        other => unreachable!("{other:?}"),
    };
    let deep = given(spec_of(&long("exaone", 32_768).f32("exaone.rope.freq_base", 1e6)));
    // Base 1e6 over 16 values: wavelengths 2 pi 1e6^(i/8), the first five under 2048 (kept) ... the last two over 8192.
    assert_eq!((deep.len(), deep[0], deep[3], deep[7]), (8, 1.0, 1.0, 8.0));
    assert!(deep[4] > 1.0 && deep[4] < 8.0 && deep[5] == 8.0, "{deep:?}");
    assert_eq!(given(spec_of(&long("exaone4", 65_536)))[7], 16.0);
    assert_eq!(spec_of(&base("exaone")).ropes[0].factors, None, "the first EXAONE has no scaling");
    let tensor = long("exaone", 32_768).tensor_f32("rope_freqs.weight", &[8], &[1.0; 8]);
    assert_eq!(spec_of(&tensor).ropes[0].factors, Some(RopeFactors::Fixed("rope_freqs.weight".into())));
    let mut llama = long("llama", 131_072).f32("llama.rope.freq_base", 500_000.0);
    assert_eq!(spec_of(&llama).ropes[0].factors, None, "another vocabulary is another model");
    llama.keys.retain(|key| key.0 != b"llama.vocab_size");
    assert_eq!(given(spec_of(&llama.u32("llama.vocab_size", 128_256)))[7], 32.0);
}

#[test]
fn exaone4_norms_and_windows() {
    let small = spec_of(&layers("exaone4", 30));
    let layer = &small.layers[0];
    assert_eq!(norms(layer), [None, Some("post_attention_norm"), None, Some("post_ffw_norm")]);
    let plain = |a: &Attention| a.q_norm.is_some() && a.window.is_none() && a.rope == Some(0);
    assert!(small.layers.iter().map(attn).all(plain));
    let large = spec_of(&layers("exaone4", 65).u32("exaone4.nextn_predict_layers", 1));
    assert_eq!(large.layers.len(), 64);
    assert_eq!(windows(&large)[..5], [Some(4096), Some(4096), Some(4096), None, Some(4096)]);
    assert!(large.layers.iter().map(attn).all(|a| a.rope.is_some() == a.window.is_some()));
}

#[test]
fn exaone_moe_router_and_positions() {
    let key = |name: &str| format!("exaone-moe.{name}");
    let writer = experts("exaone-moe")
        .u32(&key("leading_dense_block_count"), 1)
        .u32(&key("expert_shared_count"), 2)
        .u32(&key("expert_gating_func"), 2)
        .bool(&key("expert_weights_norm"), true)
        .f32(&key("expert_weights_scale"), 2.5)
        .bools(&key("attention.sliding_window_pattern"), &[true, false])
        .tensor_f32("blk.1.exp_probs_b.bias", &[8], &[0.0; 8]);
    let spec = spec_of(&writer);
    assert_eq!(windows(&spec), [Some(128), None]);
    assert_eq!((attn(&spec.layers[0]).rope, attn(&spec.layers[1]).rope), (Some(0), None));
    assert_eq!(dense(&spec.layers[0]).width, 96);
    let experts = spec.layers[1].experts().unwrap();
    let router = &experts.router;
    assert_eq!((experts.count, experts.used, experts.width, experts.gate), (8, 2, 32, Gate::Split));
    assert_eq!(
        (router.gating, router.selection_bias, router.normalize, router.scale),
        (Gating::Sigmoid, true, true, 2.5)
    );
    assert_eq!(experts.shared.map(|shared| (shared.width, shared.weighted)), Some((64, false)));
}

#[test]
fn gemma_scales_caps_and_two_ropes() {
    let writer = layers("gemma3", 7)
        .u32("gemma3.attention.sliding_window", 512)
        .f32("gemma3.rope.freq_base", 1e6)
        .f32("gemma3.rope.scaling.factor", 8.0);
    let three = spec_of(&writer);
    assert_eq!((three.embedding.scale, scale_and_cap(&three).1), (8.0, None));
    assert_eq!(windows(&three)[4..], [Some(512), None, Some(512)]);
    assert_eq!((attn(&three.layers[4]).rope, attn(&three.layers[5]).rope), (Some(1), Some(0)));
    assert_eq!((three.ropes[0].base, three.ropes[0].scaling), (1e6, RopeScaling::Linear { factor: 8.0 }));
    assert_eq!((three.ropes[1].base, three.ropes[1].scaling), (1e4, RopeScaling::Linear { factor: 1.0 }));
    assert!(attn(&three.layers[0]).q_norm.is_some());
    assert_eq!(dense(&three.layers[0]).act, Activation::GeluTanh);
    let two = spec_of(&base("gemma2"));
    assert_eq!((scale_and_cap(&two).1, attn(&two.layers[0]).softcap), (Some(30.0), Some(50.0)));
    assert_eq!(windows(&two), [Some(4096), None]);
    let mut wide = layers("gemma2", 46).u32("gemma2.attention.key_length", 8).u32("gemma2.attention.value_length", 8);
    assert_eq!(attn(&spec_of(&wide).layers[0]).scale, 0.25, "E / H = 16, not the head's 8");
    wide = wide.f32("gemma2.attention.scale", 0.5);
    assert_eq!(attn(&spec_of(&wide).layers[0]).scale, 0.5);
}

#[test]
fn granite_divides_and_hyperclovax_multiplies() {
    let scaled = |arch: &str| {
        let key = |name: &str| format!("{arch}.{name}");
        base(arch)
            .f32(&key("logit_scale"), 8.0)
            .f32(&key("embedding_scale"), 12.0)
            .f32(&key("attention.scale"), 0.0078125)
            .f32(&key("residual_scale"), 0.22)
    };
    let granite = spec_of(&scaled("granite").bool("granite.rope.scaling.finetuned", false));
    assert_eq!((scale_and_cap(&granite).0, granite.embedding.scale), (0.125, 12.0));
    assert_eq!((granite.layers[0].residual_scale, attn(&granite.layers[0]).scale), (0.22, 0.0078125));
    assert_eq!(attn(&granite.layers[0]).rope, None);
    for arch in ["hyperclovax", "hcx-seed-think", "malta", "greenland"] {
        let plain = spec_of(&scaled(arch));
        assert_eq!((scale_and_cap(&plain).0, plain.layers[0].attn_post_norm), (8.0, None));
        let peri = scaled(arch).tensor_f32("blk.0.post_attention_norm.weight", &[64], &[1.0; 64]);
        let peri = spec_of(&peri.tensor_f32("blk.0.post_ffw_norm.weight", &[64], &[1.0; 64]));
        let layer = &peri.layers[0];
        assert_eq!(norms(layer)[1..], [Some("post_attention_norm"), Some("ffn_norm"), Some("post_ffw_norm")]);
        assert_eq!(peri.ropes[0].pairing, Pairing::Adjacent);
    }
}

/// Files that converters write leave the length of a value head to `E / H`, and scale embeddings where the family may.
#[test]
fn what_converters_leave_out_and_put_in() {
    let latent = base("minicpm3")
        .u32("minicpm3.rope.dimension_count", 8)
        .u32("minicpm3.attention.key_length", 24)
        .u32("minicpm3.attention.kv_lora_rank", 24);
    let spec = spec_of(&latent);
    let Projection::Latent(of_values) = &attn(&spec.layers[0]).proj else { panic!("latent attention") };
    assert_eq!((of_values.nope, of_values.v_dim), (16, 16));
    let stacks = base("hrm_text")
        .u32("hrm_text.hrm.layers_per_stack", 1)
        .u32("hrm_text.hrm.h_cycles", 1)
        .u32("hrm_text.hrm.l_cycles", 1)
        .f32("hrm_text.embedding_scale", 3.0);
    assert_eq!(spec_of(&stacks).embedding.scale, 3.0);
    let grok =
        experts("grok").f32("grok.router_logit_softcapping", 30.0).u32("grok.attention.temperature_length", 1024);
    assert_eq!(attn(&spec_of(&grok).layers[0]).softcap, Some(30.0));
    // Published files hold this count as a floating-point number.
    let shared = |spec: Spec| spec.layers.iter().filter(|layer| attn(layer).kv_of.is_some()).count();
    assert_eq!(shared(spec_of(&layers("gemma3n", 22))), 2);
    assert_eq!(shared(spec_of(&layers("gemma3n", 22).f32("gemma3n.attention.shared_kv_layers", 4.0))), 4);
}

/// The published dimensions of the 61-layer model's attention.
fn deepseek(new_style: bool) -> Writer {
    let key = |name: &str| format!("deepseek2.{name}");
    let writer = layers("deepseek2", 61)
        .u32(&key("expert_count"), 8)
        .u32(&key("expert_used_count"), 2)
        .u32(&key("expert_feed_forward_length"), 32)
        .u32(&key("leading_dense_block_count"), 3)
        .u32(&key("expert_group_count"), 4)
        .u32(&key("expert_group_used_count"), 2)
        .u32(&key("rope.dimension_count"), 64)
        .u32(&key("attention.q_lora_rank"), 48)
        .u32(&key("attention.kv_lora_rank"), 512)
        .text(&key("rope.scaling.type"), "yarn")
        .f32(&key("rope.scaling.factor"), 40.0)
        .u32(&key("rope.scaling.original_context_length"), 4096);
    let lengths: &[(&str, u32)] = if new_style {
        &[("key_length", 576), ("value_length", 512), ("key_length_mla", 192), ("value_length_mla", 128)]
    } else {
        &[("key_length", 192), ("value_length", 128), ("head_count_kv", 4)]
    };
    lengths.iter().fold(writer, |w, (name, n)| w.u32(&key(&format!("attention.{name}")), *n))
}

#[test]
fn deepseek_old_and_new_keys_mean_the_same() {
    let new = deepseek(true).f32("deepseek2.rope.scaling.yarn_log_multiplier", 0.1).tensor_f32(
        "blk.0.attn_k_b.weight",
        &[1],
        &[0.0],
    );
    let (new, old) = (spec_of(&new), spec_of(&deepseek(false)));
    for spec in [&new, &old] {
        let attn = attn(&spec.layers[0]);
        assert_eq!((attn.heads, attn.kv_heads, attn.k_dim, attn.v_dim), (4, 1, 576, 512));
        assert!((attn.scale - 0.135_234).abs() < 1e-6, "{}", attn.scale);
        assert_eq!(spec.ropes[0].magnitude, 1.0);
        let joint_kv_b = std::ptr::eq(spec, &old);
        let latent = Latent { q_rank: Some(48), kv_rank: 512, nope: 128, rope: 64, v_dim: 128, joint_kv_b, eps: 1e-6 };
        assert_eq!(attn.proj, Projection::Latent(latent));
        assert!(spec.layers[2].experts().is_none());
        let experts = spec.layers[3].experts().unwrap();
        assert_eq!(experts.shared, None);
        let router = &experts.router;
        assert_eq!((router.gating, router.groups), (Gating::Softmax, Some((4, 2))));
    }
}

#[test]
fn sinks_names_and_skips() {
    let oss = spec_of(&experts("gpt-oss").u32("gpt-oss.attention.sliding_window", 99));
    assert_eq!(windows(&oss), [Some(99), None]);
    assert_eq!((norms(&oss.layers[0])[2], attn(&oss.layers[0]).sinks), (Some("post_attention_norm"), true));
    let chosen = oss.layers[0].experts().unwrap();
    let router = &chosen.router;
    assert_eq!(chosen.act, Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 });
    assert_eq!((router.gating, router.normalize), (Gating::SoftmaxOfChosen, false));

    let glm = experts("glm4moe").tensor_f32("blk.1.attn_q_norm.weight", &[16], &[1.0; 16]);
    let glm = spec_of(&glm);
    assert_eq!(norms(&glm.layers[0])[2], Some("post_attention_norm"));
    assert_eq!([0, 1].map(|layer| attn(&glm.layers[layer]).q_norm.is_some()), [false, true]);

    let skip = |list: usize| format!("solar.attention.block_skip_connection.{list}");
    let solar = layers("solar", 3)
        .i32s(&skip(0), &[1, 0, 0])
        .i32s(&skip(1), &[0, 1, 0])
        .i32s(&skip(2), &[0, 1, 0])
        .i32s(&skip(3), &[0, 0, 1])
        .tensor_f32("blk.1.bskcn_tv.weight", &[2], &[0.9, 0.1]);
    let skips: Vec<_> = spec_of(&solar).layers.into_iter().map(|layer| layer.skips).collect();
    assert_eq!(skips[0], [Skip::Save(0)]);
    assert_eq!(skips[1], [Skip::Save(1), Skip::Blend { slot: 0, weight: 0.9 }]);
    assert_eq!(skips[2], [Skip::Blend { slot: 1, weight: 0.8 }]);
}

#[test]
fn experts_of_other_families() {
    let mixtral = base("llama").u32("llama.expert_count", 4).u32("llama.expert_used_count", 2);
    let spec = spec_of(&mixtral);
    let Experts { width, router, shared, .. } = spec.layers[0].experts().unwrap();
    assert_eq!((*width, router.normalize, router.gating, *shared), (96, true, Gating::Softmax, None));
    let mut old = experts("qwen3moe");
    old.keys.retain(|key| key.0 != b"qwen3moe.expert_feed_forward_length");
    assert_eq!(spec_of(&old).layers[0].experts().unwrap().width, 48, "the width of two experts together is 96");
    let merged = experts("qwen3moe").tensor_f32("blk.0.ffn_gate_up_exps.weight", &[1], &[0.0]);
    assert_eq!(spec_of(&merged).layers[0].experts().unwrap().gate, Gate::Fused);
    let fused = base("phi3").tensor_f32("blk.0.attn_qkv.weight", &[1], &[0.0]);
    let layer = &spec_of(&fused).layers[0];
    let fused = Dense { gate: Gate::Fused, ..Dense::plain(96) };
    assert_eq!((&attn(layer).proj, dense(layer)), (&Projection::Fused, &fused));
}

#[test]
fn senseless_dimensions_are_refused() {
    let wrong = |change: fn(Writer) -> Writer, word: &str| {
        let error = read(&change(base("llama"))).unwrap_err();
        assert!(error.to_string().contains(word) && error.exit_code() == 2, "{error}");
    };
    fn set(name: &str, value: u32, mut writer: Writer) -> Writer {
        writer.keys.retain(|key| key.0 != format!("llama.{name}").into_bytes());
        writer.u32(&format!("llama.{name}"), value)
    }
    wrong(|w| set("attention.head_count", 0, w), "heads");
    wrong(|w| set("attention.head_count_kv", 3, w), "multiple of the key-value heads");
    wrong(|w| set("block_count", 0, w), "block_count");
    wrong(|w| set("block_count", 1_000_000, w), "block_count");
    wrong(|w| set("embedding_length", 0, w), "embedding length");
    wrong(|w| set("feed_forward_length", 0, w), "feed-forward width");
    wrong(|w| set("rope.dimension_count", 7, w), "even number of rotated");
    wrong(|w| set("rope.dimension_count", 32, w), "hold the rotated values");
    wrong(|w| set("vocab_size", u32::MAX, w), "vocabulary");
    wrong(|w| set("nextn_predict_layers", 2, w), "block_count");
    wrong(|w| w.f32("llama.rope.freq_base", -1.0), "rotary base");
    wrong(|w| w.f32("llama.rope.scaling.factor", f32::NAN), "rope.scaling.factor");
    wrong(|w| set("expert_count", 4, set("expert_used_count", 5, w)), "experts per token");
    wrong(|w| set("context_length", 0, w), "context");
    let missing = read(&Writer::new("llama")).unwrap_err().to_string();
    assert!(missing.contains("llama.block_count") && missing.contains("no such key"), "{missing}");
    let other = read(&Writer::new("unheard-of")).unwrap_err().to_string();
    assert!(other.contains("unheard-of") && other.contains("qwen3moe"), "{other}");
    let known = read(&Writer::new("eagle3")).unwrap_err().to_string();
    assert!(known.contains("eagle3") && known.contains("draft") && !known.contains("qwen3moe"), "{known}");
}

#[test]
fn a_stream_that_was_never_kept_cannot_be_blended_in() {
    let skip = |list: usize| format!("solar.attention.block_skip_connection.{list}");
    let never = layers("solar", 3).i32s(&skip(2), &[0, 1, 0]);
    let before = layers("solar", 3).i32s(&skip(0), &[0, 0, 1]).i32s(&skip(2), &[0, 1, 0]);
    let other = layers("solar", 3).i32s(&skip(1), &[1, 0, 0]).i32s(&skip(2), &[0, 1, 0]);
    for writer in [never, before, other] {
        let error = read(&writer).unwrap_err();
        assert!(error.to_string().contains("block_skip_connection") && error.exit_code() == 2, "{error}");
    }
}

#[test]
fn what_is_refused_is_named_with_the_reason_here_and_in_the_readme() {
    let readme = include_str!("../../README.md");
    let start = readme.find("Refused by name").unwrap();
    let paragraph = readme[start..].split("\n\n").next().unwrap();
    for (name, reason) in unsupported::REFUSED {
        // Files of "clip" are known before their architecture is looked at.
        if *name != "clip" {
            let error = read(&base(name)).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}` is not supported: it needs {reason}")), "{error}");
        }
        assert!(paragraph.contains(&format!("`{name}`")), "{name} is not in the README");
    }
    // And no other: what is named there is refused, but for the one that depends on a key.
    for name in paragraph.split('`').skip(1).step_by(2).filter(|name| !["nanbeige", "num_loops"].contains(name)) {
        assert!(unsupported::REFUSED.iter().any(|row| row.0 == name), "{name} is not refused");
    }
}

#[test]
fn a_single_label_is_scored_as_it_is() {
    for (labels, softmax) in [(1u64, false), (2, true)] {
        let head = base("qwen3").u32("qwen3.pooling_type", 4);
        let values = vec![0.0; 64 * labels as usize];
        let spec = spec_of(&head.tensor_f32("cls.output.weight", &[64, labels], &values));
        let Pooling::Rank(classifier) = spec.pooling else { panic!("{:?}", spec.pooling) };
        assert_eq!((classifier.labels as u64, classifier.softmax), (labels, softmax));
    }
}
