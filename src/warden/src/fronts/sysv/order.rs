//! In which order the scripts of one runlevel start: by their headers, and by number where one has none. Pure.

use super::Script;
use super::header::Facility;
use std::collections::{BTreeMap, BTreeSet};

/// After all others that don't say the same.
const ALL: &str = "$all";
/// Facilities that stand for facilities that stand for facilities...
const DEPTH_MAX: usize = 8;

/// Scripts by all names that others may know them by.
pub struct Names<'a> {
    scripts: BTreeMap<&'a str, Vec<usize>>,
    facilities: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Names<'a> {
    /// Of these scripts, and the guest's virtual facilities.
    pub fn new(scripts: &'a [Script], facilities: &'a [Facility]) -> Self {
        let mut names = Names { scripts: BTreeMap::new(), facilities: BTreeMap::new() };
        for (index, script) in scripts.iter().enumerate() {
            let own = [script.file.as_str(), script.stem.as_str()].into_iter();
            for name in own.chain(script.header.provides.iter().map(String::as_str)) {
                let known = names.scripts.entry(name).or_default();
                if !known.contains(&index) {
                    known.push(index);
                }
            }
        }
        for (name, members) in facilities {
            names.facilities.entry(name).or_default().extend(members.iter().map(String::as_str));
        }
        names
    }

    /// The scripts that a word of a header stands for.
    fn of(&self, word: &str, depth: usize) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = self.scripts.get(word).into_iter().flatten().copied().collect();
        if depth < DEPTH_MAX {
            for member in self.facilities.get(word).into_iter().flatten().filter(|member| **member != word) {
                found.extend(self.of(member, depth + 1));
            }
        }
        found
    }
}

/// For each script those that it follows.
pub fn predecessors(scripts: &[Script], facilities: &[Facility]) -> Vec<BTreeSet<usize>> {
    let names = Names::new(scripts, facilities);
    let waits_for_all = |script: &Script| script.header.after.iter().any(|word| word == ALL);
    let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); scripts.len()];
    for (index, script) in scripts.iter().enumerate() {
        for word in &script.header.after {
            before[index].extend(names.of(word, 0));
        }
        for word in &script.header.before {
            for follower in names.of(word, 0) {
                before[follower].insert(index);
            }
        }
        if waits_for_all(script) {
            let others = scripts.iter().enumerate().filter(|(_, other)| !waits_for_all(other));
            before[index].extend(others.map(|(other, _)| other));
        }
        // Of two of which one has no header, the numbers say all there is.
        let lower = scripts.iter().enumerate().filter(|(_, other)| other.number < script.number);
        let by_number = lower.filter(|(_, other)| !(script.header.lsb && other.header.lsb));
        before[index].extend(by_number.map(|(other, _)| other));
        before[index].remove(&index);
    }
    before
}

#[cfg(test)]
mod tests {
    use super::super::header::Header;
    use super::*;

    fn script(name: &str, number: u32, header: &str) -> Script {
        let header = Header::parse(header, None);
        Script {
            file: name.into(),
            stem: name.trim_end_matches(".sh").into(),
            path: String::new(),
            number,
            header,
            reload: false,
        }
    }

    fn lsb(name: &str, number: u32, lines: &str) -> Script {
        script(name, number, &format!("### BEGIN INIT INFO\n{lines}\n### END INIT INFO\n"))
    }

    fn names(scripts: &[Script], of: &str, facilities: &[Facility]) -> Vec<String> {
        let index = scripts.iter().position(|s| s.file == of).unwrap();
        predecessors(scripts, facilities)[index].iter().map(|i| scripts[*i].file.clone()).collect()
    }

    #[test]
    fn given_headers_when_ordered_then_only_what_they_say_holds_and_numbers_do_not() {
        let scripts = [
            lsb("rsyslog", 1, "# Provides: rsyslog"),
            lsb("ssh", 2, "# Provides: ssh sshd\n# Required-Start: $syslog"),
            lsb("cron", 3, "# Provides: cron\n# Should-Start: sshd none"),
            lsb("early", 4, "# X-Start-Before: rsyslog"),
        ];
        let facilities = [("$syslog".to_owned(), vec!["rsyslog".to_owned(), "$syslog".to_owned()])];
        assert_eq!(names(&scripts, "ssh", &facilities), ["rsyslog"]);
        assert_eq!(names(&scripts, "cron", &facilities), ["ssh"]);
        assert_eq!(names(&scripts, "rsyslog", &facilities), ["early"]);
        assert_eq!(names(&scripts, "early", &facilities), [""; 0]);
    }

    #[test]
    fn given_a_script_without_a_header_when_ordered_then_numbers_hold_on_both_sides() {
        let scripts =
            [lsb("a", 1, "# Provides: a"), script("old", 5, "#!/bin/sh"), lsb("b", 9, "# Provides: b")];
        assert_eq!(names(&scripts, "old", &[]), ["a"]);
        assert_eq!(names(&scripts, "b", &[]), ["old"]);
        assert_eq!(names(&scripts, "a", &[]), [""; 0]);
    }

    #[test]
    fn given_scripts_that_wait_for_all_when_ordered_then_they_come_behind_all_others_but_not_each_other() {
        let scripts = [
            lsb("a", 1, "# Provides: a"),
            lsb("z", 9, "# Required-Start: $all"),
            lsb("y", 9, "# Required-Start: $all"),
        ];
        assert_eq!(names(&scripts, "z", &[]), ["a"]);
        assert_eq!(names(&scripts, "y", &[]), ["a"]);
    }
}
