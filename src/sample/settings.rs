//! The effective parameters of sampling, each with where it comes from.

use super::params::{DEFAULT_WINDOW, Params};
use super::vendor::{self, Facts};
use crate::Result;
use crate::gguf::{Gguf, Value};

/// Where a value comes from. Later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The model's maker recommends it for this family.
    Family(&'static str),
    /// The model's file says it (`general.sampling.*`).
    File,
    /// The user said it.
    User,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Family(name) => write!(f, "recommended for {name}"),
            Self::File => f.write_str("the model's file"),
            Self::User => f.write_str("given"),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    fn default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    fn set(&mut self, value: Option<T>, origin: Origin) {
        if let Some(value) = value {
            *self = Self { value, origin };
        }
    }
}

/// Values that one source gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// See [`Params::temperature`].
    pub temperature: Option<f32>,
    /// See [`Params::top_k`].
    pub top_k: Option<usize>,
    /// See [`Params::top_p`].
    pub top_p: Option<f32>,
    /// See [`Params::min_p`].
    pub min_p: Option<f32>,
    /// See [`Params::repeat_penalty`].
    pub repeat_penalty: Option<f32>,
    /// See [`Params::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// See [`Params::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
    /// See [`Params::penalty_window`].
    pub penalty_window: Option<usize>,
}

impl Overrides {
    /// These values, and those of `other` where nothing is said here.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repeat_penalty: self.repeat_penalty.or(other.repeat_penalty),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
            penalty_window: self.penalty_window.or(other.penalty_window),
        }
    }

    /// The `general.sampling.*` keys of a file.
    ///
    /// # Errors
    /// A key of another type, or with a value that cannot be meant.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let number = |key: &str| number(gguf, &format!("general.sampling.{key}"));
        let count = |x: f32| if x > 0.0 { x as usize } else { 0 };
        Ok(Self {
            temperature: number("temp")?,
            top_k: number("top_k")?.map(count),
            top_p: number("top_p")?,
            min_p: number("min_p")?,
            repeat_penalty: number("penalty_repeat")?,
            presence_penalty: None,
            frequency_penalty: None,
            penalty_window: number("penalty_last_n")?.map(|n| if n < 0.0 { usize::MAX } else { count(n) }),
        })
    }
}

/// Converters write these keys as floats or integers.
fn number(gguf: &Gguf, key: &str) -> Result<Option<f32>> {
    match gguf.value(key) {
        None => Ok(None),
        Some(Value::Uint(n)) => Ok(Some(*n as f32)),
        Some(Value::Int(n)) => Ok(Some(*n as f32)),
        Some(Value::Float(x)) if x.is_finite() => Ok(Some(*x as f32)),
        Some(_) => Err(gguf.wrong(key, "a number")),
    }
}

/// The effective parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// See [`Params::temperature`].
    pub temperature: Setting<f32>,
    /// See [`Params::top_k`].
    pub top_k: Setting<usize>,
    /// See [`Params::top_p`].
    pub top_p: Setting<f32>,
    /// See [`Params::min_p`].
    pub min_p: Setting<f32>,
    /// See [`Params::repeat_penalty`].
    pub repeat_penalty: Setting<f32>,
    /// See [`Params::presence_penalty`].
    pub presence_penalty: Setting<f32>,
    /// See [`Params::frequency_penalty`].
    pub frequency_penalty: Setting<f32>,
    /// See [`Params::penalty_window`].
    pub penalty_window: Setting<usize>,
}

impl Settings {
    /// Values for a model nobody says anything about: sampling as it is, without the least likely tail.
    pub fn neutral() -> Self {
        Self {
            temperature: Setting::default(0.7),
            top_k: Setting::default(0),
            top_p: Setting::default(0.95),
            min_p: Setting::default(0.05),
            repeat_penalty: Setting::default(1.0),
            presence_penalty: Setting::default(0.0),
            frequency_penalty: Setting::default(0.0),
            penalty_window: Setting::default(DEFAULT_WINDOW),
        }
    }

    /// Neutral values, then the recommendation for the family, then the file's, then the user's.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn resolve(facts: &Facts, file: &Overrides, user: &Overrides) -> Result<Self> {
        let mut settings = Self::neutral();
        if let Some(row) = vendor::row(facts) {
            settings.apply(&row.values(), Origin::Family(row.family));
        }
        settings.apply(file, Origin::File);
        settings.apply(user, Origin::User);
        settings.params().check()?;
        Ok(settings)
    }

    fn apply(&mut self, values: &Overrides, origin: Origin) {
        self.temperature.set(values.temperature, origin);
        self.top_k.set(values.top_k, origin);
        self.top_p.set(values.top_p, origin);
        self.min_p.set(values.min_p, origin);
        self.repeat_penalty.set(values.repeat_penalty, origin);
        self.presence_penalty.set(values.presence_penalty, origin);
        self.frequency_penalty.set(values.frequency_penalty, origin);
        self.penalty_window.set(values.penalty_window, origin);
    }

    /// The values, for a [`super::Sampler`].
    pub fn params(&self) -> Params {
        Params {
            temperature: self.temperature.value,
            top_k: self.top_k.value,
            top_p: self.top_p.value,
            min_p: self.min_p.value,
            repeat_penalty: self.repeat_penalty.value,
            presence_penalty: self.presence_penalty.value,
            frequency_penalty: self.frequency_penalty.value,
            penalty_window: self.penalty_window.value,
            logit_bias: Vec::new(),
        }
    }

    /// Name, value and origin of each parameter, for people to read. Penalties that are off are left out.
    pub fn lines(&self) -> Vec<(&'static str, String, Origin)> {
        let off = |on: bool, text: String| if on { text } else { "off".to_owned() };
        let mut lines = vec![
            ("temperature", self.temperature.value.to_string(), self.temperature.origin),
            ("top-k", off(self.top_k.value > 0, self.top_k.value.to_string()), self.top_k.origin),
            ("top-p", off(self.top_p.value < 1.0, self.top_p.value.to_string()), self.top_p.origin),
            ("min-p", off(self.min_p.value > 0.0, self.min_p.value.to_string()), self.min_p.origin),
        ];
        let penalties = [
            ("repeat-penalty", self.repeat_penalty, 1.0),
            ("presence-penalty", self.presence_penalty, 0.0),
            ("frequency-penalty", self.frequency_penalty, 0.0),
        ];
        let on = penalties.into_iter().filter(|(_, setting, neutral)| setting.value != *neutral);
        lines.extend(on.map(|(name, setting, _)| (name, setting.value.to_string(), setting.origin)));
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::Writer;

    fn facts(arch: &str, name: &str, template: &str) -> Facts {
        Facts { arch: arch.into(), name: name.into(), template: template.into() }
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
            let settings = Settings::resolve(&facts, &none, &none).unwrap();
            assert_eq!(settings.temperature, Setting { value: temperature, origin: Origin::Family(family) });
            assert_eq!(
                (settings.top_k.value, settings.top_p.value, settings.min_p.value),
                (top_k, top_p, min_p),
                "{family}"
            );
            assert_eq!(settings.repeat_penalty.origin, Origin::Default);
        }
        let hcx = Settings::resolve(&facts("hyperclovax", "", "assistant/think"), &none, &none).unwrap();
        assert_eq!(hcx.repeat_penalty.value, 1.05);
        let unknown = Settings::resolve(&facts("llama", "smollm2", "<|im_start|>"), &none, &none).unwrap();
        assert_eq!(unknown, Settings::neutral());
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
        let settings = Settings::resolve(&facts("qwen3", "", ""), &from_file, &user).unwrap();
        assert_eq!(settings.temperature, Setting { value: 0.5, origin: Origin::File });
        assert_eq!(settings.top_k, Setting { value: 3, origin: Origin::User });
        assert_eq!(settings.top_p, Setting { value: 0.95, origin: Origin::Family("Qwen3") });
        assert_eq!(settings.penalty_window, Setting { value: usize::MAX, origin: Origin::File });
        let lines = settings.lines();
        assert!(lines.contains(&("top-p", "0.95".into(), Origin::Family("Qwen3"))));
        assert!(lines.contains(&("presence-penalty", "1.5".into(), Origin::User)));
        assert!(!lines.iter().any(|(name, ..)| *name == "repeat-penalty"));
        let bad = Overrides { top_p: Some(7.0), ..Overrides::default() };
        assert_eq!(Settings::resolve(&Facts::default(), &from_file, &bad).unwrap_err().exit_code(), 2);
    }
}
