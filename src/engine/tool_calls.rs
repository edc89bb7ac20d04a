//! Calls that a model makes of itself: their arguments keep to the schemas of their tools, all else is free.

use crate::Result;
use crate::chat::{Argument, ArgumentWatch, Tools};
use crate::sample::{Constraint, Form, GrammarConstraint, Grammars, Mask};
use crate::tokenizer::{StreamDecoder, Tokenizer};
use std::sync::Arc;

/// Holds the arguments of calls while they are written. A grammar is made when a value begins, for its tool alone: an answer
/// without calls costs nothing.
pub(super) struct HeldCalls {
    grammars: Arc<Grammars>,
    tokenizer: Arc<Tokenizer>,
    decoder: StreamDecoder,
    watch: ArgumentWatch,
    held: Option<GrammarConstraint>,
    /// Of a place that is free.
    any: Mask,
}

impl HeldCalls {
    /// For an answer that may call `tools`.
    pub(super) fn new(grammars: Arc<Grammars>, tokenizer: &Arc<Tokenizer>, tools: Tools) -> Self {
        let decoder = tokenizer.stream();
        let any = Mask::from_words(vec![u32::MAX; tokenizer.vocab_size().div_ceil(32)]);
        Self { grammars, tokenizer: Arc::clone(tokenizer), decoder, watch: ArgumentWatch::new(tools), held: None, any }
    }

    fn text_of(&mut self, token: u32) -> String {
        if self.tokenizer.is_control(token) {
            return self.tokenizer.token_text(token).unwrap_or_default().into_owned();
        }
        self.decoder.push(token).unwrap_or_default()
    }

    /// Holds the value that begins here, if there is one. What cannot be held (a schema that needs too much work, a beginning
    /// that does not fit it) stays free: an answer is never lost for it.
    fn hold(&mut self) {
        let Some((argument, written)) = self.watch.begin() else { return };
        let form = match argument {
            Argument::Json(schema, end) => Form::Within { schema, end },
            Argument::Texts(texts, end) => Form::one_of(&texts, end),
        };
        let held = self.grammars.constraint(&form).and_then(|mut held| held.accept_text(written).map(|()| held));
        match held {
            Ok(held) => self.held = (!self.watch.ended()).then_some(held),
            Err(_) => self.watch.give_up(),
        }
    }
}

impl Constraint for HeldCalls {
    fn is_free(&self) -> bool {
        self.held.is_none()
    }

    fn is_of_calls(&self) -> bool {
        true
    }

    fn allowed(&mut self) -> Result<&Mask> {
        match &mut self.held {
            Some(held) => held.allowed(),
            None => Ok(&self.any),
        }
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        let text = self.text_of(token);
        self.watch.push(&text);
        match &mut self.held {
            Some(held) => {
                held.accept(token)?;
                if self.watch.ended() {
                    self.held = None;
                }
            }
            None => self.hold(),
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        false
    }
}

crate::text::opaque!(HeldCalls);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::Rng;
    use crate::tokenizer::Special;
    use serde_json::{Value, json};

    struct Writer {
        tokenizer: Arc<Tokenizer>,
        held: HeldCalls,
        text: String,
        random: Rng,
    }

    impl Writer {
        fn new(parameters: &Value, seed: u64) -> Self {
            let writer = crate::testing::vocabulary(crate::testing::Writer::new("llama"));
            let gguf = crate::gguf::Gguf::from_bytes(std::path::Path::new("calls"), &writer.bytes()).unwrap();
            let tokenizer = Arc::new(Tokenizer::from_gguf(&gguf).unwrap());
            let words = (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.bytes(id));
            let grammars = Arc::new(Grammars::new(words, tokenizer.eog()).unwrap());
            let tool = json!({ "type": "function", "function": { "name": "f", "parameters": parameters } });
            let held = HeldCalls::new(grammars, &tokenizer, Tools::read(&[tool]).unwrap());
            Self { tokenizer, held, text: String::new(), random: Rng::new(seed) }
        }

        /// The model writes this.
        fn write(&mut self, text: &str) {
            for token in self.tokenizer.encode(text, Special::Plain) {
                let piece = self.tokenizer.token_text(token).unwrap();
                let fits = self.held.is_free() || self.held.allowed().unwrap().contains(token);
                assert!(fits, "{}|{piece}| of {text}", self.text);
                self.held.accept(token).unwrap();
                self.text += &piece;
            }
        }

        /// It writes whatever it may until nothing holds it any more; returns the tokens' text.
        fn babble(&mut self) -> String {
            let mut text = String::new();
            for step in 0..400 {
                if self.held.is_free() {
                    return text;
                }
                let mask = self.held.allowed().unwrap();
                // What ends things is preferred after a while.
                let likes = |id: &u32| step < 40 || b"}]\"0\n</parmetFC,:".contains(&(self.tokenizer.bytes(*id)[0]));
                let text_tokens = (0..258).filter(|&id| mask.contains(id) && self.tokenizer.bytes(id)[0].is_ascii());
                let all: Vec<u32> = text_tokens.collect();
                let liked: Vec<u32> = all.iter().copied().filter(likes).collect();
                let from = if liked.is_empty() { &all } else { &liked };
                let token = from[self.random.below(from.len())];
                self.held.accept(token).unwrap();
                text.push_str(std::str::from_utf8(self.tokenizer.bytes(token)).unwrap());
            }
            panic!("it does not end: {text}");
        }
    }

    fn parameters() -> Value {
        json!({
            "type": "object",
            "properties": { "unit": { "enum": ["C", "F"] }, "days": { "type": "integer" } },
            "required": ["unit", "days"],
            "additionalProperties": false,
        })
    }

    #[test]
    fn arguments_keep_to_the_schema_whatever_the_model_likes() {
        for seed in 0..30 {
            let mut writer = Writer::new(&parameters(), seed);
            writer.write("Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\":");
            let arguments = writer.babble();
            let read: Value = serde_json::from_str(&arguments).unwrap_or_else(|why| panic!("{arguments}: {why}"));
            assert!(["C", "F"].iter().any(|unit| read["unit"] == *unit) && read["days"].is_i64(), "{arguments}");
            writer.write("}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {");
            assert!(!writer.held.is_free());
            let rest = writer.babble();
            let read: Value = serde_json::from_str(&format!("{{{rest}")).unwrap_or_else(|why| panic!("{rest}: {why}"));
            assert!(read["days"].is_i64(), "{rest}");
            writer.write("} and so on: \"arguments\": \"free\"");
            assert!(writer.held.is_free());
        }
    }

    #[test]
    fn values_between_marks_keep_to_theirs() {
        let typed = json!({ "type": "object", "properties": {
            "days": { "type": "integer" }, "unit": { "type": "string", "enum": ["C", "F"] }, "note": { "type": "string" }
        }});
        for seed in 0..10 {
            let mut writer = Writer::new(&typed, seed);
            writer.write(
                "<tool_call>\n<function=f>\n<parameter=note>\n12, \"arguments\": {\n</parameter>\n<parameter=days>",
            );
            let days = writer.babble();
            let days = days.strip_suffix("</parameter>").unwrap();
            // It may be longer than any type of ours.
            let digits = days.trim().trim_start_matches('-');
            assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "{days:?}");
            writer.write("\n<parameter=unit>");
            let unit = writer.babble();
            assert!(["C", "F"].contains(&unit.strip_suffix("</parameter>").unwrap().trim()), "{unit:?}");
            writer.write("\n</function>\n</tool_call>");
            assert!(writer.held.is_free());
        }
    }

    #[test]
    fn what_cannot_be_held_stays_free() {
        // The model has begun something else, or nothing fits.
        let mut writer = Writer::new(&parameters(), 1);
        writer.write("<tool_call>\n{\"name\": \"g\", \"arguments\": {\"x\": 1}}");
        assert!(writer.held.is_free() && writer.held.allowed().unwrap().contains(259));
        let nothing = json!({ "type": "object", "properties": { "a": { "$ref": "#/nowhere" } } });
        let mut writer = Writer::new(&nothing, 1);
        writer.write("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}");
        assert!(writer.held.is_free());
    }
}
