//! THE TABLE OF SAMPLING PARAMETERS. A row gives the name (the flag and the key of the configuration are the same), what it
//! does, its type, the value that switches it off, the built-in default, what is allowed, the
//! environment variable, the key of model files and the names that requests have for it. Flags, configuration, `/set`,
//! requests of all dialects, `show` and what the server tells of itself read the rows: a new parameter is a row here and
//! its use in [`super::Sampler`].

use super::origin::{Origin, Setting};
use serde_json::{Value as Json, json};

/// Most texts of a row that takes texts, and the bytes of each.
const MAX_ROW_TEXTS: usize = 64;
const MAX_ROW_TEXT_BYTES: usize = 256;

/// A row of the table, without its type.
pub struct Parameter {
    /// The key in the configuration; the flag is the same with `-` for `_`.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// Stands for the value in help.
    pub value: &'static str,
    /// A value that does no harm.
    pub example: &'static str,
    /// What is allowed, in words.
    pub wanted: &'static str,
    /// What requests call it; the first is how the server tells of it.
    pub keys: &'static [&'static str],
    /// Whether it takes texts, not a number.
    pub texts: bool,
    /// The key below `general.sampling.` in model files.
    pub(super) file: Option<&'static str>,
    /// Reads and checks a value, for these overrides.
    set: fn(&mut Overrides, &Json) -> bool,
    get: fn(&Params) -> Json,
    /// Name, value and origin, where people are to see it.
    pub(super) line: fn(&SamplingSettings) -> Option<(String, Origin)>,
    pub(super) fits: fn(&Params) -> bool,
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameter").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Parameter {
    /// Sets it from JSON.
    ///
    /// # Errors
    /// What is wanted, in words.
    pub fn set(&self, overrides: &mut Overrides, value: &Json) -> Result<(), &'static str> {
        if (self.set)(overrides, value) { Ok(()) } else { Err(self.wanted) }
    }

    /// Its value as JSON; -1 stands for no limit.
    pub fn get(&self, params: &Params) -> Json {
        (self.get)(params)
    }

    /// What a text of a flag or a file stands for.
    pub fn of_text(&self, text: &str) -> Json {
        if self.texts {
            let list = serde_json::from_str(text).ok().filter(|value: &Json| value.is_array());
            return list.unwrap_or_else(|| json!(text));
        }
        match text.trim().parse::<f64>() {
            Ok(number) => json!(number),
            Err(_) => json!(text),
        }
    }
}

/// Types of values.
trait Typed: Clone + PartialEq {
    const TEXTS: bool = false;
    fn read(value: &Json) -> Option<Self>;
    fn json(&self) -> Json;
    /// For people.
    fn show(&self) -> String;
}

impl Typed for f32 {
    fn read(value: &Json) -> Option<Self> {
        value.as_f64().map(|x| x as Self).filter(|x| x.is_finite())
    }
    fn json(&self) -> Json {
        // The shortest number that is this one, not what 64 bits make of it.
        self.to_string().parse::<f64>().map_or(Json::Null, |x| json!(x))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// A count; -1 stands for no limit.
impl Typed for usize {
    fn read(value: &Json) -> Option<Self> {
        let x = value.as_f64().filter(|x| x.fract() == 0.0)?;
        if x < -1.0 {
            return None;
        }
        Some(if x < 0.0 { Self::MAX } else { x as Self })
    }
    fn json(&self) -> Json {
        if *self == Self::MAX { json!(-1) } else { json!(self) }
    }
    fn show(&self) -> String {
        if *self == Self::MAX { "all".to_owned() } else { self.to_string() }
    }
}

impl Typed for Vec<String> {
    const TEXTS: bool = true;
    fn read(value: &Json) -> Option<Self> {
        let texts: Self = match value {
            Json::String(one) => vec![one.clone()],
            Json::Array(many) => many.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            _ => return None,
        };
        let fits = |text: &String| (1..=MAX_ROW_TEXT_BYTES).contains(&text.len());
        (texts.len() <= MAX_ROW_TEXTS && texts.iter().all(fits)).then_some(texts)
    }
    fn json(&self) -> Json {
        json!(self)
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Overrides {
    fn at_temperature_one(mut self) -> Self {
        self.temperature = Some(1.0);
        self
    }
}

macro_rules! parameters {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $ty:ty {
            off: $off:expr, start: $start:expr, wanted: $wanted:literal, fits: $fits:expr,
            env: $env:literal, value: $value:literal, example: $example:literal,
            file: $file:expr, keys: $keys:expr, shown: $shown:ident
        }
    )+) => {
        /// Parameters of sampling. The default takes the most likely token, always.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Params {
            $($(#[doc = $doc])+ pub $name: $ty,)+
            /// Added to the logits of single tokens; negative infinity bans one.
            pub logit_bias: Vec<(u32, f32)>,
        }

        impl Default for Params {
            fn default() -> Self {
                Self { $($name: $off,)+ logit_bias: Vec::new() }
            }
        }

        /// Values that one source gives.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Overrides {
            $($(#[doc = $doc])+ pub $name: Option<$ty>,)+
        }

        impl Overrides {
            /// No filter and no penalty, at temperature 1: what the model itself says.
            pub fn unfiltered() -> Self {
                Self { $($name: Some($off),)+ }.at_temperature_one()
            }

            /// These values, and those of `other` where nothing is said here.
            #[must_use]
            pub fn or(&self, other: &Self) -> Self {
                Self { $($name: self.$name.clone().or_else(|| other.$name.clone()),)+ }
            }
        }

        /// The effective parameters.
        #[derive(Debug, Clone, PartialEq)]
        pub struct SamplingSettings {
            $($(#[doc = $doc])+ pub $name: Setting<$ty>,)+
        }

        impl SamplingSettings {
            /// Built-in defaults, for a model without recommendations: sampling as it is, without the least likely tail.
            pub fn neutral() -> Self {
                Self { $($name: Setting { value: $start, origin: Origin::Default },)+ }
            }

            pub(super) fn apply(&mut self, values: &Overrides, origin: Origin) {
                $(if let Some(value) = &values.$name {
                    self.$name = Setting { value: value.clone(), origin };
                })+
            }

            /// The values, for a [`super::Sampler`].
            pub fn params(&self) -> Params {
                Params { $($name: self.$name.value.clone(),)+ logit_bias: Vec::new() }
            }
        }

        /// Every parameter that there is.
        pub static PARAMETERS: &[Parameter] = &[$(
            Parameter {
                name: stringify!($name),
                help: concat!($($doc),+),
                env: $env,
                value: $value,
                example: $example,
                wanted: $wanted,
                keys: $keys,
                texts: <$ty as Typed>::TEXTS,
                file: $file,
                set: |overrides, value| {
                    let fits: fn(&$ty) -> bool = $fits;
                    let value = <$ty as Typed>::read(value).filter(fits);
                    let read = value.is_some();
                    overrides.$name = value;
                    read
                },
                get: |params| params.$name.json(),
                line: |settings| {
                    let Setting { value, origin } = &settings.$name;
                    let (off, start): ($ty, $ty) = ($off, $start);
                    let text = if *value == off { "off".to_owned() } else { value.show() };
                    (parameters!(@$shown) || *value != start).then_some((text, *origin))
                },
                fits: |params| {
                    let fits: fn(&$ty) -> bool = $fits;
                    fits(&params.$name)
                },
            },
        )+];
    };
    (@always) => { true };
    (@changed) => { false };
}

parameters! {
    /// Randomness: logits are divided by it; 0 is greedy, the likeliest token each time
    temperature: f32 {
        off: 0.0, start: 0.7, wanted: "a number from 0 to 100", fits: |x| (0.0..=100.0).contains(x),
        env: "TOKKI_TEMPERATURE", value: "T", example: "0.7", file: Some("temp"), keys: &["temperature"], shown: always
    }
    /// Keep the K likeliest tokens; 0 keeps all
    top_k: usize {
        off: 0, start: 0, wanted: "a whole number from 0", fits: |_| true,
        env: "TOKKI_TOP_K", value: "K", example: "40", file: Some("top_k"), keys: &["top_k"], shown: always
    }
    /// Keep the tokens whose information is closest to what is expected, up to this probability (locally typical
    /// sampling, arXiv 2202.00666); 1 keeps all
    typical_p: f32 {
        off: 1.0, start: 1.0, wanted: "a number above 0, up to 1", fits: |x| *x > 0.0 && *x <= 1.0,
        env: "TOKKI_TYPICAL_P", value: "P", example: "1", file: None, keys: &["typical_p", "typ_p"], shown: changed
    }
    /// Keep the likeliest tokens that sum up to this probability; 1 keeps all
    top_p: f32 {
        off: 1.0, start: 0.95, wanted: "a number above 0, up to 1", fits: |x| *x > 0.0 && *x <= 1.0,
        env: "TOKKI_TOP_P", value: "P", example: "0.95", file: Some("top_p"), keys: &["top_p"], shown: always
    }
    /// Keep tokens at least this likely, relative to the likeliest; 0 keeps all
    min_p: f32 {
        off: 0.0, start: 0.05, wanted: "a number from 0 to 1", fits: |x| (0.0..=1.0).contains(x),
        env: "TOKKI_MIN_P", value: "P", example: "0.05", file: Some("min_p"), keys: &["min_p"], shown: always
    }
    /// Chance that the likeliest tokens are left out ("exclude top choices"): all above the threshold but the least
    /// likely of them; 0 is off
    xtc_probability: f32 {
        off: 0.0, start: 0.0, wanted: "a number from 0 to 1", fits: |x| (0.0..=1.0).contains(x),
        env: "TOKKI_XTC_PROBABILITY", value: "P", example: "0", file: Some("xtc_probability"),
        keys: &["xtc_probability"], shown: changed
    }
    /// Probability from which a token counts as a top choice that can be left out
    xtc_threshold: f32 {
        off: 0.1, start: 0.1, wanted: "a number from 0 to 1", fits: |x| (0.0..=1.0).contains(x),
        env: "TOKKI_XTC_THRESHOLD", value: "P", example: "0.1", file: Some("xtc_threshold"),
        keys: &["xtc_threshold"], shown: changed
    }
    /// Repetition penalty: the logits of recent tokens are divided by this (CTRL, arXiv 1909.05858); 1 is off
    repeat_penalty: f32 {
        off: 1.0, start: 1.0, wanted: "a number from 0.01 to 100", fits: |x| (0.01..=100.0).contains(x),
        env: "TOKKI_REPEAT_PENALTY", value: "X", example: "1", file: Some("penalty_repeat"),
        keys: &["repeat_penalty", "repetition_penalty"], shown: changed
    }
    /// Presence penalty: subtracted from the logits of recent tokens; 0 is off
    presence_penalty: f32 {
        off: 0.0, start: 0.0, wanted: "a number from -100 to 100", fits: |x| (-100.0..=100.0).contains(x),
        env: "TOKKI_PRESENCE_PENALTY", value: "X", example: "0", file: None, keys: &["presence_penalty"], shown: changed
    }
    /// Frequency penalty: subtracted from the logits of recent tokens, once for each time that they were used; 0 is off
    frequency_penalty: f32 {
        off: 0.0, start: 0.0, wanted: "a number from -100 to 100", fits: |x| (-100.0..=100.0).contains(x),
        env: "TOKKI_FREQUENCY_PENALTY", value: "X", example: "0", file: None, keys: &["frequency_penalty"], shown: changed
    }
    /// How many of the last tokens, of prompt and answer, these penalties look at; -1 looks at all
    repeat_last_n: usize {
        off: 64, start: 64, wanted: "a whole number from 0, or -1 for all", fits: |_| true,
        env: "TOKKI_REPEAT_LAST_N", value: "N", example: "64", file: Some("penalty_last_n"),
        keys: &["repeat_last_n"], shown: changed
    }
    /// Weaken tokens that would go on with a repetition of what was written before ("don't repeat yourself"), by this
    /// times the base to the power of the repetition's length; 0 is off
    dry_multiplier: f32 {
        off: 0.0, start: 0.0, wanted: "a number from 0 to 100", fits: |x| (0.0..=100.0).contains(x),
        env: "TOKKI_DRY_MULTIPLIER", value: "X", example: "0", file: None, keys: &["dry_multiplier"], shown: changed
    }
    /// How fast that grows with each repeated token
    dry_base: f32 {
        off: 1.75, start: 1.75, wanted: "a number from 1 to 100", fits: |x| (1.0..=100.0).contains(x),
        env: "TOKKI_DRY_BASE", value: "X", example: "1.75", file: None, keys: &["dry_base"], shown: changed
    }
    /// Repetitions of fewer tokens are let be
    dry_allowed_length: usize {
        off: 2, start: 2, wanted: "a whole number from 0, or -1 for no limit", fits: |_| true,
        env: "TOKKI_DRY_ALLOWED_LENGTH", value: "N", example: "2", file: None, keys: &["dry_allowed_length"], shown: changed
    }
    /// How many of the last tokens are searched for repetitions; -1 searches all
    dry_penalty_last_n: usize {
        off: usize::MAX, start: usize::MAX, wanted: "a whole number from 0, or -1 for all", fits: |_| true,
        env: "TOKKI_DRY_PENALTY_LAST_N", value: "N", example: "-1", file: None, keys: &["dry_penalty_last_n"], shown: changed
    }
    /// Texts that repetitions do not reach across: a JSON array, or one text
    dry_sequence_breakers: Vec<String> {
        off: breakers(), start: breakers(), wanted: "a text or an array of up to 64 texts", fits: |_| true,
        env: "TOKKI_DRY_SEQUENCE_BREAKERS", value: "TEXTS", example: r#"["\n", ":", "\"", "*"]"#, file: None,
        keys: &["dry_sequence_breakers"], shown: changed
    }
}

fn breakers() -> Vec<String> {
    ["\n", ":", "\"", "*"].map(str::to_owned).into()
}
