//! The command line.

pub mod inside;
pub mod store;

pub use inside::{EnterArgs, ExecArgs, LogsArgs, SuexecArgs};

use crate::config::Change;
use crate::error::Error;
use crate::name::GuestName;
use crate::source::Source;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Exit statuses, for the help.
const STATUSES: &str = "\
Exit status: 0 done; 1 failed; 2 not understood; 3 the guest doesn't run; 4 no such guest; 5 it exists, runs or is
being worked on already; 6 it is up, but units failed; 7 time-out; 8 it ended before it was ready.
`run -- COMMAND`, `exec` and `enter` end with the command's own status (128 + number for a signal), or with 125 where
hostel failed, 126 where the command can't be executed, 127 where it isn't found.";

/// Boots Linux distributions, unmodified, as guests that share the host's kernel.
#[derive(Parser, Debug)]
#[command(name = "hostel", version, after_help = STATUSES, disable_help_subcommand = true)]
pub struct Cli {
    /// Folders and programs.
    #[command(flatten)]
    pub places: PlaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Args, Debug)]
pub struct PlaceArgs {
    /// Folder of guests [default: /var/lib/hostel; ordinary users: below $XDG_DATA_HOME]
    #[arg(long, global = true, value_name = "DIR", env = "HOSTEL_STORE")]
    pub store: Option<PathBuf>,
    /// Folder of running guests' records [default: /run/hostel-host; ordinary users: below $XDG_RUNTIME_DIR]
    #[arg(long, global = true, value_name = "DIR", env = "HOSTEL_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// Folder of hostel-init, hostel-warden and hostel-keeper [default: that of hostel itself, then /usr/libexec/hostel]
    #[arg(long, global = true, value_name = "DIR", env = "HOSTEL_PROGRAMS")]
    pub programs: Option<PathBuf>,
    /// Say how long each step into a context took
    #[arg(long, global = true)]
    pub trace: bool,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a guest, or one command in it, in the foreground
    #[command(
        after_help = "Without a command the guest boots, with its console here; Ctrl-] three times, SIGTERM or \
                            SIGINT stop it, once more kills it."
    )]
    Run(RunArgs),
    /// Make a guest
    Create(CreateArgs),
    /// Make a guest that begins as another one is now
    Clone(store::CloneArgs),
    /// Keep a guest's root as it is now, by a name
    Snapshot(store::SnapshotArgs),
    /// Let a guest be as it was at a snapshot
    Rollback(store::RollbackArgs),
    /// Let guests share the files that are equal
    Unify(store::UnifyArgs),
    /// Pack a guest's root into an archive
    Export(store::ExportArgs),
    /// What guests take on disk, their own and shared
    Du(store::DuArgs),
    /// Check the store of guests
    Fsck(store::FsckArgs),
    /// Start a guest, and return when it is ready
    Start(StartArgs),
    /// Stop a guest in order, and return when nothing of it is left
    Stop(StopArgs),
    /// Start all guests that have a mark, in the order that they depend on each other: what a host does at its boot
    StartAll(StartAllArgs),
    /// Stop all guests, each before those that it depends on: what a host does at its shutdown
    StopAll(StopAllArgs),
    /// Stop a guest if it runs, and start it
    Restart(StartArgs),
    /// What a guest is and does
    Status(StatusArgs),
    /// Where the time of a guest's boot went: a chart, the critical path, what units waited for and what they cost
    Boot(BootArgs),
    /// All guests
    List(JsonArgs),
    /// Run a command in a running guest
    Exec(ExecArgs),
    /// A login shell in a running guest, on a terminal of its own
    Enter(EnterArgs),
    /// Run a command in a running guest as one of its users, in that user's home
    Suexec(SuexecArgs),
    /// What a guest's units have logged
    Logs(LogsArgs),
    /// Which front-end a guest or a root gets and why, and what its boot would start
    #[command(after_help = SOURCES)]
    Check(CheckArgs),
    /// Wait until a guest has ended; exits with its status
    Wait(WaitArgs),
    /// Processes of running guests
    Ps(PsArgs),
    /// What running guests use: processors, memory, devices, tasks, and what they wait for
    Stats(StatsArgs),
    /// The same, again and again
    Top(TopArgs),
    /// Let all processes of a guest stand still
    Freeze(GuestArgs),
    /// Let them go on
    Thaw(GuestArgs),
    /// Kill a guest at once, or send a signal to processes of it
    Kill(KillArgs),
    /// Change a guest's configuration; limits of a running guest change at once
    Set(SetArgs),
    /// A guest's configuration
    Show(ShowArgs),
    /// Change a guest's configuration in an editor
    Edit(EditArgs),
    /// Make a guest of one of util-vserver's, and say what of its configuration is carried over and what isn't
    Import(ImportArgs),
    /// Remove a guest and all that it wrote
    Rm(RmArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// What the keeper calls when init is gone
    #[command(name = "__ended", hide = true)]
    Ended {
        /// The guest.
        guest: GuestName,
    },
}

impl Command {
    /// Does it first put right what killed commands have left, of whichever guest? Not what must be fast, and not what is
    /// itself a part of putting right.
    pub fn puts_right(&self) -> bool {
        !matches!(
            self,
            Command::Exec(_)
                | Command::Enter(_)
                | Command::Logs(_)
                | Command::Ps(_)
                | Command::Stats(_)
                | Command::Top(_)
                | Command::Completions { .. }
                | Command::Ended { .. }
        )
    }
}

/// Arguments of commands that only print.
#[derive(Args, Debug)]
pub struct JsonArgs {
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where the root comes from.
const SOURCES: &str = "\
SOURCE is one of
  dir:PATH      a directory, used where it is (it must stay, and be used by this guest only unless --volatile)
  tar:FILE      an archive, unpacked into the store
  oci:PATH      an image in OCI's layout, a directory or an archive; oci:PATH:NAME where it has several
  host:/        this machine's own root, which stays as it is: what the guest writes goes into a layer above it
  debian:SUITE  a Debian suite (bookworm, trixie, ...), fetched by mmdebstrap";

/// Arguments of `run`.
#[derive(Args, Debug)]
#[command(after_long_help = SOURCES)]
pub struct RunArgs {
    /// The root: dir:PATH, tar:FILE, oci:PATH, host:/ or debian:SUITE
    pub source: Source,
    /// Remove what it wrote when it has ended (the default; `create` makes guests that stay)
    #[arg(long)]
    pub rm: bool,
    /// Its name [default: made up]
    #[arg(long)]
    pub name: Option<GuestName>,
    /// Keep what it writes in memory, and the root below as it is (the default for host:/)
    #[arg(long)]
    pub volatile: bool,
    /// Packages that debian:SUITE gets beside the base, comma-separated
    #[arg(long, value_name = "PACKAGES")]
    pub include: Option<String>,
    /// Set a key of its configuration, as `hostel set` does
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<Change>,
    /// The front-end: auto, systemd, sysv, openrc, runit, inittab or native; plain: the guest's own /sbin/init is PID 1
    #[arg(long, value_name = "INIT", value_parser = init)]
    pub init: Option<Change>,
    /// How long a stop may take before the guest is killed, in seconds
    #[arg(long, default_value = "90", value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Duration,
    /// A command in the place of the guest's services
    #[arg(last = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `create`.
#[derive(Args, Debug)]
#[command(after_help = SOURCES)]
pub struct CreateArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// The root: dir:PATH, tar:FILE, oci:PATH, host:/ or debian:SUITE
    #[arg(long, value_name = "SOURCE")]
    pub from: Source,
    /// Each start begins with the root as it is: what the guest writes stays in memory and goes with its end
    #[arg(long)]
    pub volatile: bool,
    /// The guest writes into its root itself, with no layer above: for one that lays overlays over it, as containers do
    #[arg(long, conflicts_with = "volatile")]
    pub direct: bool,
    /// Packages that debian:SUITE gets beside the base, comma-separated
    #[arg(long, value_name = "PACKAGES")]
    pub include: Option<String>,
    /// Set a key of its configuration, as `hostel set` does
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<Change>,
    /// The front-end: auto, systemd, sysv, openrc, runit, inittab or native; plain: the guest's own /sbin/init is PID 1
    #[arg(long, value_name = "INIT", value_parser = init)]
    pub init: Option<Change>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

impl CreateArgs {
    /// For a guest from this source with these settings, and all else as it is by default.
    pub fn of(guest: GuestName, from: Source, set: Vec<Change>) -> CreateArgs {
        CreateArgs {
            guest,
            from,
            volatile: false,
            direct: false,
            include: None,
            set,
            init: None,
            json: false,
        }
    }
}

/// Arguments of `import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Its folder, as /etc/vservers/NAME; its root is where the link `vdir` leads, and stays there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Its name [default: the one that it had]
    #[arg(value_name = "NAME")]
    pub guest: Option<GuestName>,
    /// Only say what would be carried over
    #[arg(long)]
    pub check: bool,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A guest, or a root: dir:PATH, tar:FILE, oci:PATH, host:/ or debian:SUITE
    #[arg(value_name = "NAME|SOURCE")]
    pub subject: Subject,
    /// As if this were its key `init`
    #[arg(long, value_name = "INIT", value_parser = init)]
    pub init: Option<Change>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `check` looks at.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A guest of the store.
    Guest(GuestName),
    /// A root.
    Source(Source),
}

impl std::str::FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subject, Error> {
        // No guest's name has a colon.
        if text.contains(':') { text.parse().map(Subject::Source) } else { text.parse().map(Subject::Guest) }
    }
}

/// The key `init`, from its value.
fn init(value: &str) -> Result<Change, Error> {
    format!("init={value}").parse()
}

/// Arguments of `start` and `restart`.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// How long to wait until it is ready, in seconds; it goes on booting after that [default: its key start-timeout, or 120]
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Option<Duration>,
    /// How long a stop may take before the guest is killed, in seconds (restart) [default: its key stop-timeout, or 90]
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub stop_timeout: Option<Duration>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `stop`.
#[derive(Args, Debug)]
pub struct StopArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// How long an orderly stop may take before the guest is killed, in seconds [default: its key stop-timeout, or 90]
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Option<Duration>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `start-all`.
#[derive(Args, Debug)]
pub struct StartAllArgs {
    /// Guests that have this mark; may be given again [default: default]
    #[arg(long = "mark", short, value_name = "MARK", conflicts_with = "all")]
    pub marks: Vec<GuestName>,
    /// All guests, marked or not
    #[arg(long, short)]
    pub all: bool,
    /// How many at once [default: two for each processor]
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Arguments of `stop-all`.
#[derive(Args, Debug)]
pub struct StopAllArgs {
    /// Guests that have this mark; may be given again [default: all that run]
    #[arg(long = "mark", short, value_name = "MARK")]
    pub marks: Vec<GuestName>,
    /// How many at once [default: 64]
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// All units, not only those that failed
    #[arg(long, short)]
    pub all: bool,
    /// Print nothing: the exit status says whether it runs
    #[arg(long, short, conflicts_with_all = ["all", "json"])]
    pub quiet: bool,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `boot`.
#[derive(Args, Debug)]
pub struct BootArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// What this unit waited for, in the place of the whole
    #[arg(long, short, value_name = "UNIT")]
    pub unit: Option<String>,
    /// All units that were started, not only those that cost something
    #[arg(long, short)]
    pub all: bool,
    /// Draw the boot into this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print facts as JSON; times are microseconds since init began
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `wait`.
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// How long to wait, in seconds [default: for ever]
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Option<Duration>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ps`.
#[derive(Args, Debug)]
pub struct PsArgs {
    /// The guests [default: all]
    #[arg(value_name = "NAME")]
    pub guests: Vec<GuestName>,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `stats`.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// The guests [default: all]
    #[arg(value_name = "NAME")]
    pub guests: Vec<GuestName>,
    /// Print facts as JSON
    #[arg(long, conflicts_with = "prometheus")]
    pub json: bool,
    /// Print Prometheus' text format
    #[arg(long)]
    pub prometheus: bool,
}

/// Arguments of `top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// The guests [default: all]
    #[arg(value_name = "NAME")]
    pub guests: Vec<GuestName>,
    /// How long between two looks, in seconds
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub every: Duration,
    /// How often [default: for ever]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub times: Option<u32>,
}

/// A guest, and nothing more.
#[derive(Args, Debug)]
pub struct GuestArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
}

/// Arguments of `kill`.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// The signal: a name or a number
    #[arg(long, short, default_value = "KILL", value_parser = signal_number, value_name = "SIGNAL")]
    pub signal: i32,
    /// Processes of it, by the host's numbers, as `ps` prints them [default: all of the guest]
    #[arg(value_name = "PID")]
    pub pids: Vec<i32>,
}

/// Arguments of `set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// What is to hold: memory=512M, cpu=150%, ...; without a value the key is taken away
    #[arg(required = true, value_name = "NAME=VALUE")]
    pub changes: Vec<Change>,
}

/// Arguments of `show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// Print facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
}

/// Arguments of `rm`.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// Also when it runs: it is killed
    #[arg(long, short)]
    pub force: bool,
}

/// Signals of signal(7) that make sense from a command line.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("WINCH", libc::SIGWINCH),
    ("PWR", libc::SIGPWR),
];

fn signal_number(text: &str) -> Result<i32, Error> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = named.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)));
    number.ok_or_else(|| {
        let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        Error::Invalid(format!(
            "{text:?} is no signal: give a number from 1 to 64, or one of {}",
            names.join(", ")
        ))
    })
}

fn seconds(text: &str) -> Result<Duration, Error> {
    let wrong = || Error::Invalid(format!("{text:?} isn't a number of seconds, as in 90 or 0.5"));
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_command_line_when_checked_by_clap_then_it_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn given_signals_when_parsed_then_names_and_numbers_count_and_nonsense_is_refused() {
        for (text, number) in [("TERM", 15), ("sigkill", 9), ("34", 34)] {
            assert_eq!(signal_number(text).unwrap(), number);
        }
        for nonsense in ["", "0", "65", "FOO"] {
            assert!(signal_number(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn given_seconds_when_parsed_then_fractions_count_and_nonsense_is_refused() {
        assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(seconds("90s").unwrap(), Duration::from_secs(90));
        for nonsense in ["", "-1", "inf", "x"] {
            assert!(seconds(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn given_a_command_after_two_dashes_when_parsed_then_its_options_are_its_own() {
        let cli = Cli::try_parse_from(["hostel", "run", "host:/", "--", "ls", "--all", "--", "x"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!(run.command, ["ls", "--all", "--", "x"]);
    }
}
