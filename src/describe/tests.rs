#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use super::*;
use crate::testing::{Writer, tiny};

fn describe(writer: &Writer) -> Description {
    Description::of(&Gguf::from_bytes(Path::new("folder/model.gguf"), &writer.bytes()).unwrap()).unwrap()
}

#[test]
fn a_dense_model() {
    let writer = tiny("llama", 1).unwrap();
    let found = describe(&writer.u32("general.file_type", 0).f32("general.sampling.temp", 0.6));
    assert!(found.runnable && found.problems.is_empty() && found.warnings.is_empty(), "{found:?}");
    assert_eq!((found.name.as_str(), found.architecture.as_deref()), ("tiny llama", Some("llama")));
    // Embedding, two layers of four norms' worth and seven matrices, and the last norm.
    let layer = 2 * 64 + 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96;
    assert_eq!(found.parameters, 64 * 260 + 2 * layer + 64);
    assert_eq!((found.active_parameters, found.weight_bytes), (found.parameters, 4 * found.parameters));
    assert_eq!(found.formats.len(), 1);
    assert_eq!((found.quantization.as_str(), found.formats[0].tensors), ("F32", 20));
    let temperature = &found.sampling[0];
    assert_eq!((temperature.name.as_str(), temperature.value.as_str()), ("temperature", "0.6"));
    assert_eq!((temperature.origin.as_str(), found.chat_template), ("the model's file", None));
    let dimensions = found.dimensions.unwrap();
    assert_eq!((dimensions.heads, dimensions.kv_heads, dimensions.key_length), (4, 2, 16));
    assert_eq!((dimensions.rope, dimensions.window), (vec!["base 10000".to_owned()], None));
    assert_eq!((found.vocabulary.tokens, found.vocabulary.pre.as_deref()), (260, Some("gpt-2")));
}

#[test]
fn experts_count_as_active_by_use() {
    let found = describe(&tiny("qwen3moe", 1).unwrap());
    // Half of the experts of both layers: 3 matrices of 64 x 32, 2 of 4.
    assert_eq!(found.parameters - found.active_parameters, 2 * 2 * 3 * 64 * 32);
    assert_eq!(found.dimensions.unwrap().experts, Some(ExpertCounts { count: 4, used: 2, width: 32, shared: None }));
}

#[test]
fn memory_grows_with_the_context_and_the_kind() {
    let found = describe(&tiny("gemma3", 1).unwrap());
    let bytes = |kind: &str| found.memory.iter().find(|row| row.kv_type == kind).unwrap().cache_bytes;
    assert!(found.memory.iter().all(|row| row.context == 512), "{:?}", found.memory);
    // 512 positions x 2 layers x 2 heads x (16 + 16) values.
    assert_eq!(bytes("f32"), 512 * 2 * 2 * 32 * 4);
    assert_eq!(bytes("f16"), bytes("f32") / 2);
    assert!(bytes("q8_0") < bytes("f16"));
    assert_eq!((found.dimensions.clone().unwrap().windowed_layers, found.dimensions.unwrap().window), (2, Some(8)));
}

#[test]
fn problems_are_named_before_loading() {
    let mut writer = tiny("qwen2", 1).unwrap();
    let find = |writer: &Writer, name: &[u8]| writer.tensors.iter().position(|tensor| tensor.name == name).unwrap();
    let at = find(&writer, b"blk.1.ffn_up.weight");
    (writer.tensors[at].kind, writer.tensors[at].shape) = (15, vec![256, 1]);
    let at = find(&writer, b"blk.0.attn_q.weight");
    writer.tensors.remove(at);
    writer = writer.tensor_f32("v.patch_embd.weight", &[4], &[0.0; 4]);
    let found = describe(&writer);
    assert!(!found.runnable);
    let all = found.problems.join("\n");
    for word in ["Q8_K", "blk.1.ffn_up.weight", "missing tensors: blk.0.attn_q.weight", "found [256, 1]"] {
        assert!(all.contains(word), "no {word} in {all}");
    }
    assert_eq!(found.ignored_tensors, ["v.patch_embd.weight"]);

    // What a file may have beside has a shape, too.
    for (name, len) in [("output.bias", 7), ("rope_freqs.weight", 1), ("rope_factors_long.weight", 4)] {
        let found = describe(&tiny("llama", 1).unwrap().tensor_f32(name, &[len], &vec![1.0; len as usize]));
        let about = if name.contains("factors") { "missing tensors: rope_factors_short.weight" } else { name };
        assert!(!found.runnable && found.problems.iter().any(|why| why.contains(about)), "{:?}", found.problems);
    }

    let mut early = tiny("exaone", 1).unwrap();
    early.keys.retain(|key| key.0 != b"exaone.context_length");
    let early = describe(&early.u32("exaone.context_length", 32_768));
    assert!(early.runnable && early.warnings[0].contains("rope_freqs.weight is missing"), "{:?}", early.warnings);

    let unknown = describe(&Writer::new("unheard"));
    assert!(!unknown.runnable && unknown.problems[0].contains("unheard"), "{unknown:?}");
    assert_eq!((unknown.name.as_str(), unknown.dimensions), ("model", None));
    assert!(unknown.warnings[0].contains("tokenize"), "{:?}", unknown.warnings);
}

#[test]
fn what_the_template_can_do() {
    let with = |template: &str| tiny("qwen3", 1).unwrap().text("tokenizer.chat_template", template);
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
                  {% if tools %}{{ tools | tojson }}{% endif %}<assistant>\
                  {% if not (enable_thinking | default(true)) %}<think>\n\n</think>{% endif %}";
    let found = describe(&with(source));
    let template = found.chat_template.unwrap();
    assert_eq!((template.system, template.tools, template.bytes), ("supported", true, source.len()));
    assert_eq!((template.thinking, template.thinking_default), ("switch", Some(true)));
    assert_eq!(found.sampling[0].origin, "recommended for Qwen3");

    let broken = describe(&with("{% if %}").f32("general.sampling.mirostat", 0.5));
    assert_eq!(broken.chat_template, None);
    assert!(broken.runnable, "text can be completed without a template");
    let all = broken.warnings.join("\n");
    assert!(all.contains("chat template does not work") && all.contains("mirostat"), "{all}");
}
