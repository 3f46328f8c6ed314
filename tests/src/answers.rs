//! Commands, and what they answer: run one after the other under systemd and under Hostel, and compared.
//!
//! Pure. A test has a list of commands, a file of what real systemd answers, and a table of the commands that may
//! differ, each with its reason.

use std::collections::BTreeMap;

/// Begins a command's answer, and ends it with the exit status.
const BEGIN: &str = "@@ ";
const END: &str = "@@= ";

/// Answers by command: lines as they can be compared, the exit status last.
pub type Answers = BTreeMap<String, Vec<String>>;

/// The commands of a file: one a line, `#` begins a comment.
pub fn listed(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

/// A script that runs the commands one after the other.
pub fn script(commands: &[String]) -> String {
    let quoted = |command: &String| command.replace('\'', "'\\''");
    let one = |command: &String| {
        let command = quoted(command);
        format!(
            "printf '%s\\n' '{BEGIN}{command}'; timeout 30 sh -c '{command}' 2>&1 </dev/null; echo \"{END}$?\"\n"
        )
    };
    let environment = "export SYSTEMD_PAGER= SYSTEMD_COLORS=0 COLUMNS=120 TZ=UTC LC_ALL=C.UTF-8\n";
    environment.to_owned() + &commands.iter().map(one).collect::<String>()
}

/// What the script printed, by command: its lines as they can be compared, the exit status last.
pub fn answers(printed: &str) -> Answers {
    let mut answers = Answers::new();
    let mut command = String::new();
    // A terminal's driver puts a carriage return in front of each line's end.
    for line in printed.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some(begun) = line.strip_prefix(BEGIN) {
            command = begun.to_owned();
            // The same command may come more than once.
            while answers.contains_key(&command) {
                command.push_str(" (again)");
            }
            answers.insert(command.clone(), Vec::new());
        } else if let Some(list) = answers.get_mut(&command) {
            list.extend(comparable(line));
        }
    }
    // In the order in which a folder happens to list them; in that of the tables of this release's systemd.
    const UNORDERED: [&str; 2] = ["systemctl disable", "systemctl show -p"];
    let unordered = |command: &str| UNORDERED.iter().any(|start| command.starts_with(start));
    for (_, lines) in answers.iter_mut().filter(|(command, _)| unordered(command)) {
        lines.sort();
    }
    answers
}

/// A line without what differs from one run to the next; nothing where all of it does.
fn comparable(line: &str) -> Option<String> {
    let trimmed = line.trim_start();
    // Of what resources are used, and what was logged, other tests speak.
    const LEFT_OUT: &[&str] = &[
        "Tasks:",
        "Memory:",
        "CPU:",
        "Invocation:",
        "Mem peak:",
        "Process:",
        "Warning: some journal",
        "IO:",
        "Service runtime:",
        "CPU time consumed:",
        "Memory peak:",
    ];
    const MONTHS: [&str; 12] =
        ["Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ", "Aug ", "Sep ", "Oct ", "Nov ", "Dec "];
    let is_log = MONTHS.iter().any(|month| line.starts_with(month));
    if is_log || trimmed.is_empty() || LEFT_OUT.iter().any(|start| trimmed.starts_with(start)) {
        return None;
    }
    let line = line.split_once("; invocation ID:").map_or(line, |(line, _)| line);
    let line = match line.split_once(" since ") {
        Some((state, _)) if trimmed.starts_with("Active:") => state,
        _ => line,
    };
    // Debian 12's systemd says /lib where both are one.
    let line = line.replace("/usr/lib/systemd", "/lib/systemd");
    Some(without_pids(&without_date(&in_order(&line))))
}

/// A moment, as systemd writes it in UTC.
fn without_date(line: &str) -> String {
    let is_moment = |words: &&[&str]| match *words {
        [day, date, time, zone] => {
            ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(day)
                && date.split('-').count() == 3
                && time.split(':').count() >= 2
                && zone.starts_with("UTC")
        }
        _ => false,
    };
    let words: Vec<&str> = line.split(' ').collect();
    match words.windows(4).find(is_moment) {
        Some(moment) => line.replacen(&moment.join(" "), "MOMENT", 1),
        None => line.to_owned(),
    }
}

/// A list of units is a set: systemd gives it in the order of a hash table.
fn in_order(line: &str) -> String {
    const LISTS: [&str; 7] = ["After", "Before", "Requires", "RequiredBy", "WantedBy", "Conflicts", "Names"];
    match line.split_once('=') {
        Some((name, value)) if LISTS.contains(&name) => {
            let mut words: Vec<&str> = value.split_whitespace().collect();
            words.sort_unstable();
            format!("{name}={}", words.join(" "))
        }
        _ => line.to_owned(),
    }
}

/// Numbers behind `PID: ` and in a tree of processes.
fn without_pids(line: &str) -> String {
    for mark in ["PID: ", "└─", "├─", "PID "] {
        if let Some((before, rest)) = line.split_once(mark) {
            let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if behind.len() < rest.len() {
                return format!("{before}{mark}N{behind}");
            }
        }
    }
    line.to_owned()
}

/// Answers as a file has them.
pub fn text_of(commands: &[String], answers: &Answers) -> String {
    let mut order = BTreeMap::new();
    let mut text = String::new();
    for command in commands {
        let count: &mut usize = order.entry(command.clone()).or_default();
        let key = command.clone() + &" (again)".repeat(*count);
        *count += 1;
        let lines = answers.get(&key).map(Vec::as_slice).unwrap_or(&[]);
        text.push_str(&format!("{BEGIN}{command}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    }
    text
}

/// Commands that may differ on a release, with the reason.
pub fn reasons(table: &str, release: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut columns = line.split('\t');
        let (releases, command, reason) = (columns.next()?, columns.next()?, columns.next()?);
        assert!(reason.len() > 10, "differences.tsv: no reason for {command}");
        releases.split(',').any(|of| of == release).then(|| (command.to_owned(), reason.to_owned()))
    };
    table.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

/// What differs without a reason, does not differ in spite of one, or is a reason for no command.
pub fn wrong(real: &Answers, ours: &Answers, reasons: &BTreeMap<String, String>) -> String {
    let mut wrong = String::new();
    for (command, real) in real {
        let ours = ours.get(command).cloned().unwrap_or_default();
        match (ours == *real, reasons.contains_key(command)) {
            (false, false) => {
                wrong.push_str(&format!(
                    "{command}\n  systemd:\n    {}\n  Hostel:\n    {}\n",
                    real.join("\n    "),
                    ours.join("\n    ")
                ));
            }
            (true, true) => wrong.push_str(&format!("{command}\n  does not differ: take its row away\n")),
            _ => {}
        }
    }
    for command in reasons.keys().filter(|command| !real.contains_key(*command)) {
        wrong.push_str(&format!("{command}\n  is in differences.tsv, but no command of the test\n"));
    }
    wrong
}
