//! The whole command line, for what tells of all commands: the table of commands, which knows them, is set at the start.

use std::sync::OnceLock;

static COMMAND: OnceLock<fn() -> clap::Command> = OnceLock::new();

/// Makes the command line known; the first call of a process counts.
pub(super) fn set(command: fn() -> clap::Command) {
    COMMAND.get_or_init(|| command);
}

/// The command line.
pub(super) fn command() -> clap::Command {
    COMMAND.get().map_or_else(|| clap::Command::new("tokki"), |command| command())
}
