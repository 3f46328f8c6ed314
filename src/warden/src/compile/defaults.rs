//! What holds between units although nobody wrote it: the implicit and default dependencies of each kind.
//!
//! Pure: over all drafts of a guest. From "Implicit Dependencies" and "Default Dependencies" of systemd.service(5),
//! systemd.socket(5), systemd.target(5), systemd.timer(5), systemd.path(5), systemd.mount(5), systemd.slice(5).
//! What only serves the shutdown (Conflicts= and Before= of shutdown.target and umount.target) is left out: at the
//! end of a guest the supervisor stops everything by itself, in reverse order. So is what only serves the journal.

use super::draft::Draft;
use super::mount;
use super::name::{UnitName, escape_path};
use super::settings::last;
use super::slice;
use hostel_plan::{EdgeKind, SettingKey, UnitKind, unit_flags};
use std::collections::BTreeMap;

/// All units of a guest, by name.
pub type Drafts = BTreeMap<String, Draft>;

/// Units that are here for the shutdown alone.
const SHUTDOWN_ONLY: &[&str] = &["shutdown.target", "umount.target", "final.target"];

/// A unit that isn't loaded, or is passed over, needs nothing.
const NOT_LOADED: u32 = unit_flags::NOT_FOUND | unit_flags::MASKED | unit_flags::SKIP;

/// Adds the dependencies of one unit by itself, as soon as it is read: those that may pull in others.
/// Gives the slice that it is in, which needs no file.
pub fn add_own(draft: &mut Draft) -> Option<UnitName> {
    draft.model.edges.retain(|(_, other)| !SHUTDOWN_ONLY.contains(&other.as_str()));
    if draft.model.flags & NOT_LOADED != 0 {
        return None;
    }
    let slice = slice::enter(draft);
    if draft.default_dependencies {
        let (before, after, needs_sysinit): (&[&str], &[&str], bool) = match draft.name.kind() {
            // Its processes are there already.
            UnitKind::Service if draft.name.is_scope() => (&[], &[], false),
            UnitKind::Service => (&[], &["basic.target"], true),
            UnitKind::Socket => (&["sockets.target"], &[], true),
            UnitKind::Path => (&["paths.target"], &[], true),
            UnitKind::Timer if has_calendar(draft) => {
                (&["timers.target"], &["time-set.target", "time-sync.target"], true)
            }
            UnitKind::Timer => (&["timers.target"], &[], true),
            UnitKind::Mount => {
                mount::default_dependencies(draft);
                (&[], &[], false)
            }
            UnitKind::Target | UnitKind::Slice | UnitKind::Swap | UnitKind::Device => (&[], &[], false),
        };
        for unit in before {
            draft.edge_to(EdgeKind::Before, unit);
        }
        if needs_sysinit {
            draft.edge_to(EdgeKind::Requires, "sysinit.target");
            draft.edge_to(EdgeKind::After, "sysinit.target");
        }
        for unit in after {
            draft.edge_to(EdgeKind::After, unit);
        }
    }
    if draft.model.settings.iter().any(|(key, value)| *key == SettingKey::Sandbox && value == "PrivateTmp=1")
    {
        draft.wants_mounts_for.extend(["/tmp".to_owned(), "/var/tmp".to_owned()]);
        draft.edge_to(EdgeKind::After, "systemd-tmpfiles-setup.service");
    }
    slice
}

fn has_calendar(draft: &Draft) -> bool {
    last(&draft.model.settings, SettingKey::OnCalendar).is_some()
}

/// Adds what can be said only when all units are known.
pub fn add_mutual(drafts: &mut Drafts) {
    mounts(drafts);
    targets(drafts);
}

/// A unit that needs paths requires (or wants) and follows the mounts that these are on.
fn mounts(drafts: &mut Drafts) {
    let is_mount =
        |draft: &Draft| draft.name.kind() == UnitKind::Mount && draft.model.flags & NOT_LOADED == 0;
    let mounts: Vec<UnitName> = drafts.values().filter(|d| is_mount(d)).map(|d| d.name.clone()).collect();
    for draft in drafts.values_mut() {
        for (kind, needed) in [
            (EdgeKind::Requires, units_of(&draft.mounts_for)),
            (EdgeKind::Wants, units_of(&draft.wants_mounts_for)),
        ] {
            for mount in mounts.iter().filter(|m| needed.iter().any(|n| n == m.full())) {
                draft.edge(kind, mount);
                draft.edge(EdgeKind::After, mount);
            }
        }
    }
}

/// Names of the mount units that a unit's paths could be on.
pub fn possible_mounts(draft: &Draft) -> Vec<UnitName> {
    let names = units_of(&draft.mounts_for).into_iter().chain(units_of(&draft.wants_mounts_for));
    names.filter_map(|name| UnitName::parse(&name)).collect()
}

fn units_of(paths: &[String]) -> Vec<String> {
    let prefixes = paths.iter().flat_map(|path| prefixes(path));
    prefixes.filter_map(|prefix| Some(format!("{}.mount", escape_path(prefix)?))).collect()
}

/// A path and all that it lies in, but `/`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
    inner.map(|at| &path[..at]).chain([path.trim_end_matches('/')]).filter(|p| !p.is_empty())
}

/// A target follows what it pulls in, unless one of the two wants no such thing, or follows the target itself.
fn targets(drafts: &mut Drafts) {
    let mut added: Vec<(String, UnitName)> = Vec::new();
    for target in drafts.values().filter(|d| d.name.kind() == UnitKind::Target && d.default_dependencies) {
        let pulled = target.model.edges.iter().filter(|(kind, _)| {
            matches!(kind, EdgeKind::Requires | EdgeKind::Requisite | EdgeKind::Wants | EdgeKind::BindsTo)
        });
        for (_, name) in pulled {
            if let Some(other) = drafts.get(name) {
                let ordered =
                    has(other, EdgeKind::After, &target.name) || has(target, EdgeKind::Before, &other.name);
                if other.default_dependencies && !ordered {
                    added.push((target.model.name.clone(), other.name.clone()));
                }
            }
        }
    }
    for (target, other) in added {
        if let Some(target) = drafts.get_mut(&target) {
            target.edge(EdgeKind::After, &other);
        }
    }
}

fn has(draft: &Draft, kind: EdgeKind, other: &UnitName) -> bool {
    draft.model.edges.iter().any(|(k, name)| *k == kind && name == other.full())
}
