//! The `tokki` command.

fn main() -> std::process::ExitCode {
    tokki::cli::main()
}
