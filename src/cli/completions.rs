//! `tokki completions`: completion scripts for shells. They know the words that options can have, and ask `tokki list` for
//! the names of models.

use super::output::result;
use super::whole;
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

/// Commands whose first argument is a model's name.
fn of_models() -> Vec<String> {
    let takes_model = |command: &&clap::Command| {
        let first = command.get_positionals().next();
        first.is_some_and(|arg| ["model", "models", "name", "names"].contains(&arg.get_id().as_str()))
    };
    whole::command().get_subcommands().filter(takes_model).map(|command| command.get_name().to_owned()).collect()
}

/// Flags whose value is a model's name, and those with another value, as words of a shell's `case`.
fn valued() -> (String, String) {
    let command = whole::command();
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
    clap_complete::generate(args.shell, &mut with_words(whole::command()), "tokki", &mut script);
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
    let all: Vec<String> = whole::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
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
    # These take names alone.
    case \"$command\" in
        rm | verify) compopt +o default +o bashdefault 2>/dev/null ;;
        *) _tokki_files \"$word\" ;;
    esac
}}
complete -F _tokki_with_names -o nosort -o bashdefault -o default tokki 2>/dev/null || \\
    complete -F _tokki_with_names -o bashdefault -o default tokki
"
        ),
        Shell::Zsh => {
            let names = "_tokki_models() {
    local -a names
    names=(${(f)\"$(tokki list --names 2>/dev/null)\"})
    [[ $words[1] == pull || $service == *pull ]] && names=()
    [[ $words[1] == (pull|plan|run) || $service == *(pull|plan|run) ]] && names+=(${(f)\"$(tokki list --catalogue --names 2>/dev/null)\"})
    compadd -a names
    [[ $words[1] == (rm|verify) || $service == *(rm|verify) ]] || _files
}
";
            let asks = |line: &str| {
                let of_a_model = ["'::model -- ", "':model -- ", "':what -- ", "'*::names -- ", "'*:names -- "];
                let asks = of_a_model.iter().any(|start| line.trim_start().starts_with(start));
                let line = line.replace(":MODEL:_default'", ":MODEL:_tokki_models'");
                if asks { line.replace(":_default'", ":_tokki_models'") } else { line }
            };
            let lines: Vec<String> = script.lines().map(asks).collect();
            let (first, rest) =
                lines.split_first().map_or((String::new(), Vec::new()), |(f, r)| (f.clone(), r.to_vec()));
            format!("{first}\n\n{names}{}\n", rest.join("\n"))
        }
        Shell::Fish => format!(
            "{script}
complete -c tokki -n \"__fish_seen_subcommand_from {}\" -a \"(tokki list --names 2>/dev/null)\"
complete -c tokki -n \"__fish_seen_subcommand_from batch\" -l model -x -a \"(tokki list --names 2>/dev/null)\"
complete -c tokki -n \"__fish_seen_subcommand_from pull plan run\" -a \"(tokki list --catalogue --names 2>/dev/null)\"
",
            of_models().join(" ")
        ),
        _ => script.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn words_and_names_are_offered() {
        whole::set(Cli::command);
        let script = |shell| {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut with_words(Cli::command()), "tokki", &mut script);
            with_names(shell, &String::from_utf8_lossy(&script))
        };
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(shell);
            assert!(text.contains("list --names") && text.contains("q8_0"), "{shell}");
        }
        assert!(script(Shell::Zsh).starts_with("#compdef tokki\n") && script(Shell::Zsh).contains(":_tokki_models'"));
        let commands = of_models();
        for command in ["run", "serve", "show", "verify", "rm", "export"] {
            assert!(commands.iter().any(|known| known == command), "{command}");
        }
        assert!(!commands.iter().any(|known| ["pull", "import", "history"].contains(&known.as_str())), "{commands:?}");
    }
}
