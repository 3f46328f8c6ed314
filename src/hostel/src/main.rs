//! The spawner: makes contexts, starts and stops guests, and talks to them.
//!
//! It touches the host: its records and its store, namespaces, cgroups and mounts. What a guest controls it reads only
//! inside that guest ([`join`]). There's no daemon: a running guest has one process on the host, its keeper, and all
//! that this tool knows is in files that each command reads anew.
//!
//! - [`cli`] says what can be asked, [`command`] does it.
//! - [`source`] and [`store`]: what a guest is made from and how it is kept, in [`tree`]s; [`registry`]: its ids.
//! - [`context`]: what it lives in, step by step; [`launch`]: from a guest to its running init; [`handover`]: or to its own.
//! - [`config`]: what its owner has set, its limits among it; [`network`]: what connects it.
//! - [`policy`], [`scripts`], [`fleet`]: how a guest is to live, what is run at each stage of that, and in which order many do.
//! - [`vserver`]: the same in the words of those who know util-vserver, and their guests' configuration.
//! - [`record`] and [`lifecycle`]: what runs, and what is put right after an end; [`journal`]: or after a command was killed.

mod bpf;
mod cli;
mod command;
mod config;
mod context;
mod error;
mod escape;
mod fleet;
mod guest_user;
mod handover;
mod join;
mod journal;
mod launch;
mod lifecycle;
mod name;
mod network;
mod outputs;
mod places;
mod policy;
mod process;
mod programs;
mod progress;
mod record;
mod registry;
mod scripts;
mod source;
mod still;
mod store;
mod sys;
mod terminal;
mod tree;
mod unit_status;
mod usage;
mod vserver;
mod watches;

use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Command};
use error::{Error, Result, exit};
use places::Places;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Nothing that the caller has left open may reach a guest or its keeper.
    let hidden = sys::fds::close_on_exec_from(3);
    let words = match words() {
        Ok(words) => words,
        Err(error) => {
            print_error(&error);
            return ExitCode::from(error.exit_status());
        }
    };
    let cli = match parse(words) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = hidden.map_err(|e| Error::call("marking descriptors", e)).and_then(|()| run(&cli));
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print_error(&error);
            let in_place_of_a_command = match &cli.command {
                Command::Run(args) => !args.command.is_empty(),
                Command::Exec(_) | Command::Enter(_) | Command::Suexec(_) => true,
                _ => false,
            };
            let status = error.exit_status();
            // What concerns the guest keeps its own status; what failed on the way isn't the command's.
            ExitCode::from(if in_place_of_a_command { status_for_command(&error) } else { status })
        }
    }
}

/// The command line; the journal learns the command's name.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> std::result::Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    journal::call_this(matches.subcommand_name().unwrap_or_default());
    Cli::from_arg_matches(&matches)
}

/// What the tool was called with; called by the name of one of util-vserver's programs, what that means.
fn words() -> Result<Vec<OsString>> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let program = words
        .first()
        .map(|word| Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned());
    let rest = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    let Some(spoken) = vserver::spoken(&program.unwrap_or_default(), rest) else { return Ok(words) };
    let spoken = spoken?;
    if let Some(name) = &spoken.if_runs {
        let folder = |name| std::env::var_os(name).map(Into::into);
        let places = Places::new(folder("HOSTEL_RUN_DIR"), folder("HOSTEL_STORE"))?;
        if !matches!(lifecycle::Life::look(&places, &name.parse()?)?, lifecycle::Life::Up(..)) {
            return Err(Error::Said(exit::OK));
        }
    }
    if let Some(question) = &spoken.question
        && !command::confirmed(question)
    {
        return Err(Error::Said(exit::FAILED));
    }
    words.truncate(1);
    words.extend(spoken.arguments.into_iter().map(OsString::from));
    Ok(words)
}

/// Help goes to standard output; a complaint to standard error, with what it quotes made harmless.
fn explain(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        eprint!("{}", complaint(error));
        return ExitCode::from(exit::USAGE);
    }
    command::print(&error.render().to_string());
    ExitCode::from(exit::OK)
}

/// What clap says of a command line, which it quotes as it is.
fn complaint(error: &clap::Error) -> String {
    escape::printable(error.render().to_string().as_bytes())
}

fn status_for_command(error: &Error) -> u8 {
    match error {
        Error::NotRunning(_)
        | Error::NoSuchGuest(_)
        | Error::Invalid(_)
        | Error::Source { .. }
        | Error::Said(_) => error.exit_status(),
        _ => exit::HOSTEL_FAILED,
    }
}

fn run(cli: &Cli) -> Result<u8> {
    join::seal_own_program()?;
    let places = Places::new(cli.places.run_dir.clone(), cli.places.store.clone())?;
    let (programs, trace) = (cli.places.programs.as_deref(), cli.places.trace);
    if cli.command.puts_right()
        && let Err(error) = journal::settle(&places)
    {
        print_error(&error);
    }
    match &cli.command {
        Command::Run(args) => command::run::run(&places, programs, trace, args),
        Command::Create(args) => command::create::create(&places, args),
        Command::Clone(args) => command::clone::clone(&places, args),
        Command::Snapshot(args) => command::clone::snapshot(&places, args),
        Command::Rollback(args) => command::clone::rollback(&places, args),
        Command::Export(args) => command::export::export(&places, args),
        Command::Unify(args) => command::unify::unify(&places, args),
        Command::Fsck(args) => command::fsck::fsck(&places, args),
        Command::Du(args) => command::du::du(&places, args),
        Command::Start(args) => command::start::start(&places, programs, trace, args),
        Command::Stop(args) => command::stop::stop(&places, args),
        Command::StartAll(args) => command::fleet::start_all(&places, programs, args),
        Command::StopAll(args) => command::fleet::stop_all(&places, programs, args),
        Command::Restart(args) => command::start::restart(&places, programs, trace, args),
        Command::Status(args) => command::status::status(&places, args),
        Command::Boot(args) => command::boot::boot(&places, args),
        Command::List(args) => command::list::list(&places, args),
        Command::Exec(args) => command::enter::exec(&places, args),
        Command::Enter(args) => command::enter::enter(&places, args),
        Command::Suexec(args) => command::enter::suexec(&places, args),
        Command::Logs(args) => command::logs::logs(&places, programs, args),
        Command::Check(args) => command::check::check(&places, programs, args),
        Command::Wait(args) => command::stop::wait(&places, args),
        Command::Ps(args) => command::usage::ps(&places, args),
        Command::Stats(args) => command::usage::stats(&places, args),
        Command::Top(args) => command::usage::top(&places, args),
        Command::Freeze(args) => command::freeze::freeze(&places, args),
        Command::Thaw(args) => command::freeze::thaw(&places, args),
        Command::Kill(args) => command::freeze::kill(&places, args),
        Command::Set(args) => command::set::set(&places, args),
        Command::Show(args) => command::set::show(&places, args),
        Command::Edit(args) => command::set::edit(&places, args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "hostel", &mut std::io::stdout());
            Ok(exit::OK)
        }
        Command::Import(args) => command::import::import(&places, args),
        Command::Rm(args) => command::create::rm(&places, args),
        Command::Ended { guest } => {
            let programs = programs::find(programs)?;
            launch::after_the_end(&places, guest, &programs).map(|()| exit::OK)
        }
    }
}

/// Says what went wrong, on standard error. What of it comes from a guest or the command line is made harmless.
fn print_error(error: &Error) {
    if !matches!(error, Error::Said(_)) {
        eprintln!("hostel: {}", escape::printable(error.to_string().as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn given_control_characters_on_the_command_line_when_refused_then_the_complaint_has_them_written_out() {
        for line in [
            &["hostel", "status", "\u{1b}[31m"],
            &["hostel", "run", "\u{1b}[31m"],
            &["hostel", "\u{1b}[31m", "x"],
        ] {
            let said = complaint(&Cli::try_parse_from(line).unwrap_err());
            assert!(!said.contains('\u{1b}'), "{said:?}");
            assert!(said.contains("[31m"), "{said:?}");
        }
    }
}
