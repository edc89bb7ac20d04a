//! A chat template, and its rendering within limits.

use super::jinja::{self, Fault, FaultKind, RenderLimits, Tree};
use crate::{Error, ErrorKind, Result};
use jiff::civil::DateTime;

/// Template variables: `messages`, and optionally `tools`, `add_generation_prompt`, `enable_thinking`, ...
pub type Vars = serde_json::Map<String, serde_json::Value>;

/// Longest template source, in bytes (the longest of known models has under 20 KB).
const MAX_SOURCE_BYTES: usize = 256 << 10;
/// Work of a rendering before its input is counted: a fraction of a second.
const WORK: u64 = 4_000_000;
/// Memory of a rendering's values and output before its input is counted, in bytes.
const MEMORY: usize = 20 << 20;
/// Bytes of values that one byte of input may become (JSON escapes make six of one).
const MEMORY_PER_INPUT: usize = 10;
/// Renderings get a stack of their own, so that what a template may nest does not depend on who calls. Pages that are
/// not touched cost nothing.
const STACK_BYTES: usize = 64 << 20;

/// Where `strftime_now` takes the time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's local time.
    #[default]
    Local,
    /// A fixed time: the same prompt on every day.
    Fixed(DateTime),
}

impl Clock {
    /// A fixed clock from `2026-11-23T09:30:00`, `2026-11-23 09:30` or `2026-11-23`.
    ///
    /// # Errors
    /// Text of another form.
    pub fn parse(text: &str) -> Result<Self> {
        let time = text.parse().map(Self::Fixed);
        time.map_err(|_| Error::input("`now`", "an ISO time such as 2026-11-23T09:30:00", text))
    }

    fn now(self) -> DateTime {
        match self {
            Self::Local => crate::units::now().to_zoned(jiff::tz::TimeZone::system()).datetime(),
            Self::Fixed(time) => time,
        }
    }
}

/// A parsed chat template.
///
/// Renders as the reference implementation (Jinja2 in a sandbox, blocks trimmed, with `tojson`, `strftime_now`,
/// `raise_exception`, `break`/`continue` and `{% generation %}`) does, byte for byte. Whatever the template does, rendering ends: work,
/// memory, depth and output are bounded, and passing a bound is an error.
pub struct Template {
    place: String,
    source: String,
    tree: Tree,
    defaults: Vars,
    clock: Clock,
    extras: bool,
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
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::input(
                place,
                format!("a chat template of at most {MAX_SOURCE_BYTES} bytes"),
                format!("{} bytes", source.len()),
            ));
        }
        // Parsing recurses as well.
        let tree = on_own_stack(|| jinja::parse(&source))?.map_err(|fault| error(&place, &fault))?;
        Ok(Self { place, source, tree, defaults: Vars::new(), clock: Clock::Local, extras: false })
    }

    /// The same template with another clock.
    #[doc(hidden)]
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

    /// The same template with the variables by which some families know the date, `date_string` (Llama 3) and `datetime`
    /// (Firefunction), and tools as a text, `functions` (Firefunction), where a rendering does not set them. The reference
    /// implementation knows none of them.
    #[must_use]
    pub fn with_extras(self) -> Self {
        Self { extras: true, ..self }
    }

    /// Those variables for a rendering with `vars`.
    fn extras(&self, vars: &Vars, now: &DateTime) -> Vec<(&'static str, serde_json::Value)> {
        if !self.extras {
            return Vec::new();
        }
        let tools = vars.get("tools").and_then(serde_json::Value::as_array).filter(|tools| !tools.is_empty());
        let functions = tools.and_then(|tools| serde_json::to_string_pretty(tools).ok()).unwrap_or_default();
        let date = |format: &str| now.strftime(format).to_string().into();
        vec![("date_string", date("%d %b %Y")), ("datetime", date("%b %d %Y")), ("functions", functions.into())]
    }

    /// The template's string literals, in no order.
    pub(super) fn literals(&self) -> Vec<String> {
        self.tree.texts().to_vec()
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
        let prompt = [("add_generation_prompt", &serde_json::Value::Bool(true))];
        let now = self.clock.now();
        let extras = self.extras(vars, &now);
        let extras = || extras.iter().map(|(name, value)| (*name, value));
        let given = || self.defaults.iter().chain(vars).map(|(name, value)| (name.as_str(), value));
        let all = || prompt.into_iter().chain(extras()).chain(given());
        let input: usize = all().map(|(name, value)| name.len() + size_of_json(value)).sum();
        let input = input.saturating_add(self.source.len());
        let limits = RenderLimits {
            work: WORK.saturating_add(input as u64),
            memory: MEMORY.saturating_add(input.saturating_mul(MEMORY_PER_INPUT)),
        };
        on_own_stack(|| self.tree.render(all(), &now, limits))?.map_err(|fault| error(&self.place, &fault))
    }
}

/// What stopped the template at `place`, as the user's error.
fn error(place: &str, fault: &Fault) -> Error {
    let place = if fault.line > 0 { format!("{place}, line {}", fault.line) } else { place.to_owned() };
    let wanted = match fault.kind {
        FaultKind::Interrupted => return Error::Interrupted,
        FaultKind::Raised => {
            let refusal = format!("its refusal: {}", fault.message);
            return Error::input(place, "a conversation that this template accepts", refusal);
        }
        FaultKind::Limit => "a template that ends within its limits of work and memory",
        FaultKind::Syntax => "a chat template that parses",
        FaultKind::Runtime => "a chat template that renders",
    };
    Error::input(place, wanted, &fault.message)
}

/// Runs `work` on a thread with a known stack.
fn on_own_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("template".into()).stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| {
            Error::failed("a thread for the chat template", error.to_string()).of(ErrorKind::OutOfMemory)
        })?;
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
