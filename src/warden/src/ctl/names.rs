//! The lists beside the status page, whose rows have neither. Names of units (`hostel_contract::paths::UNITS`): a line
//! with the plan's checksum, the names in the order of the rows, and then `ALIAS NAME` for each other name of a unit.
//! Edges between units (`EDGES`).

use hostel_boot::edges;
use hostel_contract::paths;
use hostel_plan::{Plan, SettingKey};
use std::path::Path;

/// Writes the lists that fit a plan below a root: for the first plan the compilation does it, before init has it, for
/// later ones the serving warden, when init says that they are in force.
pub fn publish(root: &Path, plan: &[u8]) -> std::io::Result<()> {
    let plan = Plan::parse(plan).map_err(|error| std::io::Error::other(format!("{error:?}")))?;
    let place = |path: &str| root.join(path.trim_start_matches('/'));
    let mut text = format!("# {:016x}\n", plan.checksum());
    for unit in plan.units() {
        text.push_str(unit.name());
        text.push('\n');
    }
    for unit in plan.units() {
        for alias in unit.settings_of(SettingKey::Alias) {
            text.push_str(&format!("{alias} {}\n", unit.name()));
        }
    }
    write(&place(paths::UNITS), &text)?;
    write(&place(paths::EDGES), &edges::list(&plan))
}

/// Beside it and renamed: a reader sees the old list or the new one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&part);
    })
}

/// The checksum and the names of a list; `None` where it is none.
pub fn parse(text: &str) -> Option<(u64, Vec<&str>)> {
    let (first, rest) = text.split_once('\n')?;
    let checksum = u64::from_str_radix(first.strip_prefix("# ")?, 16).ok()?;
    Some((checksum, rest.lines().filter(|line| !line.contains(' ')).collect()))
}

/// The name that a unit has in the plan: itself, or the one that it is another name for.
pub fn resolve(name: &str) -> String {
    let list = std::fs::read_to_string(paths::UNITS).unwrap_or_default();
    let aliases = list.lines().skip(1).filter_map(|line| line.split_once(' '));
    aliases.into_iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_list_when_read_then_checksum_and_names_are_there() {
        assert_eq!(
            parse("# 00000000000000ff\na.service\nb.target\nalias.service a.service\n"),
            Some((255, vec!["a.service", "b.target"]))
        );
        assert_eq!(parse("a.service\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn given_a_list_when_written_then_it_replaces_the_old_one_at_once() {
        let base = crate::testing::TempDir::new();
        let path = base.path().join("units");
        std::fs::write(&path, "old").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
    }
}
