//! THE TABLE OF SETTINGS. A row gives the key (its flag is the same with `-`), the type, the environment variable, what
//! holds when it is not set, how a value is written in help, and the values allowed. Groups say
//! from when on a change counts, for `/set`.

use super::item::{Bytes, Item, ThinkingSetting, ThoughtView, Threads};
use super::key::{Check, Counts, Key, SettingGroup};
use super::values::Settings;
use crate::sample::PARAMETERS;
use std::path::PathBuf;
use std::sync::LazyLock;

macro_rules! settings {
    ($(
        $group:ident counts $counts:ident {$(
            $(#[doc = $doc:literal])+
            $key:ident $($short:literal)?: $ty:ty = $env:literal, $default:literal, $value:literal, $check:expr;
        )+}
    )+) => {
        const OWN: &[Key] = &[$($(
            Key {
                name: stringify!($key),
                env: $env,
                help: concat!($($doc),+),
                default: $default,
                kind: <$ty as Item>::KIND,
                counts: Counts::$counts,
                group: SettingGroup::$group,
                value: $value,
                short: first(&[$($short)?]),
                check: Check::Text(|text| parse::$key(text).map(|value| value.show())),
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

const fn first<T: Copy>(of: &[T]) -> Option<T> {
    match of {
        [first, ..] => Some(*first),
        [] => None,
    }
}

settings! {
    Global counts Fetching {
        /// Directory that holds the models and unfinished downloads
        home: PathBuf = "TOKKI_HOME", "the system's place for application data", "DIR", any;
        /// Never touch the network
        offline: bool = "TOKKI_OFFLINE", "false", "BOOL", any;
    }

    Machine counts AtStart {
        /// Threads to compute with, at most one per CPU; `16!` means 16 whatever the machine has
        threads 't': Threads = "TOKKI_THREADS", "physical cores that this process may use", "N", |v| within(v.count, 1, 1024);
        /// How hard the machine works: full, or cool, which computes on half of the cores and rests half of the time, for a
        /// laptop on battery
        power: String = "TOKKI_POWER", "full", "full|cool", |v| one_of(v, POWER);
        /// Tokens that the context holds
        ctx 'c': usize = "TOKKI_CTX", "8192, or less if the model was trained for less", "TOKENS", |v| within(*v, 1, 1 << 24);
        /// Format of cached keys and values: f32, f16 or q8_0
        kv_type: String = "TOKKI_KV_TYPE", "f16", "TYPE", |v| one_of(v, KV_TYPES);
        /// Form that latent attention (DeepSeek) reads prompts in: expanded is faster for long ones, but gives up that
        /// reading and generating give the same bits
        latent_prefill: String = "TOKKI_LATENT_PREFILL", "absorbed", "FORM", |v| one_of(v, LATENT_FORMS);
        /// Read weights from the disk before they are used, so that it is never idle: on, off, or auto for models larger than
        /// the free memory
        read_ahead: String = "TOKKI_READ_AHEAD", "auto", "WHEN", |v| one_of(v, READ_AHEAD);
        /// Put the weights in another order in memory before they are used: faster answers, for memory of their own and some
        /// seconds at the start
        interleave: bool = "TOKKI_INTERLEAVE", "false", "BOOL", any;
    }

    Answer counts Now {
        /// Tokens to generate at most
        max_tokens: usize = "TOKKI_MAX_TOKENS", "until the model ends or the context is full", "N", any;
        /// Seed of the random choice: the same seed gives the same text
        seed: u64 = "TOKKI_SEED", "a new one each time", "N", any;
    }

    Chat counts Now {
        /// System message
        system: String = "TOKKI_SYSTEM", "the model's own", "TEXT", any;
        /// What is seen of thoughts in a chat: show, hide or brief
        thoughts: ThoughtView = "TOKKI_THOUGHTS", "show", "show|hide|brief", any;
        /// When a chat no longer fits into the context: stop, or tail to leave out the oldest questions and read the rest
        /// again
        overflow: String = "TOKKI_OVERFLOW", "stop", "stop|tail", |v| one_of(v, OVERFLOW);
        /// Keep chats on this machine, for --continue and `tokki history`
        history: bool = "TOKKI_HISTORY", "true", "BOOL", any;
    }

    Thinking counts Now {
        /// Thinking of reasoning models: on, off, at most so many tokens; or what is seen of it: show, hide, brief
        thinking: ThinkingSetting = "TOKKI_THINKING", "the model's own", "on|off|N|...", any;
    }

    Server counts AtStart {
        /// A line for every request when it has ended, which holds nothing of what was said: off, text or json
        log: String = "TOKKI_LOG", "off", "off|text|json", |v| one_of(v, LOG);
        /// The line that a coding agent puts before its system prompt and changes with every request: drop it, so that the
        /// conversation is found in the cache, or keep it
        billing_line: String = "TOKKI_BILLING_LINE", "drop", "drop|keep", |v| one_of(v, BILLING_LINE);
    }

    Pull counts Fetching {
        /// The hub that `hf:` names refer to
        hub: String = "HF_ENDPOINT", "https://huggingface.co", "URL", |v| url(v);
        /// A server that has the catalogue's files under their names; tried before the hub
        mirror: String = "TOKKI_MIRROR", "none", "URL", |v| url(v);
        /// Connections to fetch a file with
        connections: usize = "TOKKI_CONNECTIONS", "4", "N", |v| within(*v, 1, 32);
        /// Bytes asked for at once; a broken download loses at most so much
        part_size: Bytes = "TOKKI_PART_SIZE", "64M", "BYTES", |v| within(v.0, 1 << 16, 1 << 30);
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
        group: SettingGroup::Sampling,
        value: row.value,
        short: None,
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
