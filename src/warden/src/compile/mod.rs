//! `hostel-warden compile`: from the guest's systemd units to a plan.
//!
//! Reads the guest's unit files, and with `--boot` runs its generators and prepares /run; writes the plan, and
//! what there is to say of the units. It never writes to the guest's root file system.
//!
//! First the front-end (`fronts`) turns what else defines services into units. Then, in order: `boot` and `generator` (at a boot only), `load` lists the search path, `select` follows the
//! dependencies from the default target on, and has each unit read: `syntax` gives assignments, `directive`
//! typed values, and the module of a section takes them into a `draft`. `defaults` adds what nobody writes down.
//! The result is `hostel_plan`'s model, and its builder makes the plan.
//!
//! A unit that is wrong costs itself, never the plan: init must come up with whatever is left.

mod action;
mod boot;
mod bus;
mod command;
mod defaults;
mod directive;
mod draft;
mod exec;
mod generator;
mod in_force;
mod load;
pub mod lookup;
mod mount;
pub mod name;
pub mod notes;
pub mod parsers;
mod path;
pub mod policy;
mod quoting;
pub mod root;
mod scope;
mod select;
mod service;
mod settings;
mod slice;
mod socket;
mod specifier;
mod stamps;
mod syntax;
pub mod time;
mod timer;
mod unit;
pub mod value;

#[cfg(test)]
mod guest_tests;

pub use quoting::{next_word, unescape};
pub use service::COMMANDS;
pub use specifier::Facts;
pub use value::parse_size;

use crate::applets;
use crate::fronts::{self, Family, Found};
use crate::sys;
use hostel_contract::paths;
use hostel_plan::build::{BuildError, build};
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::{UnitKind, unit_flags};
use in_force::InForce;
use name::UnitName;
use notes::{At, Level, Notes};
use root::Root;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: hostel-warden compile [--boot | --generators | --units] [--in-force-fd N] \
     [--output-fd N | --output FILE] [--root DIR]";

/// Is this directive one of systemd.resource-control(5), so that it can be set while the unit runs?
pub fn is_resource_control(directive: &str) -> bool {
    policy::directive(&[policy::Class::Control], directive).is_some()
}

/// Where init has the descriptor for the plan, and that of the plan in force.
const FD_OUTPUT: i32 = 3;
const FD_IN_FORCE: i32 = 4;

/// A time span of systemd.time(7) in microseconds, seconds where it has no unit.
pub fn parse_microseconds(text: &str) -> Option<u64> {
    time::parse_span(text, time::SECOND)
}

/// Why there's no plan.
#[derive(Debug)]
enum CompileError {
    /// The arguments are none of ours.
    Usage(String),
    /// The root is no directory that can be read.
    Root(PathBuf, io::Error),
    /// What the plan in force still holds up can't be told.
    InForce(String),
    /// The model can't be a plan.
    Build(BuildError),
    /// The plan can't be written.
    Output(String, io::Error),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Usage(text) => write!(f, "{text}\n{USAGE}"),
            CompileError::Root(dir, error) => {
                write!(f, "can't read the root directory {}: {error} (name a guest's root)", dir.display())
            }
            CompileError::InForce(reason) => {
                write!(f, "can't tell what runs of the plan in force: {reason} (ask for the reload again)")
            }
            CompileError::Build(error) => write!(f, "the units can't be made a plan: {error}"),
            CompileError::Output(to, error) => write!(f, "can't write the plan to {to}: {error}"),
        }
    }
}

/// What happens around the compilation proper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    /// Only files are read, for a person.
    Look,
    /// Units are read anew, of which the generators know nothing new.
    Units,
    /// Units are read anew: the generators run.
    Reload,
    /// The guest boots: /run is prepared too.
    Boot,
}

/// Where the plan goes.
#[derive(Debug)]
enum Output {
    /// Nowhere: only what there is to say is wanted.
    Nowhere,
    /// A file, replaced at once.
    File(PathBuf),
    /// A descriptor.
    Descriptor(i32),
}

struct Options {
    occasion: Occasion,
    output: Output,
    root: PathBuf,
    /// The plan in force, of which what runs is to be kept.
    in_force: Option<i32>,
}

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    // A foreign host may have given init none, and what is written below /run is for everybody to read only.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    let outcome = options(args).and_then(|options| {
        let logged = options.occasion != Occasion::Look;
        compile(&options).inspect_err(|error| {
            if logged {
                add_to_log(error)
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostel-warden compile: {error}");
            let usage = matches!(error, CompileError::Usage(_));
            if usage { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn options(args: &[OsString]) -> Result<Options, CompileError> {
    let mut options = Options {
        occasion: Occasion::Look,
        output: Output::Nowhere,
        root: PathBuf::from("/"),
        in_force: None,
    };
    let descriptor = |text: &OsString| {
        let number = text.to_str().and_then(|t| t.parse().ok());
        number.ok_or_else(|| CompileError::Usage(format!("'{}' is no descriptor", text.to_string_lossy())))
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || {
            let missing = || CompileError::Usage(format!("{} needs an argument", arg.to_string_lossy()));
            args.next().ok_or_else(missing)
        };
        match arg.to_str().unwrap_or("") {
            "--boot" => options.occasion = Occasion::Boot,
            "--units" => options.occasion = Occasion::Units,
            "--generators" => options.occasion = Occasion::Reload,
            "--output" => options.output = Output::File(value()?.into()),
            "--output-fd" => options.output = Output::Descriptor(descriptor(value()?)?),
            "--in-force-fd" => options.in_force = Some(descriptor(value()?)?),
            "--root" => options.root = value()?.into(),
            _ => return Err(CompileError::Usage(format!("unknown argument '{}'", arg.to_string_lossy()))),
        }
    }
    if options.occasion != Occasion::Look && options.root != Path::new("/") {
        let text = "--boot, --generators and --units are for init, so they need --root / inside the guest";
        return Err(CompileError::Usage(text.to_owned()));
    }
    // Init says no more than why: its descriptors are always the same.
    if options.occasion != Occasion::Look && matches!(options.output, Output::Nowhere) {
        options.output = Output::Descriptor(FD_OUTPUT);
        options.in_force = options.in_force.or((options.occasion != Occasion::Boot).then_some(FD_IN_FORCE));
    }
    Ok(options)
}

fn compile(options: &Options) -> Result<(), CompileError> {
    std::fs::read_dir(&options.root).map_err(|e| CompileError::Root(options.root.clone(), e))?;
    let mut root = Root::new(&options.root);
    let mut notes = Notes::default();
    let wish = std::env::var(paths::ENV_FRONT).ok();
    let found = match options.occasion {
        // A host whose /run outlives its containers may have kept what an earlier boot has left.
        Occasion::Boot => fronts::find(&root, wish.as_deref(), &mut notes),
        _ => fronts::current(&root, wish.as_deref(), &mut notes),
    };
    if options.occasion == Occasion::Boot {
        boot::prepare(&root, found.family, &mut notes);
    }
    let facts = Facts::of(&root);
    let anew = matches!(options.occasion, Occasion::Boot | Occasion::Reload);
    if anew && matches!(found.family, Family::Systemd | Family::Native) {
        generator::run(&root, &facts.architecture, &mut notes);
    }
    let units = fronts::units(found.family, &root, &mut notes);
    if anew && let Err(error) = units.publish(found.family) {
        let text =
            format!("Can't write the units of the front-end: {error}; who asks for one won't see its file");
        notes.warn(&At::file(paths::MADE), text, "look at what is mounted on /run");
    }
    root.add(units.into_files());
    let in_force = options.in_force.map(InForce::read).transpose()?;
    let extra = in_force.as_ref().map(InForce::names).unwrap_or_default();
    let (mut model, index) = model_of(&root, &facts, found.family, &extra, &mut notes);
    if let Some(in_force) = &in_force {
        in_force.keep_in(&mut model)?;
    }
    let built = build(&model).map_err(CompileError::Build);
    if let Ok(built) = &built {
        for note in &built.notes {
            notes.warn(&At::file(&note.unit), note.text.clone(), "");
        }
    }
    let logged = options.occasion != Occasion::Look;
    report(&notes, logged.then_some(Path::new(paths::COMPILE_LOG)));
    let built = built?;
    if logged {
        let names = model.units.iter().map(|unit| unit.name.as_str());
        // An init of another host may have made no such folder; nobody is told then that a reload is due.
        let _ = stamps::publish(&index, &root, names);
    }
    // Later plans' lists are the warden's to write, when they are in force.
    if options.occasion == Occasion::Boot {
        // Without the lists people see numbers in place of names, which is no reason to have no plan.
        if let Err(error) = crate::ctl::names::publish(Path::new("/"), &built.bytes) {
            eprintln!("{}: can't write the lists of units and edges: {error}", paths::RUN);
        }
        let published = own_program().map_or(Ok(()), |program| applets::publish(Path::new("/"), &program));
        if let Err(error) = published {
            eprintln!("{}: can't be made: {error}: there is no systemctl here", paths::APPLETS);
        }
    }
    write_plan(&options.output, &built.bytes)
}

/// The warden's own file, where it has a place: not if its host has handed it over as a memfd.
fn own_program() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/exe").ok().filter(|path| path.is_file())
}

/// The plan of the units as they are now, and nothing is run, written or said: for `plan --print`.
pub fn look() -> Result<Vec<u8>, String> {
    let (model, _) = model_now(Path::new("/"), None, &mut Notes::default());
    build(&model).map(|built| built.bytes).map_err(|error| CompileError::Build(error).to_string())
}

/// What a boot of a root would be.
pub struct Examined {
    /// Its front-end.
    pub found: Found,
    /// Where its boot begins.
    pub default_target: String,
    /// Services that the boot starts.
    pub started: Vec<String>,
    /// Units that it would start under their own service manager, and why a guest does without.
    pub skipped: Vec<(String, String)>,
    /// What there is to say of its files.
    pub remarks: Vec<String>,
}

/// Tells what a boot of a root would be. Reads files only: what generators would make is missing.
pub fn examine(dir: &Path, wish: Option<&str>) -> Result<Examined, String> {
    std::fs::read_dir(dir).map_err(|error| CompileError::Root(dir.to_owned(), error).to_string())?;
    let mut notes = Notes::default();
    let (model, found) = model_now(dir, wish, &mut notes);
    let reached = select::reached(&model);
    let of_boot = || model.units.iter().filter(|unit| reached.contains(unit.name.as_str()));
    let is_service = |unit: &&UnitModel| {
        unit.kind == UnitKind::Service
            && unit.flags & (unit_flags::SKIP | unit_flags::NOT_FOUND | unit_flags::MASKED) == 0
    };
    let reason = |unit: &UnitModel| {
        let is_skipped = unit.flags & unit_flags::SKIP != 0;
        is_skipped.then(|| (unit.name.clone(), policy::reason_of_skipped(&unit.name).to_owned()))
    };
    Ok(Examined {
        started: of_boot().filter(is_service).map(|unit| unit.name.clone()).collect(),
        skipped: of_boot().filter_map(reason).collect(),
        remarks: notes.list().iter().map(ToString::to_string).collect(),
        default_target: model.default_target.clone(),
        found,
    })
}

/// The model of a root as its files are now.
fn model_now(dir: &Path, wish: Option<&str>, notes: &mut Notes) -> (Model, Found) {
    let mut root = Root::new(dir);
    let found = fronts::current(&root, wish, notes);
    let facts = Facts::of(&root);
    let units = fronts::units(found.family, &root, notes);
    root.add(units.into_files());
    (model_of(&root, &facts, found.family, &[], notes).0, found)
}

/// The model of the units below a root, and what their search path holds.
fn model_of(
    root: &Root,
    facts: &Facts,
    family: Family,
    extra: &[UnitName],
    notes: &mut Notes,
) -> (Model, load::Index) {
    let index = load::Index::scan(root, crate::fronts::path_of(family), notes);
    (select::model(&select::Guest { root, index: &index, facts, extra }, notes), index)
}

/// Says all that there is to say in the log, and what matters on standard error.
fn report(notes: &Notes, log: Option<&Path>) {
    let mut text = String::new();
    for note in notes.list() {
        text.push_str(&format!("{note}\n"));
        if note.level >= Level::Warning {
            eprintln!("{note}");
        }
    }
    if notes.dropped() > 0 {
        text.push_str(&format!("units: {} more messages were left out\n", notes.dropped()));
    }
    let Some(log) = log else { return };
    // An init of another host may have made no such folder.
    if let Err(error) = std::fs::write(log, text)
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("{}: can't write the log of the compilation: {error}", log.display());
    }
}

/// Why there's no plan is the last line of the log: who asked for the compilation reads it there.
fn add_to_log(error: &CompileError) {
    let log = File::options().append(true).create(true).open(paths::COMPILE_LOG);
    // Said on standard error in any case.
    let _ = log.and_then(|mut log| writeln!(log, "{error}"));
}

fn write_plan(output: &Output, bytes: &[u8]) -> Result<(), CompileError> {
    match output {
        Output::Nowhere => Ok(()),
        Output::Descriptor(number) => {
            let failed = |error| CompileError::Output(format!("descriptor {number}"), error);
            let fd = sys::inherited_fd(*number).ok_or_else(|| failed(io::Error::other("it is not open")))?;
            File::from(fd).write_all(bytes).map_err(failed)
        }
        Output::File(path) => {
            // Beside it and renamed: a reader sees the old plan or the new one.
            let mut part = path.clone().into_os_string();
            part.push(".part");
            let part = PathBuf::from(part);
            let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
            written.map_err(|error| {
                let _ = std::fs::remove_file(&part);
                CompileError::Output(path.display().to_string(), error)
            })
        }
    }
}
