//! /etc/inittab: sysvinit's (inittab(5)) and BusyBox's (`examples/inittab` there), line by line.
//!
//! sysvinit: `id:runlevels:action:process`. First `sysinit`, then `boot` and `bootwait`, then the lines of the runlevel that
//! `initdefault` names, in their order; a line that is waited for holds back all behind it. BusyBox: `tty::action:process`,
//! with the actions in a fixed order. So each line that runs is a unit, ordered behind the last one that is waited for.
//!
//! | action | unit |
//! | --- | --- |
//! | sysinit, bootwait, wait | a oneshot that stays; what it leaves running is its own |
//! | boot, once | a service that is not waited for and not started again |
//! | respawn, askfirst | `Restart=always`; sysvinit's ten starts in two minutes are followed by a pause of five |
//! | shutdown; wait in runlevel 0 | the stop command of a unit that is stopped before all others |
//!
//! A terminal of a guest is its console. Gettys of other terminals are left out, and where that leaves none, the first of them
//! gets the console. ctrlaltdel, powerfail and their kin are what init itself does on those signals; `restart` is nothing
//! that a guest could do.

use super::text::{CONSOLE, CONTAINER, INHERITED, after, command, literal, name_part, quote, unit};
use super::{Units, read};
use crate::compile::lookup::Root;
use crate::compile::notes::{At, Notes};

/// The table.
pub const FILE: &str = "/etc/inittab";
/// What BusyBox runs where there's no table.
pub const BUSYBOX_SYSINIT: &str = "/etc/init.d/rcS";
/// BusyBox' own table, less its other terminals and what it does at the end, which is init's.
const BUSYBOX_DEFAULT: &str = "::sysinit:/etc/init.d/rcS\n::askfirst:-/bin/sh\n";
/// The unit that everything is wanted by.
pub const DEFAULT: &str = "default.target";
/// The unit that is stopped before all others.
const SHUTDOWN: &str = "inittab-shutdown.service";
/// Taken where no initdefault names a runlevel.
const RUNLEVEL: char = '2';
/// Most lines that are taken.
const LINES_MAX: usize = 500;

/// Which init a table is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sysvinit,
    BusyBox,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file.
    number: u32,
    /// Its name, or its terminal.
    id: String,
    levels: String,
    /// What is done with the process.
    pub action: String,
    /// The command line.
    pub process: String,
}

impl Line {
    /// The name of the program that it runs, without its folder.
    pub fn program(&self) -> &str {
        let first = self.process.split_whitespace().next().unwrap_or("");
        first.rsplit('/').next().unwrap_or("").trim_start_matches(['-', '+', '@'])
    }

    fn at(&self) -> At {
        At { file: FILE.into(), line: self.number }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    dialect: Dialect,
    lines: Vec<Line>,
}

/// What is done on a signal or at a time that is init's.
const INITS_OWN: &[&str] = &[
    "ctrlaltdel",
    "kbrequest",
    "powerfail",
    "powerwait",
    "powerokwait",
    "powerfailnow",
    "restart",
    "ondemand",
    "off",
    "initdefault",
];

impl Table {
    /// The table of a root; `None` where there's none.
    pub fn read(root: &Root) -> Option<Table> {
        let lines = parse(&read(root, FILE)?);
        Some(Table { dialect: dialect(root, &lines), lines })
    }

    /// One without lines.
    pub fn empty() -> Table {
        Table { dialect: Dialect::Sysvinit, lines: Vec::new() }
    }

    /// Lines of the runlevel that the guest goes to.
    pub fn of_runlevel(&self) -> impl Iterator<Item = &Line> {
        let level = self.runlevel();
        let any = self.dialect == Dialect::BusyBox;
        self.lines.iter().filter(move |line| line.action == "wait" && (any || line.levels.contains(level)))
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// The runlevel of `initdefault`.
    pub fn runlevel(&self) -> char {
        let line = self.lines.iter().find(|line| line.action == "initdefault");
        line.and_then(|line| line.levels.chars().next()).unwrap_or(RUNLEVEL)
    }

    /// The lines that run at boot, in their order.
    fn of_boot(&self) -> Vec<&Line> {
        let of = |actions: &[&str]| -> Vec<&Line> {
            self.lines.iter().filter(|line| actions.contains(&line.action.as_str())).collect()
        };
        match self.dialect {
            Dialect::BusyBox => {
                [of(&["sysinit"]), of(&["wait"]), of(&["once"]), of(&["respawn", "askfirst"])].concat()
            }
            Dialect::Sysvinit => {
                let level = self.runlevel();
                let mut runlevel = of(&["wait", "once", "respawn"]);
                // sysvinit takes a line without runlevels in each of them.
                runlevel.retain(|line| line.levels.is_empty() || line.levels.contains(level));
                [of(&["sysinit"]), of(&["boot", "bootwait"]), runlevel].concat()
            }
        }
    }

    /// The commands that run at the end.
    fn of_end(&self) -> Vec<&Line> {
        let ends = |line: &&Line| match self.dialect {
            Dialect::BusyBox => line.action == "shutdown",
            Dialect::Sysvinit => line.action == "wait" && line.levels.contains('0'),
        };
        self.lines.iter().filter(ends).collect()
    }
}

fn dialect(root: &Root, lines: &[Line]) -> Dialect {
    let init = root.resolve("/sbin/init").ok();
    match init.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str()) {
        Some("busybox") => Dialect::BusyBox,
        // Whose table it is shows in its lines: an init of any name may be a script that becomes BusyBox' (as in Debian's
        // installer), and only there a line may do without an id.
        _ if lines.iter().any(|line| line.action == "initdefault") => Dialect::Sysvinit,
        Some("init") if lines.iter().all(|line| !line.id.is_empty()) => Dialect::Sysvinit,
        _ => Dialect::BusyBox,
    }
}

fn parse(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || lines.len() >= LINES_MAX {
            continue;
        }
        let mut fields = line.splitn(4, ':').map(str::trim);
        let (Some(id), Some(levels), Some(action)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        lines.push(Line {
            number,
            id: id.trim_start_matches("/dev/").to_owned(),
            levels: levels.to_owned(),
            action: action.to_owned(),
            process: fields.next().unwrap_or("").to_owned(),
        });
    }
    lines
}

/// The units of a root whose table stands alone.
pub fn units(root: &Root, notes: &mut Notes) -> Units {
    let default = || Table { dialect: Dialect::BusyBox, lines: parse(BUSYBOX_DEFAULT) };
    let table = Table::read(root).unwrap_or_else(default);
    let mut layout = Layout::default();
    layout.boot(&table, &|_| None, notes);
    layout.end(&table.of_end());
    layout.units
}

/// Units of lines, as they are laid out one behind the other.
#[derive(Default)]
pub struct Layout {
    /// What there is so far.
    pub units: Units,
    /// The last unit that is waited for.
    barrier: Option<String>,
    /// Targets that stand for a line that was replaced, each with what it has to wait for.
    pub replaced: Vec<(&'static str, Option<String>)>,
    all: Vec<String>,
    /// The console is taken.
    console: bool,
}

impl Layout {
    /// All that runs at boot. A line for which `replace` names a target is done by what that target wants.
    pub fn boot(
        &mut self,
        table: &Table,
        replace: &dyn Fn(&Line) -> Option<&'static str>,
        notes: &mut Notes,
    ) {
        let lines = table.of_boot();
        let on_console = lines.iter().any(|line| terminal_of(line, table.dialect) == Terminal::Console);
        for line in lines {
            if let Some(target) = replace(line) {
                self.barrier(target);
                continue;
            }
            let mut line = line.clone();
            match terminal_of(&line, table.dialect) {
                Terminal::None => {}
                Terminal::Console if !self.console => self.console = true,
                Terminal::Other(name) if !self.console && !on_console => {
                    self.console = true;
                    notes.note(&line.at(), format!("A guest has no {name}: this line gets the console"));
                    line.process = on_the_console(&line.process, &name);
                }
                Terminal::Console | Terminal::Other(_) => {
                    notes.note(
                        &line.at(),
                        "A guest has no terminal but its console, which is taken: left out",
                    );
                    continue;
                }
            }
            self.line(&line, table.dialect, notes);
        }
        for line in table.lines.iter().filter(|line| !is_known(&line.action)) {
            let text = format!("Unknown action '{}': the line is left out", line.action);
            notes.warn(&line.at(), text, "see inittab(5)");
        }
        self.add(DEFAULT, unit("Everything of /etc/inittab", &[], ""));
    }

    /// Is there a line that has the console?
    pub fn has_console(&self) -> bool {
        self.console
    }

    fn barrier(&mut self, target: &'static str) {
        if !self.replaced.iter().any(|(name, _)| *name == target) {
            self.replaced.push((target, self.barrier.take()));
            self.want(target);
        }
        self.barrier = Some(target.to_owned());
    }

    /// Adds a unit that the default target wants.
    pub fn service(&mut self, name: &str, text: String) {
        self.add(name, text);
        self.want(name);
    }

    fn add(&mut self, name: &str, text: String) {
        self.units.add(name, text);
    }

    /// Has the default target want a unit.
    pub fn want(&mut self, name: &str) {
        self.units.want(DEFAULT, name);
        self.all.push(name.to_owned());
    }

    fn line(&mut self, line: &Line, dialect: Dialect, notes: &mut Notes) {
        if line.process.is_empty() {
            return notes.warn(&line.at(), "The line runs nothing: left out", "name a program");
        }
        let stem = match dialect {
            Dialect::Sysvinit => format!("inittab-{}", name_part(&line.id)),
            Dialect::BusyBox => format!("inittab-{}-{}", line.action, line.number),
        };
        let name = format!("{stem}.service");
        let terminal = terminal_of(line, dialect) == Terminal::Console;
        let waits = matches!(line.action.as_str(), "sysinit" | "bootwait" | "wait");
        let kind = match line.action.as_str() {
            _ if waits => "Type=oneshot\nRemainAfterExit=yes\n".to_owned(),
            "boot" | "once" => "Type=simple\nRemainAfterExit=yes\n".to_owned(),
            _ => self.restart(&stem, dialect),
        };
        let start = if line.action == "askfirst" { ask_first(&line.process) } else { start(&line.process) };
        let environment = environment(dialect, waits && line.action != "wait", line);
        let console = if terminal { CONSOLE } else { "" };
        let service = format!("[Service]\n{kind}ExecStart={start}\n{environment}{console}");
        let mut head = after(self.barrier.as_deref());
        head.push(format!("SourcePath={FILE}"));
        if matches!(line.action.as_str(), "respawn" | "askfirst") {
            head.push(limit(dialect).to_owned());
        }
        self.service(&name, unit(&format!("{FILE}:{}: {}", line.number, line.process), &head, &service));
        if waits {
            self.barrier = Some(name);
        }
    }

    /// Directives of a service that is started again and again.
    fn restart(&mut self, stem: &str, dialect: Dialect) -> String {
        match dialect {
            Dialect::BusyBox => "Restart=always\nRestartSec=1\n".to_owned(),
            Dialect::Sysvinit => {
                let timer = "[Timer]\nOnUnitInactiveSec=5min\nAccuracySec=1s\n";
                let text = unit("Another try after a pause", &[], timer);
                self.service(&format!("{stem}.timer"), text);
                "Restart=always\nRestartSec=100ms\n".to_owned()
            }
        }
    }

    /// The commands of the end: stopped before all others is what comes behind them.
    pub fn end(&mut self, lines: &[&Line]) {
        if lines.is_empty() {
            return;
        }
        let stops = lines.iter().map(|line| format!("ExecStop=-{}\n", start(&line.process)));
        let service = format!(
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStopSec=5min\n\
             {INHERITED}Environment=RUNLEVEL=0 PREVLEVEL=2 CONSOLE=/dev/console\n{}",
            stops.collect::<String>()
        );
        let head: Vec<String> = self.all.iter().map(|unit| format!("After={unit}")).collect();
        self.service(SHUTDOWN, unit("Commands of the end in /etc/inittab", &head, &service));
    }
}

fn is_known(action: &str) -> bool {
    const OF_LINES: &[&str] =
        &["sysinit", "boot", "bootwait", "wait", "once", "respawn", "askfirst", "shutdown"];
    OF_LINES.contains(&action) || INITS_OWN.contains(&action)
}

/// How often a line may be started again.
fn limit(dialect: Dialect) -> &'static str {
    match dialect {
        // It never gives up.
        Dialect::BusyBox => "StartLimitIntervalSec=0",
        // init.c: MAXSPAWN, TESTTIME; SLEEPTIME is the timer's.
        Dialect::Sysvinit => "StartLimitIntervalSec=2min\nStartLimitBurst=10",
    }
}

fn environment(dialect: Dialect, boots: bool, line: &Line) -> String {
    let on_console = terminal_of(line, dialect) == Terminal::Console;
    let inherited = if on_console { CONTAINER } else { INHERITED };
    match dialect {
        Dialect::BusyBox => inherited.to_owned(),
        Dialect::Sysvinit => {
            let level = if boots { "S" } else { line.levels.get(..1).unwrap_or("2") };
            format!("{inherited}Environment=RUNLEVEL={} PREVLEVEL=N CONSOLE=/dev/console\n", literal(level))
        }
    }
}

/// The command, without what only says how it is to be run; `-` before a shell makes it one of a login.
fn start(process: &str) -> String {
    let process = process.trim_start_matches(['+', '@']);
    match process.strip_prefix('-') {
        None => command(process),
        Some(shell) => {
            let mut words = shell.split_whitespace();
            let program = words.next().unwrap_or("/bin/sh");
            let name = format!("-{}", program.rsplit('/').next().unwrap_or("sh"));
            let words = [program, &name].into_iter().chain(words).map(quote);
            format!("@{}", words.collect::<Vec<_>>().join(" "))
        }
    }
}

/// BusyBox' askfirst.
fn ask_first(process: &str) -> String {
    let (process, argument) = match process.strip_prefix('-') {
        Some(shell) => (shell, " -l"),
        None => (process, ""),
    };
    let script = format!(
        "printf '\\nPlease press Enter to activate this console. '; read -r answer; exec {process}{argument}"
    );
    format!("/bin/sh -c {}", quote(&script))
}

/// A line's terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Terminal {
    /// It needs none.
    None,
    Console,
    Other(String),
}

/// Names with which people are asked in, or talked to.
fn is_for_people(line: &Line) -> bool {
    let program = line.program();
    let shells = ["sh", "ash", "bash", "dash", "login", "sulogin"];
    line.action == "askfirst"
        || (line.action == "respawn"
            && (line.process.starts_with('-') || program.ends_with("getty") || shells.contains(&program)))
}

fn terminal_of(line: &Line, dialect: Dialect) -> Terminal {
    if !is_for_people(line) {
        return Terminal::None;
    }
    let words = || line.process.split_whitespace().skip(1);
    let named = words().find(|word| is_terminal(word)).map(str::to_owned);
    let named =
        named.or_else(|| Some(line.id.clone()).filter(|id| dialect == Dialect::BusyBox && !id.is_empty()));
    match named.as_deref() {
        None | Some("console") => Terminal::Console,
        Some(name) => Terminal::Other(name.to_owned()),
    }
}

fn is_terminal(word: &str) -> bool {
    let name = word.trim_start_matches("/dev/");
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_digit()))
    };
    name == "console" || ["tty", "hvc", "xvc", "vc/", "lxc/", "pts/"].into_iter().any(numbered)
}

/// The same line for the console.
fn on_the_console(process: &str, terminal: &str) -> String {
    let words = process.split_whitespace();
    words.map(|word| if word == terminal { "console" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
