//! Slices: systemd.slice(5), and where a unit's processes are in the cgroup tree.
//!
//! [Slice] has directives of resource control only, which are rows of `units/directives.tsv`. What is
//! particular about slices is that they exist without a file, each below the one that its dashes name.

use super::draft::Draft;
use super::name::{UnitName, parent_slice, slice_cgroup};
use super::specifier::instance_slice;
use hostel_plan::{EdgeKind, UnitKind};

/// The slice of a unit that has processes; a slice is in the one above it.
pub fn slice_of(draft: &Draft) -> Option<UnitName> {
    match draft.name.kind() {
        UnitKind::Slice => parent_slice(&draft.name),
        UnitKind::Service | UnitKind::Socket | UnitKind::Mount => draft
            .slice
            .clone()
            .or_else(|| instance_slice(&draft.name))
            .or_else(|| UnitName::parse("system.slice")),
        _ => None,
    }
}

/// Puts a unit into its slice: the edges that this implies, and its cgroup.
pub fn enter(draft: &mut Draft) -> Option<UnitName> {
    let slice = slice_of(draft)?;
    draft.edge(EdgeKind::Requires, &slice);
    draft.edge(EdgeKind::After, &slice);
    if draft.name.kind() == UnitKind::Slice {
        draft.model.cgroup = slice_cgroup(&draft.name);
        return Some(slice);
    }
    let own = cgroup_name(draft.name.full());
    draft.model.cgroup = match slice_cgroup(&slice) {
        above if above.is_empty() => own,
        above => format!("{above}/{own}"),
    };
    Some(slice)
}

/// A unit's name as the name of a cgroup: an underscore is put before what the kernel could take for its own file.
fn cgroup_name(name: &str) -> String {
    let controllers = ["cgroup", "cpu", "cpuset", "io", "memory", "pids", "rdma", "hugetlb", "misc", "irq"];
    let first = name.split('.').next().unwrap_or("");
    if name.starts_with(['_', '.']) || controllers.contains(&first) {
        format!("_{name}")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(unit: &str, slice: Option<&str>) -> (String, String) {
        let mut draft = Draft::new(&UnitName::parse(unit).unwrap());
        draft.slice = slice.and_then(UnitName::parse);
        let slice = enter(&mut draft).unwrap();
        (slice.full().to_owned(), draft.model.cgroup)
    }

    #[test]
    fn given_units_when_entered_then_slice_and_cgroup_are_those_of_systemd() {
        let own = |slice: &str, cgroup: &str| (slice.to_owned(), cgroup.to_owned());
        assert_eq!(entered("ssh.service", None), own("system.slice", "system.slice/ssh.service"));
        assert_eq!(
            entered("getty@tty1.service", None),
            own("system-getty.slice", "system.slice/system-getty.slice/getty@tty1.service")
        );
        assert_eq!(entered("a.service", Some("-.slice")), own("-.slice", "a.service"));
        assert_eq!(entered("x-y.slice", None), own("x.slice", "x.slice/x-y.slice"));
        assert_eq!(entered("memory.service", None), own("system.slice", "system.slice/_memory.service"));
    }
}
