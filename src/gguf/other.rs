//! Files that are taken for models and are none: what they are, and what to do instead.

use super::{Gguf, Value};
use crate::{Error, ErrorKind, Result};

/// What a file that doesn't begin as GGUF does is, and what to do.
pub(super) fn kind(bytes: &[u8]) -> (String, &'static str) {
    let start = bytes.get(..512).unwrap_or(bytes);
    let begins = |with: &[u8]| start.starts_with(with);
    let text = String::from_utf8_lossy(start).to_lowercase();
    let known = if start.get(8) == Some(&b'{') && start.get(6..8) == Some(&[0, 0]) {
        Some(("a safetensors file", "take the model's GGUF, or convert it"))
    } else if text.trim_start().starts_with('<') {
        Some(("a web page (HTML)", "the address was that of a page: download the file itself"))
    } else if begins(b"version https://git-lfs") {
        Some(("a Git LFS pointer", "the repository was cloned without its large files: run git lfs pull"))
    } else if begins(b"PK\x03\x04") {
        Some(("a zip archive (a PyTorch checkpoint is one)", "unpack it, or take the model's GGUF"))
    } else if begins(b"\x1f\x8b") {
        Some(("a file compressed by gzip", "unpack it first: gunzip FILE"))
    } else if begins(b"\x28\xb5\x2f\xfd") || begins(b"BZh") || begins(b"\xfd7zXZ") || begins(b"7z\xbc\xaf") {
        Some(("a compressed archive", "unpack it first"))
    } else if begins(b"tjgg") || begins(b"lmgg") || begins(b"fmgg") {
        Some(("a model in the old GGML form, from before GGUF", "take the model's GGUF"))
    } else if begins(b"{") || begins(b"[") {
        Some(("JSON", "it may be the error that a server gave instead of the file"))
    } else {
        None
    };
    match known {
        Some((what, hint)) => (what.to_owned(), hint),
        None => {
            let magic = start.get(..4).unwrap_or(start);
            (format!("`{}`", magic.escape_ascii()), "only GGUF models can be read")
        }
    }
}

/// Refuses GGUF files that hold something else than a model.
///
/// # Errors
/// [`Error::Input`] that says what the file is.
pub(super) fn check(gguf: &Gguf) -> Result<()> {
    let text = |key: &str| match gguf.value(key) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let (kind, arch) = (text("general.type"), text("general.architecture"));
    let has = |key: &str| gguf.value(key).is_some();
    let other = format!("a file of the kind \"{}\" (its general.type)", crate::text::brief(kind));
    let (found, hint) = if arch == "controlvector" {
        ("a control vector, which steers a model", "it cannot be applied; give the model itself")
    } else if kind == "adapter" || has("adapter.type") {
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
        Err(Error::input(self.path().display().to_string(), "a model with weights", "no tensors, only a vocabulary")
            .of(ErrorKind::NotAModel)
            .hint("it can be used with tokki tokenize and tokki template"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named() {
        for (bytes, what) in [
            (&b"<!DOCTYPE html><html>"[..], "web page"),
            (b"\n <html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
            (b"\x40\0\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"<\x01\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"PK\x03\x04....", "PyTorch"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"tjgg", "old GGML"),
            (b"{\"error\": 1}", "JSON"),
            (b"\x10\0\0\0", "`\\x10\\x00\\x00\\x00`"),
            (b"ab", "`ab`"),
        ] {
            let (found, hint) = kind(bytes);
            assert!(found.contains(what) && !hint.is_empty(), "{found}");
        }
    }
}
