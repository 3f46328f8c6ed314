//! `list` and `status`: the page as people, scripts and the host's tool read it.

use super::page::{self, Page};
use super::{Arguments, Refusal, exit, full_name};
use hostel_contract::ShutdownKind;
use hostel_contract::status::{ActiveState, GuestState, SubState, UnitRecord, UnitResult};
use serde_json::{Value, json};
use std::io::Write;

/// `list [--all] [--json]`: the units that run, wait or failed; with `--all` those that never did, too.
pub fn list(arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    arguments.only(&["--all", "-a", "--json"])?;
    let all = arguments.has("--all") || arguments.has("-a");
    let page = page::read()?;
    let units: Vec<&UnitRecord> =
        page.units.iter().filter(|unit| all || unit.row.active != ActiveState::Inactive.code()).collect();
    if arguments.has("--json") {
        return print(&format!("{}\n", Value::from_iter(units.iter().map(|unit| unit_json(unit)))));
    }
    let mut text = String::new();
    let width = units.iter().map(|unit| unit.name.bytes().len()).max().unwrap_or(0);
    for unit in units {
        let name = escape(unit.name.lossy());
        let (active, sub, _) = states(unit);
        text.push_str(format!("{name:width$} {active:12} {sub:14} {}", escape(unit.text.lossy())).trim_end());
        text.push('\n');
    }
    print(&text)
}

/// `status [UNIT...] [--json | --records]`: of the guest, or of units.
pub fn status(arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    arguments.only(&["--json", "--records"])?;
    let page = page::read()?;
    if arguments.has("--records") {
        return records(&page);
    }
    if arguments.rest.is_empty() {
        return match arguments.has("--json") {
            true => print(&format!("{}\n", guest_json(&page))),
            false => print(&guest_text(&page)),
        };
    }
    let mut code = 0;
    let mut all = Vec::new();
    for name in &arguments.rest {
        let name = full_name(name);
        let Some(unit) = page.units.iter().find(|unit| unit.name.lossy() == name) else {
            eprintln!("hostel-warden status: no such unit: {}", escape(&name));
            code = code.max(exit::NO_SUCH_UNIT);
            continue;
        };
        let is_active =
            unit.row.active == ActiveState::Active.code() || unit.row.active == ActiveState::Reloading.code();
        code = code.max(if is_active { 0 } else { exit::NOT_ACTIVE });
        all.push(unit);
    }
    if arguments.has("--json") {
        let value = match all.as_slice() {
            [one] => unit_json(one),
            many => Value::from_iter(many.iter().map(|unit| unit_json(unit))),
        };
        print(&format!("{value}\n"))?;
    } else {
        print(&all.iter().map(|unit| unit_text(unit)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(code)
}

/// One fixed-size record a unit, for a reader that takes nothing in it for granted.
fn records(page: &Page) -> Result<u8, Refusal> {
    let bytes: Vec<u8> = page.units.iter().flat_map(|unit| unit.encode()).collect();
    write(&bytes)
}

fn print(text: &str) -> Result<u8, Refusal> {
    write(text.as_bytes())
}

fn write(bytes: &[u8]) -> Result<u8, Refusal> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever read us has enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Refusal::failed(error.to_string()))
        }
        _ => Ok(0),
    }
}

/// Text of a service, fit for a terminal: control characters as `\x1b`.
pub fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_unicode().collect::<String>().chars().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// Active state, sub-state and result, in words.
fn states(unit: &UnitRecord) -> (&'static str, &'static str, &'static str) {
    (
        ActiveState::from_code(unit.row.active).map_or("?", ActiveState::name),
        SubState::from_code(unit.row.sub).map_or("?", SubState::name),
        UnitResult::from_code(unit.row.result).map_or("?", UnitResult::name),
    )
}

/// How the main process ended, in words; `None` where it didn't.
fn ending(unit: &UnitRecord) -> Option<String> {
    let status = u32::from(unit.row.exit_status);
    match unit.row.exit_kind {
        1 => Some(format!("exited with {status}")),
        2 => Some(format!("killed by {}", crate::signals::name(status))),
        3 => Some(format!("killed by {}, with a core dump", crate::signals::name(status))),
        _ => None,
    }
}

fn unit_text(unit: &UnitRecord) -> String {
    let (active, sub, result) = states(unit);
    let mut text = format!("{}\n     Active: {active} ({sub})", escape(unit.name.lossy()));
    if unit.row.since_ms != 0 {
        text.push_str(&format!(", since {} s after the guest began", seconds(unit.row.since_ms)));
    }
    text.push('\n');
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:>11}: {value}\n"));
    if result != UnitResult::Success.name() {
        line("Result", result.to_string());
    }
    if unit.row.main_pid != 0 {
        line("Main PID", unit.row.main_pid.to_string());
    }
    if let Some(ending) = ending(unit) {
        line("Process", ending);
    }
    if unit.row.restarts != 0 {
        line("Restarts", unit.row.restarts.to_string());
    }
    if unit.row.stored != 0 {
        line("FD Store", unit.row.stored.to_string());
    }
    if !unit.text.bytes().is_empty() {
        line("Status", escape(unit.text.lossy()));
    }
    text
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

fn unit_json(unit: &UnitRecord) -> Value {
    let (active, sub, result) = states(unit);
    json!({
        "name": unit.name.lossy(),
        "active": active,
        "sub": sub,
        "result": result,
        "main_pid": unit.row.main_pid,
        "since_ms": unit.row.since_ms,
        "started_ms": unit.row.started_ms,
        "restarts": unit.row.restarts,
        "ending": ending(unit),
        "stored": unit.row.stored,
        "text": unit.text.lossy(),
    })
}

fn guest_state(page: &Page) -> &'static str {
    GuestState::from_code(page.header.state).map_or("?", GuestState::name)
}

fn guest_text(page: &Page) -> String {
    let header = &page.header;
    let mut text = format!("State: {}\n", guest_state(page));
    if let Some(kind) = ShutdownKind::from_code(header.shutdown) {
        text.push_str(&format!("Ends in: {}\n", kind.name()));
    }
    let count = |state: ActiveState| page.units.iter().filter(|unit| unit.row.active == state.code()).count();
    text.push_str(&format!(
        "Units: {} active, {} failed, {} known\nJobs: {}\n",
        count(ActiveState::Active),
        header.failed,
        page.units.len(),
        header.jobs
    ));
    if header.ready_usec != 0 {
        let took = header.ready_usec.saturating_sub(header.began_usec) / 1000;
        text.push_str(&format!("Ready after: {} s\n", seconds(took)));
    }
    text.push_str(&format!("Processes reaped: {}\nWardens started: {}\n", header.reaped, header.wardens));
    for unit in page.units.iter().filter(|unit| unit.row.active == ActiveState::Failed.code()) {
        text.push_str(&format!("Failed: {} ({})\n", escape(unit.name.lossy()), states(unit).2));
    }
    text
}

fn guest_json(page: &Page) -> Value {
    let header = &page.header;
    json!({
        "state": guest_state(page),
        "shutdown": ShutdownKind::from_code(header.shutdown).map(ShutdownKind::name),
        "failed": header.failed,
        "jobs": header.jobs,
        "wardens": header.wardens,
        "reaped": header.reaped,
        "began_usec": header.began_usec,
        "plan_usec": header.plan_usec,
        "ready_usec": header.ready_usec,
        "units": Value::from_iter(page.units.iter().map(unit_json)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostel_contract::Text;
    use hostel_contract::status::StatusRow;

    fn unit(text: &str) -> UnitRecord {
        let mut row = StatusRow::decode(&[0; StatusRow::SIZE]).unwrap();
        (row.active, row.sub, row.result) = (5, 16, 5);
        (row.exit_kind, row.exit_status, row.restarts) = (2, 9, 3);
        UnitRecord { name: Text::new(b"x.service"), row, text: Text::new(text.as_bytes()) }
    }

    #[test]
    fn given_a_text_with_control_characters_when_shown_then_a_terminal_is_told_nothing() {
        assert_eq!(escape("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert!(!unit_text(&unit("\x1b[2J")).contains('\x1b'));
    }

    #[test]
    fn given_a_failed_unit_when_shown_then_its_end_is_in_words() {
        let text = unit_text(&unit("tired"));
        assert!(text.contains("failed") && text.contains("killed by KILL") && text.contains("Restarts: 3"));
        let json = unit_json(&unit("tired"));
        assert_eq!((&json["active"], &json["text"]), (&json!("failed"), &json!("tired")));
    }

    #[test]
    fn given_codes_that_nobody_knows_when_shown_then_they_are_question_marks() {
        let mut odd = unit("");
        (odd.row.active, odd.row.sub) = (99, 99);
        assert!(unit_text(&odd).contains("? (?)"));
    }
}
