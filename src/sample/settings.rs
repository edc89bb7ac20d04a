//! The effective parameters of sampling, each with where it comes from.

use super::origin::Origin;
use super::table::{Overrides, PARAMETERS, Parameter, SamplingSettings};
use super::vendor::{self, FamilyFacts};
use crate::Result;
use crate::gguf::{Gguf, MetaValue};
use serde_json::{Value as Json, json};

impl Overrides {
    /// The `general.sampling.*` keys of a file.
    ///
    /// # Errors
    /// A key of another type, or with a value that cannot be meant.
    #[doc(hidden)]
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let mut found = Self::default();
        for row in PARAMETERS {
            let Some(key) = row.file.map(|key| format!("general.sampling.{key}")) else { continue };
            let Some(value) = number(gguf, &key)? else { continue };
            row.set(&mut found, &value).map_err(|wanted| gguf.wrong(&key, wanted))?;
        }
        Ok(found)
    }

    /// The keys below `general.sampling.` that are applied.
    pub fn keys_of_files() -> impl Iterator<Item = &'static str> {
        PARAMETERS.iter().filter_map(|row| row.file)
    }
}

/// Converters write these keys as floats or integers.
fn number(gguf: &Gguf, key: &str) -> Result<Option<Json>> {
    match gguf.value(key) {
        None => Ok(None),
        Some(MetaValue::Uint(n)) => Ok(Some(json!(n))),
        Some(MetaValue::Int(n)) => Ok(Some(json!(n))),
        Some(MetaValue::Float(x)) if x.is_finite() => Ok(Some(json!(x))),
        Some(_) => Err(gguf.wrong(key, "a number")),
    }
}

impl SamplingSettings {
    /// Neutral values, then the recommendation for the family, then the file's, then the user's.
    ///
    /// # Errors
    /// A value out of its range.
    #[doc(hidden)]
    pub fn resolve(facts: &FamilyFacts, file: &Overrides, user: &Overrides) -> Result<Self> {
        let mut settings = Self::neutral();
        if let Some(row) = vendor::row(facts) {
            settings.apply(&row.values(), Origin::Family(row.family));
        }
        settings.apply(file, Origin::File);
        settings.apply(user, Origin::User);
        settings.params().check()?;
        Ok(settings)
    }

    /// Name, value and origin of each parameter, for people to read. What is off and says nothing new is left out.
    pub fn lines(&self) -> Vec<(String, String, Origin)> {
        let line =
            |row: &Parameter| (row.line)(self).map(|(value, origin)| (row.name.replace('_', "-"), value, origin));
        PARAMETERS.iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::origin::Setting;
    use super::*;
    use crate::testing::Writer;

    fn facts(arch: &str, name: &str, template: &str) -> FamilyFacts {
        FamilyFacts { arch: arch.into(), name: name.into(), template: template.into() }
    }

    #[test]
    fn families() {
        let none = Overrides::default();
        let cases = [
            (facts("exaone", "exaone-deep-32b", "{{ '<thought>\n' }}"), "EXAONE Deep", (0.6, 0, 0.95, 0.0)),
            (facts("exaone4", "exaone-4.0-32b", "<think>"), "EXAONE 4", (0.6, 0, 0.95, 0.0)),
            (facts("qwen2", "qwq-32b", "<think>"), "QwQ", (0.6, 40, 0.95, 0.0)),
            (
                facts("qwen2", "deepseek r1 distill qwen 32b", "'<｜Assistant｜>' + '</think>' <think>"),
                "DeepSeek R1",
                (0.6, 0, 0.95, 0.0),
            ),
            (facts("qwen3", "qwen3-32b", "enable_thinking"), "Qwen3", (0.6, 20, 0.95, 0.0)),
            (facts("gemma3", "gemma-3-270m-it", "<start_of_turn>"), "Gemma 3", (1.0, 64, 0.95, 0.0)),
            (facts("gpt-oss", "", ""), "gpt-oss", (1.0, 0, 1.0, 0.0)),
            (facts("llama", "", "<|start_header_id|>"), "Llama 3", (0.6, 0, 0.9, 0.0)),
        ];
        for (facts, family, (temperature, top_k, top_p, min_p)) in cases {
            let settings = SamplingSettings::resolve(&facts, &none, &none).unwrap();
            assert_eq!(settings.temperature, Setting { value: temperature, origin: Origin::Family(family) });
            assert_eq!(
                (settings.top_k.value, settings.top_p.value, settings.min_p.value),
                (top_k, top_p, min_p),
                "{family}"
            );
            assert_eq!(settings.repeat_penalty.origin, Origin::Default);
        }
        let hcx = SamplingSettings::resolve(&facts("hyperclovax", "", "assistant/think"), &none, &none).unwrap();
        assert_eq!(hcx.repeat_penalty.value, 1.05);
        let unknown = SamplingSettings::resolve(&facts("llama", "smollm2", "<|im_start|>"), &none, &none).unwrap();
        assert_eq!(unknown, SamplingSettings::neutral());
    }

    #[test]
    fn file_over_family_and_user_over_file() {
        let writer = Writer::new("qwen3")
            .f32("general.sampling.temp", 0.5)
            .raw("general.sampling.top_k", 5, 30_i32.to_le_bytes().to_vec())
            .raw("general.sampling.penalty_last_n", 5, (-1_i32).to_le_bytes().to_vec());
        let file = tempfile::NamedTempFile::with_suffix(".gguf").unwrap();
        writer.write(file.path()).unwrap();
        let from_file = Overrides::from_gguf(&Gguf::open(file.path()).unwrap()).unwrap();
        let user = Overrides { top_k: Some(3), presence_penalty: Some(1.5), ..Overrides::default() };
        let settings = SamplingSettings::resolve(&facts("qwen3", "", ""), &from_file, &user).unwrap();
        assert_eq!(settings.temperature, Setting { value: 0.5, origin: Origin::File });
        assert_eq!(settings.top_k, Setting { value: 3, origin: Origin::User });
        assert_eq!(settings.top_p, Setting { value: 0.95, origin: Origin::Family("Qwen3") });
        assert_eq!(settings.repeat_last_n, Setting { value: usize::MAX, origin: Origin::File });
        let lines = settings.lines();
        assert!(lines.contains(&("top-p".into(), "0.95".into(), Origin::Family("Qwen3"))));
        assert!(lines.contains(&("presence-penalty".into(), "1.5".into(), Origin::User)));
        assert!(!lines.iter().any(|(name, ..)| name == "repeat-penalty"));
        let bad = Overrides { top_p: Some(7.0), ..Overrides::default() };
        assert_eq!(SamplingSettings::resolve(&FamilyFacts::default(), &from_file, &bad).unwrap_err().exit_code(), 2);
    }
}
