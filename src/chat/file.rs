//! The template and the special texts that a model's file carries.

use super::{Template, Vars};
use crate::gguf::{CHAT_TEMPLATE, Gguf};
use crate::{Error, ErrorKind, Result};

impl Template {
    /// The chat template of a model, with `bos_token`, `eos_token`, `unk_token` and `pad_token` as its tokenizer has
    /// them.
    ///
    /// # Errors
    /// A file without a template, and one whose template does not parse. There is no template to fall back to: another
    /// model's would give nonsense.
    #[doc(hidden)]
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let source = gguf.str(CHAT_TEMPLATE)?.ok_or_else(|| {
            Error::input(
                gguf.path().display().to_string(),
                format!("a chat template ({CHAT_TEMPLATE})"),
                "none: this is a model for plain text",
            )
            .of(ErrorKind::NoTemplate)
            .hint("use `raw` to complete text as it is")
        })?;
        let mut template = Self::new(source, CHAT_TEMPLATE)?;
        template.set_defaults(special_texts(gguf)?);
        Ok(template)
    }
}

/// Texts of the special tokens that the file names. A token that it does not name stays undefined, as in the reference
/// implementation, except those that the `llama` tokenizer has by definition.
fn special_texts(gguf: &Gguf) -> Result<Vars> {
    let spm = gguf.str("tokenizer.ggml.model")? == Some("llama");
    let table = [
        ("bos_token", "tokenizer.ggml.bos_token_id", Some(1)),
        ("eos_token", "tokenizer.ggml.eos_token_id", Some(2)),
        ("unk_token", "tokenizer.ggml.unknown_token_id", Some(0)),
        ("pad_token", "tokenizer.ggml.padding_token_id", None),
    ];
    let mut vars = Vars::new();
    for (name, key, by_definition) in table {
        let Some(id) = gguf.token_id(key)?.or(by_definition.filter(|_| spm)) else { continue };
        let text = gguf.strings("tokenizer.ggml.tokens")?.and_then(|mut texts| texts.nth(id as usize));
        if let Some(text) = text {
            vars.insert(name.to_owned(), String::from_utf8_lossy(text).into_owned().into());
        }
    }
    Ok(vars)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::Writer;

    fn open(writer: Writer) -> Gguf {
        let file = tempfile::NamedTempFile::with_suffix(".gguf").unwrap();
        std::fs::write(file.path(), writer.bytes()).unwrap();
        Gguf::open(file.path()).unwrap()
    }

    fn model() -> Writer {
        Writer::new("llama")
            .text("tokenizer.ggml.model", "gpt2")
            .texts("tokenizer.ggml.tokens", &["a", "<s>", "</s>", "b"])
    }

    #[test]
    fn template_and_special_texts_come_from_the_file() {
        let source = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token is defined }}";
        let gguf = open(
            model()
                .text(CHAT_TEMPLATE, source)
                .u32("tokenizer.ggml.bos_token_id", 1)
                .u32("tokenizer.ggml.eos_token_id", 2),
        );
        let template = Template::from_gguf(&gguf).unwrap();
        let mut vars: Vars = serde_json::from_str(r#"{"messages": [{"role": "user", "content": "Hi"}]}"#).unwrap();
        assert_eq!(template.render(&vars).unwrap(), "<s>Hi</s>False");
        vars.insert("bos_token".into(), "[B]".into());
        assert_eq!(template.render(&vars).unwrap(), "[B]Hi</s>False");
    }

    #[test]
    fn no_template_is_an_error_that_says_so() {
        let error = Template::from_gguf(&open(model())).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("tokenizer.chat_template") && text.contains("`raw`"), "{text}");
        let error = Template::from_gguf(&open(model().text(CHAT_TEMPLATE, "\n{% if %}"))).unwrap_err().to_string();
        assert!(error.contains("tokenizer.chat_template, line 2"), "{error}");
    }
}
