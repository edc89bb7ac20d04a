//! What the makers of models recommend, by family.

use super::table::Overrides;
use crate::Result;
use crate::gguf::{CHAT_TEMPLATE, Gguf};

/// What a family is recognized by.
#[derive(Debug, Clone, Default)]
pub struct FamilyFacts {
    /// `general.architecture`.
    pub arch: String,
    /// `general.name`, `general.basename` or the file's name, in lower case.
    pub name: String,
    /// The chat template's text; empty when there is none.
    pub template: String,
}

impl FamilyFacts {
    /// The facts of a model file.
    ///
    /// # Errors
    /// Keys of another type than they should have.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let file = gguf.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = match gguf.str("general.name")? {
            Some(name) => Some(name),
            None => gguf.str("general.basename")?,
        };
        let template = gguf.str(CHAT_TEMPLATE)?.unwrap_or_default().to_owned();
        Ok(Self { arch: gguf.arch()?.to_owned(), name: name.unwrap_or(&file).to_lowercase(), template })
    }
}

/// One family's recommendation.
pub(super) struct Recommendation {
    /// The family's name, shown as the origin of its values.
    pub(super) family: &'static str,
    is: fn(&FamilyFacts) -> bool,
    /// temperature, top-k (0 = off), top-p, min-p (0 = off), repetition penalty (1 = off).
    values: (f32, Option<usize>, f32, Option<f32>, Option<f32>),
}

impl Recommendation {
    /// The recommendation is a whole: filters that it does not name are off.
    pub(super) fn values(&self) -> Overrides {
        let (temperature, top_k, top_p, min_p, repeat_penalty) = self.values;
        Overrides {
            temperature: Some(temperature),
            top_k: Some(top_k.unwrap_or(0)),
            top_p: Some(top_p),
            min_p: Some(min_p.unwrap_or(0.0)),
            repeat_penalty,
            ..Overrides::default()
        }
    }
}

/// THE RECOMMENDATIONS, from the model cards; the first row that fits counts. A family without a row runs with the
/// neutral values of [`super::SamplingSettings`].
static RECOMMENDATIONS: &[Recommendation] = &[
    Recommendation {
        family: "EXAONE Deep",
        is: |f| f.template.contains("<thought>") && exaone(f),
        values: (0.6, None, 0.95, None, None),
    },
    Recommendation { family: "K-EXAONE", is: |f| f.arch == "exaone-moe", values: (1.0, None, 0.95, None, None) },
    Recommendation { family: "EXAONE 4", is: |f| f.arch == "exaone4", values: (0.6, None, 0.95, None, None) },
    Recommendation {
        family: "HyperCLOVA X Think 14B",
        is: |f| f.template.contains("/think") && hyperclova(f),
        values: (0.5, None, 0.6, None, Some(1.05)),
    },
    Recommendation { family: "QwQ", is: |f| f.name.contains("qwq"), values: (0.6, Some(40), 0.95, Some(0.0), None) },
    Recommendation {
        family: "DeepSeek R1",
        is: |f| f.template.contains("<｜Assistant｜>") && (f.template.contains("<think>") || f.name.contains("r1")),
        values: (0.6, None, 0.95, None, None),
    },
    Recommendation {
        family: "Qwen3",
        is: |f| f.arch.starts_with("qwen3"),
        values: (0.6, Some(20), 0.95, Some(0.0), None),
    },
    Recommendation { family: "gpt-oss", is: |f| f.arch == "gpt-oss", values: (1.0, None, 1.0, None, None) },
    Recommendation { family: "Gemma 3", is: |f| f.arch == "gemma3", values: (1.0, Some(64), 0.95, None, None) },
    Recommendation {
        family: "Phi-4 reasoning",
        is: |f| f.name.contains("phi") && f.name.contains("reasoning"),
        values: (0.8, Some(50), 0.95, None, None),
    },
    Recommendation { family: "Granite", is: |f| f.arch.starts_with("granite"), values: (0.0, None, 1.0, None, None) },
    Recommendation {
        family: "Llama 3",
        is: |f| f.arch == "llama" && f.template.contains("<|start_header_id|>"),
        values: (0.6, None, 0.9, None, None),
    },
];

fn exaone(facts: &FamilyFacts) -> bool {
    facts.arch == "exaone" || facts.name.contains("exaone")
}

fn hyperclova(facts: &FamilyFacts) -> bool {
    facts.arch.starts_with("hyperclovax") || facts.arch == "hcx-seed-think" || facts.name.contains("hyperclova")
}

/// The recommendation for a model.
pub(super) fn row(facts: &FamilyFacts) -> Option<&'static Recommendation> {
    RECOMMENDATIONS.iter().find(|row| (row.is)(facts))
}
