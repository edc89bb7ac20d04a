//! `tokki show`: what a model is, whether it can be run, and what it takes.

use super::output::{Paint, json, result, table};
use crate::describe::{ChatTemplate, Description, Dimensions};
use crate::gguf::{CHAT_TEMPLATE, Gguf};
use crate::store;
use crate::text::{self, BRIEF};
use crate::units::show_bytes;
use crate::{Error, Result};
use std::ffi::OsString;
use std::io::{self, Write};

/// Describes a model without loading it
///
/// Names everything that stands in the way of running it: the architecture, formats, missing tensors.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki show model.gguf               architecture, formats, memory, problems
  tokki show model.gguf --json        the same for programs
  tokki show model.gguf --template    the chat template as the file has it
  tokki show model.gguf --tensors     every tensor with its format and shape")]
pub(super) struct ShowArgs {
    /// A path or a store name
    model: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List all keys instead
    #[arg(long, group = "what")]
    keys: bool,
    /// List all tensors instead
    #[arg(long, group = "what")]
    tensors: bool,
    /// Print the chat template instead
    #[arg(long, group = "what")]
    template: bool,
}

pub(super) fn run(args: &ShowArgs) -> Result<()> {
    let gguf = Gguf::open(&store::resolve(&args.model)?)?;
    if args.template {
        let Some(template) = gguf.str(CHAT_TEMPLATE)? else {
            let file = args.model.to_string_lossy();
            return Err(Error::usage(format!("{file} has no chat template: it is a model for plain text.")));
        };
        return if args.json { json(&template) } else { super::output::foreign(&format!("{template}\n")) };
    }
    if args.keys {
        return keys(&gguf, args.json);
    }
    if args.tensors {
        return tensors(&gguf, args.json);
    }
    let description = Description::of(&gguf)?;
    gguf.intact()?;
    if args.json { json(&description) } else { result(|out| Page { out, paint: Paint::stdout() }.write(&description)) }
}

fn keys(gguf: &Gguf, as_json: bool) -> Result<()> {
    let value = |value| crate::describe::json(value);
    if as_json {
        let all: serde_json::Map<_, _> = gguf.keys().map(|(key, found)| (key.to_owned(), value(found))).collect();
        return json(&all);
    }
    let short = |text: String| match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    };
    let rows: Vec<_> = gguf
        .keys()
        .map(|(key, found)| vec![brief(key), short(text::line(&value(found).to_string()).into_owned())])
        .collect();
    result(|out| table(out, Paint::stdout(), &["KEY", "VALUE"], &rows))
}

fn tensors(gguf: &Gguf, as_json: bool) -> Result<()> {
    if as_json {
        let all = gguf.tensors().map(|t| {
            serde_json::json!({ "name": t.name, "format": t.format.name(), "supported": t.dtype().is_some(),
                "shape": t.shape, "bytes": t.bytes })
        });
        return json(&all.collect::<Vec<_>>());
    }
    let row = |t: &crate::gguf::TensorInfo| {
        let shape = t.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        vec![brief(&t.name), t.format.name(), shape, t.bytes.map_or_else(|| "?".into(), show_bytes)]
    };
    let rows: Vec<_> = gguf.tensors().map(row).collect();
    result(|out| table(out, Paint::stdout(), &["TENSOR", "FORMAT", "SHAPE", "SIZE"], &rows))
}

/// A text from a file, on one line and of a length that can be read.
fn brief(text: &str) -> String {
    text::line(&text::shorten(text, BRIEF)).into_owned()
}

/// `32.0B`, `135M`.
fn count(n: u64) -> String {
    let n = n as f64;
    let (value, unit) = match n {
        1e9.. => (n / 1e9, "B"),
        1e6.. => (n / 1e6, "M"),
        1e3.. => (n / 1e3, "K"),
        _ => (n, ""),
    };
    let decimals = usize::from(value < 100.0 && !unit.is_empty());
    format!("{value:.decimals$}{unit}")
}

/// `system messages, tools, thinking that can be turned on`.
fn template(template: &ChatTemplate) -> String {
    let system = match template.system {
        "supported" => "system messages",
        "ignored" => "no system messages (they are dropped)",
        "cut" => "no whole system messages (they are cut, or left out later)",
        _ => "no system messages (they are refused)",
    };
    let thinking = match (template.thinking, template.thinking_default) {
        ("none", _) => "no thinking",
        ("forced", _) => "always thinks",
        ("free", _) => "thinks by its own choice",
        ("effort", _) => "thinking by effort",
        (_, Some(true)) => "thinks unless told not to",
        _ => "thinks when told to",
    };
    format!("{system}, {}, {thinking}", if template.tools { "tools" } else { "no tools" })
}

/// The page for people.
struct Page<'a> {
    out: &'a mut dyn Write,
    paint: Paint,
}

impl Page<'_> {
    fn write(&mut self, model: &Description) -> io::Result<()> {
        writeln!(self.out, "{}", self.paint.bold(&brief(&model.name)))?;
        self.line("architecture", model.architecture.as_deref().unwrap_or("none named"))?;
        let mut parameters = count(model.parameters);
        if model.active_parameters > 0 && model.active_parameters < model.parameters {
            parameters = format!("{parameters}, {} active per token", count(model.active_parameters));
        }
        self.line("parameters", &parameters)?;
        let files = if model.files == 1 { String::new() } else { format!(" in {} files", model.files) };
        let rows = if model.layout == "plain" { String::new() } else { format!(", rows {}", model.layout) };
        let size = show_bytes(model.file_bytes);
        self.line("quantization", &format!("{}, {size}{files}{rows}", model.quantization))?;
        if let Some(license) = &model.license {
            self.line("license", license)?;
        }
        if let Some(dimensions) = &model.dimensions {
            self.dimensions(dimensions)?;
        }
        self.text(model)?;
        self.formats(model)?;
        self.memory(model)?;
        self.verdict(model)
    }

    /// One fact.
    fn line(&mut self, name: &str, value: &str) -> io::Result<()> {
        writeln!(self.out, "  {name:<14}{}", brief(value))
    }

    fn dimensions(&mut self, d: &Dimensions) -> io::Result<()> {
        self.line("context", &format!("{} tokens", d.context))?;
        let window = match d.window {
            Some(window) => format!(", {} of them see the last {window} tokens", d.windowed_layers),
            None => String::new(),
        };
        self.line("layers", &format!("{}{window}", d.layers))?;
        self.line("embedding", &d.embedding.to_string())?;
        let heads = format!("{} x {}, {} of keys and values", d.heads, d.key_length, d.kv_heads);
        let values = if d.value_length == d.key_length { String::new() } else { format!(" x {}", d.value_length) };
        self.line("heads", &format!("{heads}{values}"))?;
        self.line("feed-forward", &d.feed_forward.to_string())?;
        if let Some(experts) = &d.experts {
            let shared = experts.shared.map_or_else(String::new, |width| format!(", and a shared one of {width}"));
            let (used, count, width) = (experts.used, experts.count, experts.width);
            self.line("experts", &format!("{used} of {count} x {width}{shared}"))?;
        }
        for rope in &d.rope {
            self.line("positions", rope)?;
        }
        self.line("vocabulary", &format!("{} tokens", d.vocabulary))
    }

    /// Tokenizer, template, and what the vendor recommends.
    fn text(&mut self, model: &Description) -> io::Result<()> {
        let vocabulary = &model.vocabulary;
        let kind = vocabulary.model.as_deref().unwrap_or("none");
        let pre = vocabulary.pre.as_ref().map_or_else(String::new, |pre| format!(", split as {pre}"));
        self.line("tokenizer", &format!("{kind}{pre}"))?;
        let template = model.chat_template.as_ref().map_or("none: a model for plain text".to_owned(), template);
        self.line("chat template", &template)?;
        let mut name = "sampling";
        for same in model.sampling.chunk_by(|a, b| a.origin == b.origin) {
            let all: Vec<_> = same.iter().map(|s| format!("{} {}", s.name, s.value)).collect();
            self.line(name, &format!("{} ({})", all.join(", "), same[0].origin))?;
            name = "";
        }
        Ok(())
    }

    fn formats(&mut self, model: &Description) -> io::Result<()> {
        let rows: Vec<_> = model
            .formats
            .iter()
            .map(|format| {
                let note = if format.supported { String::new() } else { self.paint.bad("not supported") };
                vec![format!("  {}", format.name), format.tensors.to_string(), show_bytes(format.bytes), note]
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(self.out)?;
        table(self.out, self.paint, &["  FORMAT", "TENSORS", "SIZE", ""], &rows)
    }

    /// Caches by context, a column per kind.
    fn memory(&mut self, model: &Description) -> io::Result<()> {
        if model.memory.is_empty() {
            return Ok(());
        }
        let mut kinds: Vec<&str> = Vec::new();
        let mut rows: Vec<Vec<String>> = Vec::new();
        for entry in &model.memory {
            if !kinds.contains(&entry.kv_type) {
                kinds.push(entry.kv_type);
            }
            let context = format!("  {}", entry.context);
            if rows.last().is_none_or(|row| row[0] != context) {
                rows.push(vec![context]);
            }
            if let Some(row) = rows.last_mut() {
                row.push(show_bytes(model.weight_bytes.saturating_add(entry.cache_bytes)));
            }
        }
        let columns = kinds.into_iter().map(|kind| format!("WITH {kind} CACHE"));
        let head: Vec<String> = std::iter::once("  CONTEXT".to_owned()).chain(columns).collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        writeln!(self.out)?;
        table(self.out, self.paint, &head, &rows)
    }

    fn verdict(&mut self, model: &Description) -> io::Result<()> {
        writeln!(self.out)?;
        let beside = |name: &&String| ["v.", "mm.", "a."].iter().any(|start| name.starts_with(start));
        let (beside, others): (Vec<&String>, Vec<&String>) = model.ignored_tensors.iter().partition(beside);
        if !beside.is_empty() {
            writeln!(self.out, "{} tensors for images and sounds are not used: text alone is computed", beside.len())?;
        }
        if let Some(first) = others.first() {
            writeln!(self.out, "{} tensors are not used ({}, ...)", others.len(), brief(first))?;
        }
        for warning in &model.warnings {
            writeln!(self.out, "warning: {}", brief(warning))?;
        }
        for problem in &model.problems {
            writeln!(self.out, "{} {}", self.paint.bad("problem:"), brief(problem))?;
        }
        let verdict = match (model.runnable, model.chats) {
            (true, _) if !model.reads_text => {
                self.paint.bad("cannot be run: its text cannot be tokenized (logits and bench work)")
            }
            (true, true) => self.paint.good("can be run"),
            (true, false) => self.paint.good("can be run with --raw; it cannot chat"),
            (false, _) => self.paint.bad("cannot be run"),
        };
        writeln!(self.out, "{verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        let cases = [(0, "0"), (999, "999"), (1500, "1.5K"), (134_515_008, "135M"), (32_003_000_000, "32.0B")];
        for (n, text) in cases {
            assert_eq!(count(n), text);
        }
        assert_eq!(count(671_026_419_200), "671B");
    }

    #[test]
    fn nothing_from_a_file_reaches_the_terminal_as_a_command() {
        assert_eq!(brief("a\x1b[2Jb\r\n토끼"), "a␛[2Jb␍␊토끼");
    }
}
