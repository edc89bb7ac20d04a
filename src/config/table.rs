//! THE TABLE OF SETTINGS. A row gives the key (its flag is the same with `-`), the type, the environment variable, what
//! holds when it is not set, and the values allowed. Groups become clap argument groups that commands flatten, and say from
//! when on a change counts, for `/set`.

use super::item::{Bytes, Item, ThinkingSetting, ThoughtView, Threads};
use super::key::{Check, Counts, Key};
use super::values::{Flags, Settings};
use crate::sample::PARAMETERS;
use std::path::PathBuf;
use std::sync::LazyLock;

macro_rules! settings {
    ($(
        $(#[doc = $group_doc:literal])+
        $group:ident counts $counts:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident: $ty:ty = $env:literal, $default:literal, $check:expr, [$($arg:tt)*];
        )+}
    )+) => {
        $(
            $(#[doc = $group_doc])+
            #[derive(Debug, Clone, Default)]
            #[cfg_attr(feature = "cli", derive(clap::Args))]
            pub struct $group {$(
                $(#[doc = $doc])+
                #[cfg_attr(feature = "cli", arg(long, value_parser = parse::$key, allow_negative_numbers = true, $($arg)*))]
                pub $key: Option<$ty>,
            )+}

            impl Flags for $group {
                fn overlay(&self, settings: &mut Settings) {$(
                    if let Some(value) = &self.$key {
                        settings.set_flag(stringify!($key), value.show());
                    }
                )+}
            }
        )+

        const OWN: &[Key] = &[$($(
            Key {
                name: stringify!($key),
                env: $env,
                help: concat!($($doc),+),
                default: $default,
                kind: <$ty as Item>::KIND,
                counts: Counts::$counts,
                check: Check::Text(|text| parse::$key(text).map(drop)),
            },
        )+)+];

        /// One reader per key: the type's own, then the values allowed.
        mod parse {
            use super::*;
            $($(
                pub(super) fn $key(text: &str) -> Result<$ty, String> {
                    let check: fn(&$ty) -> Result<(), String> = $check;
                    let read = |text: &str| <$ty as Item>::parse(text).and_then(|value| check(&value).map(|()| value));
                    match <$ty as Item>::parse(text) {
                        // Told as zero would be, which may not be among those allowed either.
                        Err(why) if is_negative(text) => Err(read("0").err().unwrap_or(why)),
                        _ => read(text),
                    }
                }
            )+)+
        }

        impl Settings {$($(
            $(#[doc = $doc])+
            pub fn $key(&self) -> Option<$ty> {
                self.item(stringify!($key))
            }
        )+)+}
    };
}

settings! {
    /// Flags of every command.
    GlobalFlags counts Fetching {
        /// Directory that holds the models and unfinished downloads
        home: PathBuf = "TOKKI_HOME", "the system's place for application data", any,
            [global = true, value_name = "DIR", help_heading = "Global options"];
        /// Never touch the network
        offline: bool = "TOKKI_OFFLINE", "false", any,
            [global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
             default_missing_value = "true", help_heading = "Global options"];
    }

    /// How a model is run on this machine.
    MachineFlags counts AtStart {
        /// Threads to compute with, at most one per CPU; `16!` means 16 whatever the machine has
        threads: Threads = "TOKKI_THREADS", "physical cores that this process may use", |v| within(v.count, 1, 1024),
            [short = 't', value_name = "N", help_heading = "Machine"];
        /// How hard the machine works: full, or cool, which computes on half of the cores and rests half of the time, for a
        /// laptop on battery
        power: String = "TOKKI_POWER", "full", |v| one_of(v, POWER),
            [value_name = "full|cool", help_heading = "Machine"];
        /// Tokens that the context holds
        ctx: usize = "TOKKI_CTX", "8192, or less if the model was trained for less", |v| within(*v, 1, 1 << 24),
            [short = 'c', value_name = "TOKENS", help_heading = "Machine"];
        /// Format of cached keys and values: f32, f16 or q8_0
        kv_type: String = "TOKKI_KV_TYPE", "f16", |v| one_of(v, KV_TYPES),
            [value_name = "TYPE", help_heading = "Machine"];
        /// Form that latent attention (DeepSeek) reads prompts in: expanded is faster for long ones, but gives up that
        /// reading and generating give the same bits
        latent_prefill: String = "TOKKI_LATENT_PREFILL", "absorbed", |v| one_of(v, LATENT_FORMS),
            [value_name = "FORM", help_heading = "Machine"];
        /// Read weights from the disk before they are used, so that it is never idle: on, off, or auto for models larger than
        /// the free memory
        read_ahead: String = "TOKKI_READ_AHEAD", "auto", |v| one_of(v, READ_AHEAD),
            [value_name = "WHEN", help_heading = "Machine"];
        /// Put the weights in another order in memory before they are used: faster answers, for memory of their own and some
        /// seconds at the start
        interleave: bool = "TOKKI_INTERLEAVE", "false", any,
            [value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
             help_heading = "Machine"];
    }

    /// How long an answer gets, and from which seed.
    AnswerFlags counts Now {
        /// Tokens to generate at most
        max_tokens: usize = "TOKKI_MAX_TOKENS", "until the model ends or the context is full", any,
            [value_name = "N", help_heading = "Sampling"];
        /// Seed of the random choice: the same seed gives the same text
        seed: u64 = "TOKKI_SEED", "a new one each time", any,
            [value_name = "N", help_heading = "Sampling"];
    }

    /// What a conversation starts from.
    ChatFlags counts Now {
        /// System message
        system: String = "TOKKI_SYSTEM", "the model's own", any,
            [value_name = "TEXT", help_heading = "Chat"];
        /// What is seen of thoughts in a chat: show, hide or brief
        thoughts: ThoughtView = "TOKKI_THOUGHTS", "show", any,
            [value_name = "show|hide|brief", help_heading = "Chat"];
        /// When a chat no longer fits into the context: stop, or tail to leave out the oldest questions and read the rest
        /// again
        overflow: String = "TOKKI_OVERFLOW", "stop", |v| one_of(v, OVERFLOW),
            [value_name = "stop|tail", help_heading = "Chat"];
        /// Keep chats on this machine, for --continue and `tokki history`
        history: bool = "TOKKI_HISTORY", "true", any,
            [value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
             help_heading = "Chat"];
    }

    /// How much a reasoning model thinks.
    ThinkingFlags counts Now {
        /// Thinking of reasoning models: on, off, at most so many tokens; or what is seen of it: show, hide, brief
        thinking: ThinkingSetting = "TOKKI_THINKING", "the model's own", any,
            [value_name = "on|off|N|...", help_heading = "Chat"];
    }

    /// How a server tells what it does.
    ServerFlags counts AtStart {
        /// A line for every request when it has ended, which holds nothing of what was said: off, text or json
        log: String = "TOKKI_LOG", "off", |v| one_of(v, LOG),
            [value_name = "off|text|json"];
        /// The line that a coding agent puts before its system prompt and changes with every request: drop it, so that the
        /// conversation is found in the cache, or keep it
        billing_line: String = "TOKKI_BILLING_LINE", "drop", |v| one_of(v, BILLING_LINE),
            [value_name = "drop|keep"];
    }

    /// How models are fetched.
    PullFlags counts Fetching {
        /// The hub that `hf:` names refer to
        hub: String = "HF_ENDPOINT", "https://huggingface.co", |v| url(v),
            [value_name = "URL", help_heading = "Network"];
        /// A server that has the catalogue's files under their names; tried before the hub
        mirror: String = "TOKKI_MIRROR", "none", |v| url(v),
            [value_name = "URL", help_heading = "Network"];
        /// Connections to fetch a file with
        connections: usize = "TOKKI_CONNECTIONS", "4", |v| within(*v, 1, 32),
            [value_name = "N", help_heading = "Network"];
        /// Bytes asked for at once; a broken download loses at most so much
        part_size: Bytes = "TOKKI_PART_SIZE", "64M", |v| within(v.0, 1 << 16, 1 << 30),
            [value_name = "BYTES", help_heading = "Network"];
    }
}

/// Every setting that there is: those above, and the parameters of sampling.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let kind = |texts: bool| if texts { "text" } else { "number" };
    let sampling = PARAMETERS.iter().map(|row| Key {
        name: row.name,
        env: row.env,
        help: row.help,
        default: "the model's own",
        kind: kind(row.texts),
        counts: Counts::Now,
        check: Check::Parameter(row),
    });
    let own = OWN.iter().map(|key| Key { ..*key });
    own.chain(sampling).collect()
});

const KV_TYPES: &[&str] = tokki_quant::attention::KvKind::WORDS;
const LATENT_FORMS: &[&str] = &["absorbed", "expanded"];
const POWER: &[&str] = &["full", "cool"];
const READ_AHEAD: &[&str] = &["auto", "on", "off"];
const OVERFLOW: &[&str] = &["stop", "tail"];
const LOG: &[&str] = &["off", "text", "json"];
const BILLING_LINE: &[&str] = &["drop", "keep"];

/// Words that keys can have, for completion.
pub const WORDS: &[(&str, &[&str])] = &[
    ("power", POWER),
    ("kv_type", KV_TYPES),
    ("latent_prefill", LATENT_FORMS),
    ("read_ahead", READ_AHEAD),
    ("overflow", OVERFLOW),
    ("log", LOG),
    ("billing_line", BILLING_LINE),
    ("thoughts", &["show", "hide", "brief"]),
    ("thinking", &["on", "off", "show", "hide", "brief"]),
    ("history", &["true", "false"]),
    ("interleave", &["true", "false"]),
    ("offline", &["true", "false"]),
];

#[expect(clippy::unnecessary_wraps, reason = "one of the checks of the table, which all have this shape")]
fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

fn within<T: PartialOrd + std::fmt::Display>(value: T, least: T, most: T) -> Result<(), String> {
    if least <= value && value <= most { Ok(()) } else { Err(format!("a number from {least} to {most}")) }
}

/// Whether the text is a whole number below zero.
fn is_negative(text: &str) -> bool {
    text.trim().parse::<i64>().is_ok_and(|number| number < 0)
}

fn one_of(value: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&value) { Ok(()) } else { Err(format!("one of {}", allowed.join(", "))) }
}

fn url(value: &str) -> Result<(), String> {
    let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let good =
        host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && !value.contains(char::is_whitespace));
    if good { Ok(()) } else { Err("a URL that starts with https:// or http://".to_owned()) }
}
