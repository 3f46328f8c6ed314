//! The methods, as data: names and types as systemd has them, the polkit action that each needs, and what it does.

use super::super::dispatch::{Answer, Call};
use super::super::error::Failure;
use super::super::interface::{BY_USER, Method};
use super::super::server::Server;
use super::{control, ending, environment, query, transient, unit_files, units, work};

/// polkit: start, stop, kill and the like.
const UNITS: Option<&str> = Some("org.freedesktop.systemd1.manage-units");
/// polkit: enable, disable and the like.
const FILES: Option<&str> = Some("org.freedesktop.systemd1.manage-unit-files");
/// polkit: reading units anew.
const RELOAD: Option<&str> = Some("org.freedesktop.systemd1.reload-daemon");
/// polkit: the environment.
const ENVIRONMENT: Option<&str> = Some("org.freedesktop.systemd1.set-environment");
/// polkit has no action for it: nobody but root is granted one that does not exist.
const ROOT: Option<&str> = Some("org.freedesktop.systemd1.root-only");

/// Root, and whom the unit is delegated to.
const USER: Option<&str> = Some(BY_USER);

type Run = fn(&mut Server, &Call) -> Result<Answer, Failure>;

const fn method(
    name: &'static str,
    input: &'static str,
    output: &'static str,
    action: Option<&'static str>,
    run: Run,
) -> Method {
    Method { name, input, output, action, run }
}

/// `Subscribe`.
fn subscribe(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    server.subscribe(&call.origin);
    Ok(Answer::Now(vec![]))
}

/// `Unsubscribe`.
fn unsubscribe(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    server.unsubscribe(&call.origin);
    Ok(Answer::Now(vec![]))
}

/// `SetShowStatus`, `SetExitCode`: of no consequence.
fn ignored(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(Answer::Now(vec![]))
}

/// `BindMountUnit`, `MountImageUnit`.
fn mounting(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Err(Failure::unsupported("mounting into a unit that runs"))
}

/// Interface Manager.
pub const MANAGER: &[Method] = &[
    method("GetUnit", "s", "o", None, query::get_unit),
    method("GetUnitByPID", "u", "o", None, query::get_unit_by_pid),
    method("GetUnitByInvocationID", "ay", "o", None, query::get_unit_by_invocation),
    method("GetUnitByControlGroup", "s", "o", None, query::get_unit_by_control_group),
    method("LoadUnit", "s", "o", None, query::load_unit),
    method("StartUnit", "ss", "o", UNITS, work::start),
    method("StartUnitWithFlags", "sst", "o", UNITS, work::start),
    method("StartUnitReplace", "sss", "o", UNITS, work::start_replace),
    method("StopUnit", "ss", "o", UNITS, work::stop),
    method("ReloadUnit", "ss", "o", UNITS, work::reload),
    method("RestartUnit", "ss", "o", UNITS, work::restart),
    method("TryRestartUnit", "ss", "o", UNITS, work::try_restart),
    method("ReloadOrRestartUnit", "ss", "o", UNITS, work::reload_or_restart),
    method("ReloadOrTryRestartUnit", "ss", "o", UNITS, work::reload_or_try_restart),
    method("EnqueueUnitJob", "sss", "uososa(uosos)", UNITS, work::enqueue_job),
    method("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", UNITS, transient::start),
    method("SetUnitProperties", "sba(sv)", "", UNITS, control::set),
    method("AttachProcessesToUnit", "ssau", "", USER, transient::attach),
    method("AbandonScope", "s", "", UNITS, transient::abandon),
    method("BindMountUnit", "sssbb", "", UNITS, mounting),
    method("MountImageUnit", "sssbba(ss)", "", UNITS, mounting),
    method("EnqueueMarkedJobs", "", "ao", UNITS, work::enqueue_marked),
    method("KillUnit", "ssi", "", UNITS, units::kill),
    method("CleanUnit", "sas", "", UNITS, units::clean),
    method("FreezeUnit", "s", "", UNITS, units::freeze),
    method("ThawUnit", "s", "", UNITS, units::thaw),
    method("ResetFailedUnit", "s", "", UNITS, units::reset_failed),
    method("ResetFailed", "", "", UNITS, units::reset_all_failed),
    method("RefUnit", "s", "", UNITS, transient::reference),
    method("UnrefUnit", "s", "", None, transient::unreference),
    method("GetUnitProcesses", "s", "a(sus)", None, query::get_processes),
    method("GetJob", "u", "o", None, query::get_job),
    method("GetJobAfter", "u", "a(usssoo)", None, query::job_neighbours),
    method("GetJobBefore", "u", "a(usssoo)", None, query::job_neighbours),
    method("CancelJob", "u", "", UNITS, work::cancel),
    method("ClearJobs", "", "", UNITS, work::clear_jobs),
    method("ListUnits", "", "a(ssssssouso)", None, query::list_units),
    method("ListUnitsFiltered", "as", "a(ssssssouso)", None, query::list_units_filtered),
    method("ListUnitsByPatterns", "asas", "a(ssssssouso)", None, query::list_units_by_patterns),
    method("ListUnitsByNames", "as", "a(ssssssouso)", None, query::list_units_by_names),
    method("ListJobs", "", "a(usssoo)", None, query::list_jobs),
    method("Subscribe", "", "", None, subscribe),
    method("Unsubscribe", "", "", None, unsubscribe),
    method("Dump", "", "s", None, query::dump),
    method("DumpUnitsMatchingPatterns", "as", "s", None, query::dump),
    method("Reload", "", "", RELOAD, unit_files::reload),
    method("Reexecute", "", "", RELOAD, unit_files::reexecute),
    method("Exit", "", "", ROOT, ending::power_off),
    method("Reboot", "", "", ROOT, ending::reboot),
    method("SoftReboot", "s", "", ROOT, ending::reboot),
    method("PowerOff", "", "", ROOT, ending::power_off),
    method("Halt", "", "", ROOT, ending::halt),
    method("KExec", "", "", ROOT, ending::reboot),
    method("SwitchRoot", "ss", "", ROOT, ending::switch_root),
    method("SetEnvironment", "as", "", ENVIRONMENT, environment::set),
    method("UnsetEnvironment", "as", "", ENVIRONMENT, environment::unset),
    method("UnsetAndSetEnvironment", "asas", "", ENVIRONMENT, environment::unset_and_set),
    method("SetShowStatus", "s", "", ROOT, ignored),
    method("SetExitCode", "y", "", ROOT, ignored),
    method("ListUnitFiles", "", "a(ss)", None, unit_files::list_files),
    method("ListUnitFilesByPatterns", "asas", "a(ss)", None, unit_files::list_files_by_patterns),
    method("GetUnitFileState", "s", "s", None, unit_files::get_state),
    method("GetDefaultTarget", "", "s", None, unit_files::get_default),
    method("GetUnitFileLinks", "sb", "as", None, unit_files::links),
    method("EnableUnitFiles", "asbb", "ba(sss)", FILES, unit_files::enable),
    method("DisableUnitFiles", "asb", "a(sss)", FILES, unit_files::disable),
    method("EnableUnitFilesWithFlags", "ast", "ba(sss)", FILES, unit_files::enable_with_flags),
    method("DisableUnitFilesWithFlags", "ast", "a(sss)", FILES, unit_files::disable),
    method("DisableUnitFilesWithFlagsAndInstallInfo", "ast", "ba(sss)", FILES, unit_files::disable_with_info),
    method("ReenableUnitFiles", "asbb", "ba(sss)", FILES, unit_files::reenable),
    method("LinkUnitFiles", "asbb", "a(sss)", FILES, unit_files::link),
    method("PresetUnitFiles", "asbb", "ba(sss)", FILES, unit_files::preset),
    method("PresetUnitFilesWithMode", "assbb", "ba(sss)", FILES, unit_files::preset_with_mode),
    method("PresetAllUnitFiles", "sbb", "a(sss)", FILES, unit_files::preset_all),
    method("MaskUnitFiles", "asbb", "a(sss)", FILES, unit_files::mask),
    method("UnmaskUnitFiles", "asb", "a(sss)", FILES, unit_files::unmask),
    method("RevertUnitFiles", "as", "a(sss)", FILES, unit_files::revert),
    method("SetDefaultTarget", "sb", "a(sss)", FILES, unit_files::set_default),
    method("AddDependencyUnitFiles", "asssbb", "a(sss)", FILES, unit_files::add_dependency),
    method("LookupDynamicUserByName", "s", "u", None, query::lookup_dynamic_user),
    method("LookupDynamicUserByUID", "u", "s", None, query::lookup_dynamic_user),
    method("GetDynamicUsers", "", "a(us)", None, query::dynamic_users),
];

/// Interface Unit.
pub const UNIT: &[Method] = &[
    method("Start", "s", "o", UNITS, work::start),
    method("Stop", "s", "o", UNITS, work::stop),
    method("Reload", "s", "o", UNITS, work::reload),
    method("Restart", "s", "o", UNITS, work::restart),
    method("TryRestart", "s", "o", UNITS, work::try_restart),
    method("ReloadOrRestart", "s", "o", UNITS, work::reload_or_restart),
    method("ReloadOrTryRestart", "s", "o", UNITS, work::reload_or_try_restart),
    method("EnqueueJob", "ss", "uososa(uosos)", UNITS, work::enqueue_job),
    method("Kill", "si", "", UNITS, units::kill),
    method("ResetFailed", "", "", UNITS, units::reset_failed),
    method("SetProperties", "ba(sv)", "", UNITS, control::set),
    method("Ref", "", "", UNITS, transient::reference),
    method("Unref", "", "", None, transient::unreference),
    method("Clean", "as", "", UNITS, units::clean),
    method("Freeze", "", "", UNITS, units::freeze),
    method("Thaw", "", "", UNITS, units::thaw),
];

/// Interfaces of units that have processes.
pub const PROCESSES: &[Method] = &[method("GetProcesses", "", "a(sus)", None, query::get_processes)];

/// Interface Scope.
pub const SCOPE: &[Method] = &[
    method("Abandon", "", "", UNITS, transient::abandon),
    method("GetProcesses", "", "a(sus)", None, query::get_processes),
];

/// Interface Job.
pub const JOB: &[Method] = &[
    method("Cancel", "", "", UNITS, work::cancel),
    method("GetAfter", "", "a(usssoo)", None, query::job_neighbours),
    method("GetBefore", "", "a(usssoo)", None, query::job_neighbours),
];
