//! Why a model cannot be run, found before it is loaded.

use std::collections::BTreeMap;

use super::talk::{self, ChatTemplate, Sampling};
use crate::arch::{self, Role, RopeFactors, Spec};
use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;
use crate::{Error, ErrorKind, Result};

/// Most names in one message.
const SHOWN: usize = 4;

/// What was found.
pub(super) struct Found {
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// Text can be tokenized.
    pub(super) reads_text: bool,
    pub(super) chat_template: Option<ChatTemplate>,
    pub(super) sampling: Vec<Sampling>,
}

/// Everything that stands in the way; `spec` is what [`crate::arch::spec_and_rest`] said of the same file.
///
/// # Errors
/// [`ErrorKind::OutOfMemory`]: a shortage says nothing about the file.
pub(super) fn find(gguf: &Gguf, spec: std::result::Result<(&Spec, &[String]), &Error>) -> Result<Found> {
    let lasting = |error: Error| if error.kind() == ErrorKind::OutOfMemory { Err(error) } else { Ok(error) };
    let mut found = Found {
        problems: formats(gguf, spec.ok().map(|(spec, _)| spec)),
        warnings: Vec::new(),
        reads_text: true,
        chat_template: None,
        sampling: Vec::new(),
    };
    match spec {
        Ok((spec, unknown)) => {
            if !unknown.is_empty() {
                let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
                found.warnings.push(format!("keys that are not known, and not used: {}", some(&names)));
            }
            if let Some(most) = spec.context_most {
                found.warnings.push(format!(
                    "contexts end at {most} tokens here, as many as the indexer of its attention keeps: choosing among more is \
                     not supported"
                ));
            }
            found.problems.extend(tensors(gguf, spec));
            if spec.ropes.iter().any(|rope| matches!(rope.factors, Some(RopeFactors::Given(_)))) {
                let name = Role::RopeFreqs.name();
                found.warnings.push(format!("{name} is missing; the divisors of the family are used instead"));
            }
        }
        Err(error) => found.problems.push(error.to_string()),
    }
    // A model without a usable tokenizer still computes logits, and can be measured.
    match tokenizer(gguf) {
        Ok(None) => {}
        Ok(Some(warning)) => found.warnings.push(warning),
        Err(error) => {
            let error = lasting(error)?;
            found.reads_text = false;
            found.warnings.push(format!("text cannot be tokenized: {error}"));
        }
    }
    match talk::template(gguf) {
        Ok(template) => found.chat_template = template,
        Err(error) => found.warnings.push(format!("the chat template does not work: {}", lasting(error)?)),
    }
    match talk::sampling(gguf) {
        Ok(sampling) => found.sampling = sampling,
        Err(error) => found.warnings.push(format!("the recommended sampling is invalid: {}", lasting(error)?)),
    }
    found.warnings.extend(talk::unapplied(gguf));
    Ok(found)
}

fn tokenizer(gguf: &Gguf) -> Result<Option<String>> {
    Ok(Tokenizer::from_gguf(gguf)?.warning().map(str::to_owned))
}

/// One message per format that cannot be computed with. What nothing computes with may be of any.
fn formats(gguf: &Gguf, spec: Option<&Spec>) -> Vec<String> {
    let spare = spec.map(|spec| arch::ignored_tensors(gguf, spec)).unwrap_or_default();
    let mut by_name: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for tensor in gguf.tensors().filter(|tensor| tensor.dtype().is_none() && !spare.contains(&tensor.name)) {
        by_name.entry(tensor.format.name()).or_default().push(&tensor.name);
    }
    by_name.into_iter().map(|(format, names)| format!("format {format} is not supported: {}", some(&names))).collect()
}

/// Tensors that are missing or of another shape.
fn tensors(gguf: &Gguf, spec: &Spec) -> Vec<String> {
    if gguf.tensors().len() == 0 {
        return vec!["there are no tensors: this is a vocabulary only".into()];
    }
    let mut missing = Vec::new();
    let misshapen = arch::misshapen(gguf, spec).take(SHOWN);
    let mut problems: Vec<String> = misshapen
        .map(|(name, wanted, found)| format!("tensor {name}: wanted {wanted:?} values, found {found:?}"))
        .collect();
    for (name, _) in spec.tensors() {
        // Some converters leave the usual suffix of a name out.
        let bare = name.trim_end_matches(".weight").trim_end_matches(".bias");
        if gguf.tensor(&name).is_none() && gguf.tensor(bare).is_none() {
            missing.push(name);
        }
    }
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        problems.push(format!("missing tensors: {}", some(&names)));
    }
    let unused = arch::unused_tensors(gguf, spec);
    if !unused.is_empty() {
        let names: Vec<&str> = unused.iter().map(String::as_str).collect();
        problems.push(format!("tensors that a model of {} has no use for: {}", spec.arch, some(&names)));
    }
    let tokens = gguf.array("tokenizer.ggml.tokens").ok().flatten().map_or(0, crate::gguf::Array::len);
    if tokens > spec.vocab {
        problems.push(format!(
            "{tokens} tokens, but {} has {} rows: one per token is needed",
            Role::TokenEmbd.stem(),
            spec.vocab
        ));
    }
    problems
}

/// The first names of a list, and how many more there are.
fn some(names: &[&str]) -> String {
    let mut text = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
