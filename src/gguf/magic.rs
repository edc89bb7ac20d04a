//! How files begin that are no GGUF files: what they are, and what to do instead.

/// What a file that doesn't begin as GGUF does is, and what to do.
pub(super) fn kind(bytes: &[u8]) -> (String, &'static str) {
    let start = bytes.get(..512).unwrap_or(bytes);
    let bare = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let begins = |with: &[u8]| bare.starts_with(with);
    let text = String::from_utf8_lossy(bare).trim_start().to_lowercase();
    let known = if start.get(8) == Some(&b'{') && start.get(6..8) == Some(&[0, 0]) {
        Some(("a safetensors file", "take the model's GGUF, or convert it"))
    } else if text.starts_with("<?xml") || text.starts_with("<error") {
        Some(("XML", "it may be the error that a server gave instead of the file"))
    } else if text.starts_with("<svg") {
        Some(("an image (SVG)", "give the model itself"))
    } else if text.starts_with('<') {
        Some(("a web page (HTML)", "the address was that of a page: download the file itself"))
    } else if begins(b"version https://git-lfs") {
        Some(("a Git LFS pointer", "the repository was cloned without its large files: run git lfs pull"))
    } else if begins(b"PK\x03\x04") {
        Some(("a zip archive (a PyTorch checkpoint is one)", "unpack it, or take the model's GGUF"))
    } else if begins(b"\x1f\x8b") {
        Some(("a file compressed by gzip", "unpack it first: gunzip FILE"))
    } else if begins(b"\x28\xb5\x2f\xfd") || begins(b"BZh") || begins(b"\xfd7zXZ") || begins(b"7z\xbc\xaf") {
        Some(("a compressed archive", "unpack it first"))
    } else if begins(b"tjgg") || begins(b"lmgg") || begins(b"fmgg") || begins(b"algg") {
        Some(("a model in the old GGML form, from before GGUF", "take the model's GGUF"))
    } else if bytes.get(257..262) == Some(b"ustar") || begins(b"Rar!") {
        Some(("an archive", "unpack it first"))
    } else if begins(b"\x80\x02") || begins(b"\x80\x04") {
        Some(("a PyTorch checkpoint (pickle)", "take the model's GGUF, or convert it"))
    } else if begins(b"/annex/") || begins(b"../.git/annex/") || begins(b".git/annex/") {
        Some(("a git-annex pointer", "the repository was cloned without its large files: run git annex get"))
    } else if is_matrix(start) {
        Some(("an importance matrix (imatrix), which helps to quantize a model", "give the model itself"))
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

/// An importance matrix in the form from before GGUF: how many entries, then the length of the first one's name, and the name
/// of a tensor.
fn is_matrix(start: &[u8]) -> bool {
    let number = |at: usize| start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let len = number(4).filter(|len| (4..200).contains(len)).unwrap_or_default() as usize;
    let name = start.get(8..8 + len).unwrap_or_default();
    number(0).is_some_and(|count| (1..1 << 20).contains(&count)) && name.ends_with(b".weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named() {
        for (bytes, what) in [
            (&b"<!DOCTYPE html><html>"[..], "web page"),
            (b"\n <html>", "web page"),
            (b"\xef\xbb\xbf<!DOCTYPE html>", "web page"),
            (b"<?xml version=\"1.0\"?><Error>AccessDenied</Error>", "XML"),
            (b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\n", "LFS"),
            (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
            (b"\x40\0\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"<\x01\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"PK\x03\x04....", "PyTorch"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"tjgg", "old GGML"),
            (b"algg\x01\0\0\0", "old GGML"),
            (b"Rar!\x1a\x07\0", "archive"),
            (&[&b"m.gguf"[..], &[0; 251], b"ustar\x0000"].concat(), "archive"),
            (b"\x80\x02}q\x00", "pickle"),
            (b"/annex/objects/MD5E-s5--aa.gguf\n", "git-annex"),
            (b"<svg xmlns=", "SVG"),
            (b"\x02\0\0\0\x13\0\0\0blk.0.attn_q.weight\0\0", "importance matrix"),
            (b"\x02\0\0\0\x13\0\0\0blk.0.attn_q.weigh\0\0", "`\\x02"),
            (b"{\"error\": 1}", "JSON"),
            (b"\x10\0\0\0", "`\\x10\\x00\\x00\\x00`"),
            (b"ab", "`ab`"),
        ] {
            let (found, hint) = kind(bytes);
            assert!(found.contains(what) && !hint.is_empty(), "{found}");
        }
    }
}
