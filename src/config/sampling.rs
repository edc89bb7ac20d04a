//! Flags of the parameters of sampling, from the rows of their table.

use super::key::{check, value};
use super::table::AnswerFlags;
use super::values::{Flags, Settings};
use crate::sample::{Overrides, PARAMETERS, Parameter};
#[cfg(feature = "cli")]
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::BTreeMap;

/// How the next token is chosen, and how long an answer gets.
#[derive(Debug, Clone, Default)]
pub struct SamplingFlags {
    answer: AnswerFlags,
    /// Texts of the parameters that were given.
    given: BTreeMap<&'static str, String>,
}

#[cfg(feature = "cli")]
impl Args for SamplingFlags {
    fn augment_args(command: Command) -> Command {
        let command = AnswerFlags::augment_args(command);
        PARAMETERS.iter().fold(command, |command, row| {
            let others = row.keys.iter().filter(|key| **key != row.name).map(|key| key.replace('_', "-"));
            let arg = Arg::new(row.name)
                .long(row.name.replace('_', "-"))
                .aliases(others)
                .value_name(row.value)
                .help(row.help.trim())
                .help_heading("Sampling")
                .allow_negative_numbers(true)
                .value_parser(move |text: &str| check(row, text).map(|()| text.to_owned()));
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(feature = "cli")]
impl FromArgMatches for SamplingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &Parameter| Some((row.name, matches.get_one::<String>(row.name)?.clone()));
        Ok(Self {
            answer: AnswerFlags::from_arg_matches(matches)?,
            given: PARAMETERS.iter().filter_map(given).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags for SamplingFlags {
    fn overlay(&self, settings: &mut Settings) {
        self.answer.overlay(settings);
        for (name, text) in &self.given {
            settings.set_flag(name, text.clone());
        }
    }
}

impl Settings {
    /// The parameters of sampling that are set.
    pub fn sampling(&self) -> Overrides {
        let mut found = Overrides::default();
        for row in PARAMETERS {
            // Every text was checked on its way in.
            if let Some((text, _)) = self.get(row.name) {
                let _ = row.set(&mut found, &value(row, text));
            }
        }
        found
    }
}
