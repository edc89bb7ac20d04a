//! Flags of settings, made of the rows of their table: a command takes groups of them, and hands on what was given.

use crate::config::{GivenFlags, KEYS, Key, SettingGroup};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use std::ops::Deref;

macro_rules! groups {
    ($($(#[doc = $doc:literal])+ $name:ident: $($group:ident),+;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default)]
        pub(super) struct $name(GivenFlags);

        impl $name {
            const GROUPS: &[SettingGroup] = &[$(SettingGroup::$group),+];
        }

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                rows(Self::GROUPS).fold(command, |command, row| command.arg(flag(row)))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                let given = |row: &Key| Some((row.name, matches.get_one::<String>(row.name)?.clone()));
                Ok(Self(rows(Self::GROUPS).filter_map(given).collect()))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl Deref for $name {
            type Target = GivenFlags;
            fn deref(&self) -> &GivenFlags {
                &self.0
            }
        }
    )+};
}

groups! {
    /// Flags of every command.
    GlobalFlags: Global;
    /// How a model is run on this machine.
    MachineFlags: Machine;
    /// How the next token is chosen, and how long an answer gets.
    SamplingFlags: Answer, Sampling;
    /// What a conversation starts from.
    ChatFlags: Chat;
    /// How much a reasoning model thinks.
    ThinkingFlags: Thinking;
    /// How a server tells what it does.
    ServerFlags: Server;
    /// How models are fetched.
    PullFlags: Pull;
}

fn rows(groups: &'static [SettingGroup]) -> impl Iterator<Item = &'static Key> {
    groups.iter().flat_map(|group| KEYS.iter().filter(move |key| key.group == *group))
}

/// The flag of a setting.
fn flag(row: &'static Key) -> Arg {
    let dashed = |name: &str| name.replace('_', "-");
    let flag = Arg::new(row.name)
        .long(dashed(row.name))
        .aliases(row.aliases().map(dashed))
        .value_name(row.value)
        .help(row.help.trim())
        .allow_negative_numbers(true)
        .global(row.group == SettingGroup::Global)
        .value_hint(if row.kind == "path" { ValueHint::AnyPath } else { ValueHint::Unknown })
        .value_parser(|text: &str| row.read(text));
    let flag = match row.short {
        Some(letter) => flag.short(letter),
        None => flag,
    };
    let flag = match row.group.heading() {
        Some(heading) => flag.help_heading(heading),
        None => flag,
    };
    if row.is_switch() { flag.num_args(0..=1).require_equals(true).default_missing_value("true") } else { flag }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::{SettingOrigin, Settings, ThinkingSetting};
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        machine: MachineFlags,
        #[command(flatten)]
        sampling: SamplingFlags,
        #[command(flatten)]
        chat: ChatFlags,
        #[command(flatten)]
        thinking: ThinkingFlags,
        #[command(flatten)]
        _server: ServerFlags,
        #[command(flatten)]
        global: GlobalFlags,
        #[command(flatten)]
        _pull: PullFlags,
    }

    #[test]
    fn a_flag_beats_the_environment() {
        let env = [("TOKKI_CTX", "200"), ("TOKKI_THREADS", "2"), ("TOKKI_CONFIG", "")];
        let var = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let flags =
            All::parse_from(["x", "-t", "3", "--thinking", "512", "--temperature", "0.5", "--max-tokens", "8k"]);
        let settings = Settings::from_sources(&var).unwrap();
        let settings = settings.with(&flags.machine).with(&flags.sampling).with(&flags.chat).with(&flags.thinking);
        assert_eq!(settings.get("threads"), Some(("3", &SettingOrigin::Flag)));
        assert_eq!(settings.get("ctx"), Some(("200", &SettingOrigin::Env("TOKKI_CTX"))));
        assert_eq!((settings.sampling().temperature, settings.max_tokens()), (Some(0.5), Some(8192)));
        assert_eq!(settings.thinking(), Some(ThinkingSetting::Budget(512)));
    }

    /// Every row of the table reaches the command line under its own name.
    #[test]
    fn every_setting_has_its_flag() {
        let command = All::command();
        for key in KEYS.iter() {
            let name = key.name.replace('_', "-");
            let argument = command.get_arguments().find(|argument| argument.get_long() == Some(&name));
            let help = argument.unwrap_or_else(|| panic!("no flag --{name}")).get_help().unwrap().to_string();
            assert_eq!(help, key.help.trim(), "{name}");
        }
    }

    #[test]
    fn switches_take_a_value_or_none() {
        let offline = |args: &[&str]| All::parse_from([&["x"], args].concat()).global.get("offline").cloned();
        let given = [offline(&[]), offline(&["--offline"]), offline(&["--offline=false"])];
        assert_eq!(given, [None, Some("true".to_owned()), Some("false".to_owned())]);
        assert!(All::try_parse_from(["x", "--top-p", "2"]).is_err());
        assert!(All::try_parse_from(["x", "--kv-type", "q4"]).is_err());
    }
}
