//! GGUF files that are taken for models and are none: what they are, and what to do instead.

use super::file::Gguf;
use super::value::MetaValue;
use crate::{Error, ErrorKind, Result};

/// Refuses GGUF files that hold something else than a model.
///
/// # Errors
/// [`Error::Input`] that says what the file is.
pub(super) fn check(gguf: &Gguf) -> Result<()> {
    let text = |key: &str| match gguf.value(key) {
        Some(MetaValue::Text(text)) => text.as_str(),
        _ => "",
    };
    let (kind, arch) = (text("general.type"), text("general.architecture"));
    let has = |key: &str| gguf.value(key).is_some();
    let other = format!("a file of the kind \"{}\" (its general.type)", crate::text::brief(kind));
    let is_lora = |name: &str| name.ends_with(".lora_a") || name.ends_with(".lora_b");
    let (found, hint) = if arch == "controlvector" || text("adapter.type") == "control_vector" {
        ("a control vector, which steers a model", "it cannot be applied; give the model itself")
    } else if kind == "adapter" || has("adapter.type") || gguf.tensors().any(|tensor| is_lora(&tensor.name)) {
        ("a LoRA adapter", "adapters cannot be applied; merge it into its model first")
    } else if kind == "imatrix" || has("imatrix.chunk_count") {
        ("an importance matrix (imatrix), which helps to quantize a model", "give the model itself")
    } else if kind == "mmproj" || arch == "clip" {
        ("a projector for images (mmproj), a companion of a model", "give the model itself")
    } else if matches!(kind, "vocab" | "vocabulary") && gguf.tensors().len() > 0 {
        ("a vocabulary, as its key general.type says", "give the model itself")
    } else if !matches!(kind, "" | "model") && gguf.tensors().len() > 0 {
        (other.as_str(), "give the model itself")
    } else {
        return Ok(());
    };
    Err(Error::input(gguf.path().display().to_string(), "a model", found).of(ErrorKind::NotAModel).hint(hint))
}

impl Gguf {
    /// Refuses a file that only holds a vocabulary.
    ///
    /// # Errors
    /// [`Error::Input`] for a file without tensors.
    pub fn need_weights(&self) -> Result<()> {
        if self.tensors().len() > 0 {
            return Ok(());
        }
        let (found, hint) = match self.value("tokenizer.ggml.tokens") {
            Some(_) => ("no tensors, only a vocabulary", "it can be used with tokki tokenize and tokki template"),
            None => ("no tensors, and no vocabulary", "the file is a header alone: fetch it again"),
        };
        let place = self.path().display().to_string();
        Err(Error::input(place, "a model with weights", found).of(ErrorKind::NotAModel).hint(hint))
    }
}
