//! `tokki completions`: completion scripts for shells. They know the words that options can have, and ask `tokki list` for
//! the names of models.

use super::command_line;
use super::output::result;
use crate::Result;
use crate::config::WORDS;
use clap_complete::Shell;

/// Prints a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki completions bash > ~/.local/share/bash-completion/completions/tokki
  tokki completions zsh > ~/.zfunc/_tokki
  tokki completions fish > ~/.config/fish/completions/tokki.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Commands that take no file beside their flags: none is offered after them.
const WITHOUT_FILES: &str = "completions|config|doctor|history|list|pull|rm|verify";

/// Commands whose first argument is a model's name.
fn of_models() -> Vec<String> {
    let takes_model = |command: &&clap::Command| {
        let first = command.get_positionals().next();
        first.is_some_and(|arg| ["model", "models", "name", "names"].contains(&arg.get_id().as_str()))
    };
    command_line::command().get_subcommands().filter(takes_model).map(|command| command.get_name().to_owned()).collect()
}

/// Flags whose value is a model's name, and those with another value, as words of a shell's `case`.
fn valued() -> (String, String) {
    let command = command_line::command();
    let takes =
        |arg: &&clap::Arg| arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
    let all =
        command.get_subcommands().flat_map(clap::Command::get_arguments).chain(command.get_arguments()).filter(takes);
    let (mut of_a_model, mut of_others) = (Vec::new(), Vec::new());
    for arg in all {
        let model = arg.get_value_names().is_some_and(|names| names.iter().any(|name| *name == "MODEL"));
        let into = if model { &mut of_a_model } else { &mut of_others };
        into.extend(arg.get_long().map(|long| format!("--{long}")));
        into.extend(arg.get_short().map(|short| format!("-{short}")));
    }
    let joined = |mut flags: Vec<String>| {
        flags.sort();
        flags.dedup();
        flags.join("|")
    };
    (joined(of_a_model), joined(of_others))
}

pub(super) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut with_words(command_line::command()), "tokki", &mut script);
    let script = with_names(args.shell, &String::from_utf8_lossy(&script));
    result(|out| out.write_all(script.as_bytes()))
}

/// The command line with the words of its options, which only completion needs to know.
fn with_words(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        WORDS.iter().fold(command, |command, (key, words)| {
            let there = command.get_arguments().any(|arg| arg.get_id() == key);
            if there { command.mut_arg(key, |arg| arg.value_parser(words.to_vec())) } else { command }
        })
    })
}

/// The script, with the names of models where a command takes one.
fn with_names(shell: Shell, script: &str) -> String {
    let commands = of_models().join("|");
    let (of_a_model, of_others) = valued();
    let all: Vec<String> =
        command_line::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let all = all.join("|");
    match shell {
        Shell::Bash => format!(
            "{script}
# Files, whatever is in their names.
_tokki_files() {{
    local file
    while IFS= read -r file; do COMPREPLY+=(\"$file\"); done < <(compgen -f -- \"$1\")
    compopt -o filenames 2>/dev/null
}}
# Names of models, beside files.
_tokki_with_names() {{
    local word=\"${{COMP_WORDS[COMP_CWORD]}}\" before=\"${{COMP_WORDS[COMP_CWORD-1]}}\" names=\"\" command=\"\" one
    _tokki \"$@\"
    [[ \"$word\" == -* ]] && return 0
    # --flag=value is three words here.
    if [[ \"$word\" == \"=\" ]]; then word=\"\"; elif [[ \"$before\" == \"=\" ]]; then before=\"${{COMP_WORDS[COMP_CWORD-2]}}\"; fi
    word=\"${{word#[\\\"\\']}}\"
    for one in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        case \"$one\" in
            {all}) command=\"$one\"; break ;;
        esac
    done
    case \"$before\" in
        {of_a_model}) command=show ;;
        {of_others})
            # A value is one of some words, or a file.
            if [[ -n \"$word\" && -n \"$(compgen -f -- \"$word\")\" ]]; then COMPREPLY=(); _tokki_files \"$word\"; fi
            return 0 ;;
    esac
    case \"$command\" in
        plan | run) names=\"$(tokki list --names 2>/dev/null; tokki list --catalogue --names 2>/dev/null)\" ;;
        {commands}) names=\"$(tokki list --names 2>/dev/null)\" ;;
        pull) names=\"$(tokki list --catalogue --names 2>/dev/null)\" ;;
        import | batch) ;;
        *) return 0 ;;
    esac
    COMPREPLY=($(compgen -W \"$names\" -- \"$word\"))
    # These take no files.
    case \"$command\" in
        {WITHOUT_FILES}) compopt +o default +o bashdefault 2>/dev/null ;;
        *) _tokki_files \"$word\" ;;
    esac
}}
complete -F _tokki_with_names -o nosort -o bashdefault -o default tokki 2>/dev/null || \\
    complete -F _tokki_with_names -o bashdefault -o default tokki
"
        ),
        Shell::Zsh => zsh(script),
        Shell::Fish => fish(script),
        _ => script.to_owned(),
    }
}

/// Flags whose value, if they get one, stands in the same word: `--offline`, `--offline=false`.
fn with_equals() -> Vec<String> {
    let command = command_line::command();
    let all = command.get_subcommands().flat_map(clap::Command::get_arguments).chain(command.get_arguments());
    let mut flags: Vec<_> = all.filter(|arg| arg.is_require_equals_set()).filter_map(clap::Arg::get_long).collect();
    flags.sort_unstable();
    flags.dedup();
    flags.into_iter().map(str::to_owned).collect()
}

fn zsh(script: &str) -> String {
    let names = format!(
        "_tokki_models() {{
    local -a names
    local command=${{${{curcontext#*:tokki-command-}}%%:*}}
    [[ $command == pull ]] || names=(${{(f)\"$(tokki list --names 2>/dev/null)\"}})
    [[ $command == (pull|plan|run) ]] && names+=(${{(f)\"$(tokki list --catalogue --names 2>/dev/null)\"}})
    compadd -a names
    [[ $command == ({WITHOUT_FILES}) ]] || _files
}}
"
    );
    let without_files: Vec<&str> = WITHOUT_FILES.split('|').collect();
    let mut command = "";
    let mut lines = Vec::new();
    // The word after such a flag is none of its own.
    let script = with_equals()
        .iter()
        .fold(script.to_owned(), |script, flag| script.replace(&format!("--{flag}=["), &format!("--{flag}=-[")));
    for line in script.lines() {
        let trimmed = line.trim_start();
        command = trimmed.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(command);
        let of_a_model =
            ["'::model -- ", "':model -- ", "':what -- ", "'*::names -- ", "'*:names -- ", "'*::models -- "];
        let line = line.replace(":MODEL:_default'", ":MODEL:_tokki_models'");
        // With two colons no flag is offered after the first of several words.
        let line = if trimmed.starts_with("'*::") { line.replacen("'*::", "'*:", 1) } else { line };
        lines.push(if of_a_model.iter().any(|start| trimmed.starts_with(start)) {
            line.replace(":_default'", ":_tokki_models'")
        } else if without_files.contains(&command) || trimmed.starts_with("'*::prompt -- ") {
            line.replace(":_default'", ": '")
        } else {
            line
        });
    }
    let (first, rest) = lines.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
    format!("{first}\n\n{names}{}\n", rest.join("\n"))
}

fn fish(script: &str) -> String {
    let equals = with_equals();
    let line = |line: &str| {
        let is = |flag: &String| line.contains(&format!(" -l {flag} ")) && line.ends_with(" -r");
        let specs = equals
            .iter()
            .fold(line.to_owned(), |line, flag| line.replace(&format!(" {flag}= "), &format!(" '{flag}=?' ")));
        if equals.iter().any(is) { specs.trim_end_matches(" -r").to_owned() } else { specs }
    };
    let mut script = script.lines().map(line).collect::<Vec<_>>().join("\n");
    let mut add = |commands: &str, rest: &str| {
        let commands = commands.replace('|', " ");
        script += &format!("\ncomplete -c tokki -n \"__fish_tokki_using_subcommand {commands}\" {rest}");
    };
    let (stored, known) = ("(tokki list --names 2>/dev/null)", "(tokki list --catalogue --names 2>/dev/null)");
    add(WITHOUT_FILES, "-f");
    add(&of_models().join("|"), &format!("-a \"{stored}\""));
    add("batch", &format!("-l model -x -a \"{stored}\""));
    add("pull|plan|run", &format!("-a \"{known}\""));
    for command in command_line::command().get_subcommands() {
        let without_files = WITHOUT_FILES.split('|').any(|name| name == command.get_name());
        let valued = command.get_opts().filter(|arg| without_files && !arg.is_require_equals_set());
        for flag in valued.filter_map(clap::Arg::get_long) {
            add(command.get_name(), &format!("-l {flag} -x"));
        }
        // The generated script leaves out the words that an argument can be.
        for words in command.get_positionals().map(clap::Arg::get_possible_values) {
            let words: Vec<_> = words.iter().map(|word| word.get_name().to_owned()).collect();
            if !words.is_empty() {
                add(command.get_name(), &format!("-a \"{}\"", words.join(" ")));
            }
        }
    }
    script + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn words_and_names_are_offered() {
        command_line::set(Cli::command);
        let script = |shell| {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut with_words(Cli::command()), "tokki", &mut script);
            with_names(shell, &String::from_utf8_lossy(&script))
        };
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(shell);
            assert!(text.contains("list --names") && text.contains("q8_0"), "{shell}");
        }
        let (zsh, fish) = (script(Shell::Zsh), script(Shell::Fish));
        assert!(fish.contains(r#"using_subcommand completions" -a "bash elvish"#), "{fish}");
        assert!(fish.contains(r#"using_subcommand history" -l forget -x"#), "{fish}");
        assert!(zsh.contains("'::text -- Only chats in which this was said: '"), "{zsh}");
        // Flags are offered after a model, and words after a flag that may have a value.
        assert!(zsh.contains("'*:prompt -- ") && !zsh.contains("'*::") && zsh.contains("'--offline=-["), "{zsh}");
        assert!(
            fish.contains(" 'offline=?' ") && !fish.lines().any(|l| l.contains("-l offline") && l.ends_with(" -r"))
        );
        assert!(script(Shell::Zsh).starts_with("#compdef tokki\n") && script(Shell::Zsh).contains(":_tokki_models'"));
        let commands = of_models();
        for command in ["run", "serve", "show", "verify", "rm", "export"] {
            assert!(commands.iter().any(|known| known == command), "{command}");
        }
        assert!(!commands.iter().any(|known| ["pull", "import", "history"].contains(&known.as_str())), "{commands:?}");
    }
}
