//! `tokki template`: the rendered prompt, nothing else.

use crate::chat::{Clock, Template, Vars};
use crate::gguf::Gguf;
use crate::{Error, Result, store};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Shows the prompt that a conversation becomes
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  tokki template model.gguf --messages chat.json\n  \
    echo '{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}' | tokki template model.gguf --messages -\n  \
    tokki template --template chat.jinja --messages chat.json --var enable_thinking=false")]
pub(super) struct TemplateArgs {
    /// The model whose template is used; not needed with --template
    #[arg(required_unless_present = "template", conflicts_with = "template")]
    model: Option<OsString>,
    /// A file with a Jinja template instead of a model's own
    #[arg(long, value_name = "FILE.jinja")]
    template: Option<PathBuf>,
    /// A JSON object of template variables: `messages`, and optionally `tools`, `add_generation_prompt`,
    /// `enable_thinking`, ...; `-` reads it from standard input
    #[arg(long, value_name = "FILE.json")]
    messages: PathBuf,
    /// Sets one more variable. The value is read as JSON if it is JSON, else as text
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// The time that the template sees, such as 2026-11-23T09:30:00; without it, now
    #[arg(long, value_name = "ISO-TIME")]
    now: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &TemplateArgs) -> Result<()> {
    let mut vars = read_vars(&args.messages)?;
    for assignment in &args.vars {
        let (name, value) =
            assignment.split_once('=').ok_or_else(|| Error::usage(format!("--var {assignment}: it is NAME=VALUE.")))?;
        vars.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())));
    }
    check_messages(&vars, &args.messages)?;
    let template = match (&args.template, &args.model) {
        (Some(path), _) => {
            let source = super::stdin::read_text(path)?;
            Template::new(source, path.display().to_string())?
        }
        (None, Some(model)) => Template::from_gguf(&Gguf::open(&store::resolve(model)?)?)?,
        (None, None) => return Err(Error::usage("Whose template? Give a MODEL, or --template FILE.")),
    };
    remarks(&template, &vars, &args.vars);
    let clock = args.now.as_deref().map(Clock::parse).transpose()?.unwrap_or_default();
    let text = template.with_clock(clock).render(&vars).map_err(|why| {
        // Some templates read no role: only where this one fails, it is the message's fault.
        let messages = vars.get("messages").and_then(Value::as_array).into_iter().flatten();
        match messages.enumerate().find(|(_, message)| message["role"].is_null()) {
            Some((index, _)) if why.to_string().contains("'role'") => Error::usage(format!(
                "{}: messages[{index}] has no role, which this template reads.",
                args.messages.display()
            )),
            _ => why,
        }
    })?;
    super::output::foreign(&text)
}

/// Messages that no template could read are told by their places, before one trips over them.
fn check_messages(vars: &Vars, path: &Path) -> Result<()> {
    let Some(messages) = vars.get("messages") else { return Ok(()) };
    let wrong = |place: String, wanted: &str| {
        Err(Error::usage(format!("{}: {place} is wrong: {wanted} is wanted there.", path.display())))
    };
    let Some(messages) = messages.as_array() else { return wrong("messages".to_owned(), "a list of messages") };
    for (index, message) in messages.iter().enumerate() {
        let place = |name: &str| format!("messages[{index}]{name}");
        // Some templates read no role, and a call has no content.
        if message["role"].is_null() && message["content"].is_null() {
            return wrong(place(""), "an object with a role and a content");
        }
        if !(message["role"].is_string() || message["role"].is_null()) {
            return wrong(place(".role"), "a text such as \"user\"");
        }
        if message["content"].is_null() && message["role"] != "assistant" {
            return wrong(place(".content"), "a text");
        }
        if !(message["content"].is_string() || message["content"].is_null() || message["content"].is_array()) {
            return wrong(place(".content"), "a text");
        }
    }
    Ok(())
}

/// Says what has no effect, or is not what templates know.
fn remarks(template: &Template, vars: &Vars, given: &[String]) {
    for name in given.iter().filter_map(|assignment| assignment.split_once('=')).map(|(name, _)| name) {
        // What every tokenizer hands over, a template need not read.
        if !["bos_token", "eos_token"].contains(&name) && !template.source().contains(name) {
            super::output::say(&format!("tokki: the template never reads the variable {name}"));
        }
    }
    let messages = vars.get("messages").and_then(Value::as_array).into_iter().flatten();
    for role in messages.filter_map(|message| message["role"].as_str()) {
        if !["system", "developer", "user", "assistant", "tool", "tool_response", "function"].contains(&role) {
            super::output::say(&format!("tokki: {role:?} is no role that models are trained with"));
        }
    }
}

fn read_vars(path: &Path) -> Result<Vars> {
    let text = super::stdin::read_text(path)?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(vars)) => Ok(vars),
        Ok(Value::Array(messages)) => Ok(Vars::from_iter([("messages".to_owned(), Value::Array(messages))])),
        Ok(_) => {
            Err(Error::input(path.display().to_string(), "a JSON object of template variables", "another JSON value"))
        }
        Err(error) => {
            Err(Error::input(path.display().to_string(), "a JSON object of template variables", error.to_string()))
        }
    }
}
