//! A chat template, and its rendering within limits.

use super::{dialect, json, meter, statements};
use crate::{Error, Result};
use chrono::NaiveDateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, machinery};
use std::collections::BTreeMap;

/// Template variables: `messages`, and optionally `tools`, `add_generation_prompt`, `enable_thinking`, `bos_token`, ...
pub type Vars = serde_json::Map<String, serde_json::Value>;

/// Longest template source, in bytes (the longest of known models has under 20 KB).
const MAX_SOURCE: usize = 1 << 20;
/// Fuel of a rendering before its input is counted. One fuel pays for one instruction or 64 bytes of text made, so this
/// bounds both time (a fraction of a second) and memory (128 MB).
const FUEL: u64 = 2_000_000;
/// Deepest nesting of loops, blocks and macro calls; a macro call counts several times (the engine's own maximum).
const RECURSION: usize = 500;
/// Longest output before its input is counted, in bytes; every byte of input adds [`OUTPUT_PER_INPUT`].
const OUTPUT: usize = 4 << 20;
/// Bytes of output that one byte of input may become (JSON escapes make six of one).
const OUTPUT_PER_INPUT: usize = 8;
/// Renderings get a stack of their own, so that what a template may nest does not depend on who calls. Pages that are
/// not touched cost nothing.
const STACK: usize = 64 << 20;
/// The name that the engine knows the template by.
const NAME: &str = "chat_template";

/// Where `strftime_now` takes the time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's local time.
    #[default]
    Local,
    /// A fixed time: the same prompt on every day.
    Fixed(NaiveDateTime),
}

impl Clock {
    /// A fixed clock from `2026-11-23T09:30:00`, `2026-11-23 09:30` or `2026-11-23`.
    ///
    /// # Errors
    /// Text of another form.
    pub fn parse(text: &str) -> Result<Self> {
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let time = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        let date = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        time.or_else(date)
            .map(Self::Fixed)
            .ok_or_else(|| Error::input("--now", "an ISO time such as 2026-11-23T09:30:00", text))
    }

    fn now(self) -> NaiveDateTime {
        match self {
            Self::Local => chrono::Local::now().naive_local(),
            Self::Fixed(time) => time,
        }
    }
}

/// Compiled code and its blocks.
type Compiled<'a> = (machinery::Instructions<'a>, BTreeMap<&'a str, machinery::Instructions<'a>>);

/// A parsed chat template.
///
/// Renders as the reference implementation (Jinja2 in a sandbox, blocks trimmed, with `tojson`, `strftime_now`,
/// `raise_exception`, `break`/`continue` and `{% generation %}`) does, byte for byte. Whatever the template does, rendering ends: work,
/// memory, depth and output are bounded, and passing a bound is an error.
pub struct Template {
    place: String,
    source: String,
    rewritten: String,
    defaults: Vars,
    clock: Clock,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("place", &self.place).field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Template {
    /// Parses `source`; `place` is what errors name (`tokenizer.chat_template`, a file).
    ///
    /// # Errors
    /// A source that is too long or does not parse: place, line and reason.
    pub fn new(source: impl Into<String>, place: impl Into<String>) -> Result<Self> {
        let (source, place) = (source.into(), place.into());
        if source.len() > MAX_SOURCE {
            return Err(Error::input(
                place,
                format!("a chat template of at most {MAX_SOURCE} bytes"),
                format!("{} bytes", source.len()),
            ));
        }
        let rewritten = statements::rewrite(&source).map_err(|(line, why)| {
            Error::input(format!("{place}, line {line}"), "a chat template within limits", why)
        })?;
        let this = Self { place, source, rewritten, defaults: Vars::new(), clock: Clock::Local };
        // Parsing recurses as well.
        on_own_stack(|| this.compile().map(drop))?.map_err(|error| this.error(&error))?;
        Ok(this)
    }

    /// The same template with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Variables that hold where a rendering does not set them.
    pub fn set_defaults(&mut self, defaults: Vars) {
        self.defaults = defaults;
    }

    pub(crate) fn defaults(&self) -> &Vars {
        &self.defaults
    }

    /// The template's text, as it stands in the file.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What errors name.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Renders the template with `vars`; `add_generation_prompt` is true when `vars` does not say.
    ///
    /// # Errors
    /// Whatever stops the template: its own `raise_exception`, an undefined value, a limit. The error names the
    /// template, the line and the reason.
    pub fn render(&self, vars: &Vars) -> Result<String> {
        let (context, input) = self.context(vars)?;
        let limit = OUTPUT.saturating_add(input.saturating_mul(OUTPUT_PER_INPUT));
        match on_own_stack(|| self.evaluate(context, FUEL.saturating_add(input as u64)))? {
            Ok(text) if text.len() <= limit => Ok(text),
            Ok(text) => Err(Error::input(
                &self.place,
                format!("at most {limit} bytes of output"),
                format!("{} bytes", text.len()),
            )),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Compiles the template, with its operators metered. (Compiled code borrows the source, so it is made anew for
    /// each rendering; that takes less time than the rendering itself.)
    fn compile(&self) -> std::result::Result<Compiled<'_>, minijinja::Error> {
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        let tree = meter::statement(&machinery::parse(&self.rewritten, NAME, syntax.build()?)?)?;
        let mut code = machinery::CodeGenerator::new(NAME, &self.rewritten);
        code.compile_stmt(&tree);
        Ok(code.finish())
    }

    fn evaluate(&self, context: Value, fuel: u64) -> std::result::Result<String, minijinja::Error> {
        let (code, blocks) = self.compile()?;
        let mut env = environment();
        env.set_fuel(Some(fuel));
        let clock = self.clock;
        env.add_function("strftime_now", move |format: &str| dialect::strftime(clock.now(), format));
        let mut text = String::new();
        let mut out = machinery::make_string_output(&mut text);
        machinery::eval(&env, &code, context, &blocks, &mut out, AutoEscape::None)?;
        Ok(text)
    }

    /// The variables as the engine's values, and their size in bytes.
    fn context(&self, vars: &Vars) -> Result<(Value, usize)> {
        let mut size = self.source.len();
        let mut pairs = Vec::with_capacity(vars.len() + 1);
        if !vars.contains_key("add_generation_prompt") && !self.defaults.contains_key("add_generation_prompt") {
            pairs.push(("add_generation_prompt", Value::from(true)));
        }
        let defaults = self.defaults.iter().filter(|(name, _)| !vars.contains_key(*name));
        for (name, value) in defaults.chain(vars) {
            size += name.len() + size_of_json(value);
            let value = json::to_value(value).map_err(|why| {
                Error::input(format!("template variable `{name}`"), "values that a template can hold", why)
            })?;
            pairs.push((name.as_str(), value));
        }
        Ok((Value::from_pairs(pairs), size))
    }

    fn error(&self, error: &minijinja::Error) -> Error {
        let line = error.line().map_or(String::new(), |line| format!(", line {line}"));
        let place = format!("{}{line}", self.place);
        let detail = error.detail().unwrap_or_default();
        if let Some((_, message)) = detail.split_once(dialect::RAISED) {
            return Error::input(place, "a conversation that this template accepts", format!("its refusal: {message}"));
        }
        let mut reason =
            if detail.is_empty() { error.kind().to_string() } else { format!("{}: {detail}", error.kind()) };
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        let wanted = match error.kind() {
            ErrorKind::OutOfFuel | ErrorKind::WriteFailure => {
                "a template that ends within its limits of work and output"
            }
            ErrorKind::SyntaxError => "a chat template that parses",
            _ => "a chat template that renders",
        };
        Error::input(place, wanted, reason)
    }
}

/// The engine with the dialect of chat templates.
fn environment<'a>() -> Environment<'a> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_recursion_limit(RECURSION);
    env.remove_global("debug");
    dialect::install(&mut env);
    meter::install(&mut env);
    env
}

/// Runs `work` on a thread with a known stack.
fn on_own_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("template".into()).stack_size(STACK).spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| Error::failed("chat template", format!("cannot start a thread: {error}")))?;
        thread.join().map_err(|_| Error::failed("chat template", "the template engine gave up on this template"))
    })
}

/// Bytes of text in `json`, roughly.
fn size_of_json(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::String(s) => s.len() + 2,
        serde_json::Value::Array(items) => items.iter().map(|item| size_of_json(item) + 2).sum(),
        serde_json::Value::Object(map) => map.iter().map(|(key, item)| key.len() + size_of_json(item) + 4).sum(),
        _ => 8,
    }
}
