//! What systemd-analyze says as text: `time`, `blame`, `critical-chain`, in its words.

use crate::{Boot, Start};

/// A time span as systemd has it: the two largest units that fit, to the millisecond.
pub fn span(usec: u64) -> String {
    let ms = usec / 1000;
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{:03}s", ms / 1000, ms % 1000),
        _ => format!("{}min {}.{:03}s", ms / 60_000, ms / 1000 % 60, ms % 1000),
    }
}

/// `time`. An error says what is not there yet.
pub fn time(boot: &Boot) -> Result<String, String> {
    let ready = boot.ready.ok_or_else(|| unfinished(boot))?;
    let mut text = format!("Startup finished in {} (userspace) \n", span(ready));
    if let Some((name, done)) = default_target(boot) {
        text += &format!("{name} reached after {} in userspace.\n", span(done));
    }
    Ok(text)
}

/// Why a boot that isn't finished has no end.
pub fn unfinished(boot: &Boot) -> String {
    let waiting = boot.units.iter().filter(|unit| unit.start.is_some_and(|start| start.done.is_none()));
    let names: Vec<&str> = waiting.map(|unit| unit.name.as_str()).collect();
    match names.as_slice() {
        [] => "the boot is not yet finished".to_owned(),
        names => format!("the boot is not yet finished: starting are {}", names.join(", ")),
    }
}

fn default_target(boot: &Boot) -> Option<(&str, u64)> {
    let unit = boot.units.get(boot.default?)?;
    Some((&unit.name, unit.start?.done?))
}

/// `blame`: what each unit cost, the dearest first.
pub fn blame(boot: &Boot) -> String {
    let mut all = boot.started();
    all.retain(|(_, start)| start.cost() > 0);
    all.sort_by_key(|(_, start)| std::cmp::Reverse(start.cost()));
    let width = all.iter().map(|(_, start)| span(start.cost()).len()).max().unwrap_or(0);
    let line =
        |(unit, start): &(&crate::Unit, Start)| format!("{:>width$} {}\n", span(start.cost()), unit.name);
    all.iter().map(line).collect()
}

/// `critical-chain`, of a unit: the last one first, each one behind the mark of its level.
pub fn critical_chain(boot: &Boot, unit: usize) -> Result<String, String> {
    let steps = boot.chain(unit);
    if steps.is_empty() {
        let name = boot.units.get(unit).map_or("", |unit| unit.name.as_str());
        return Err(format!("{name} was not started in this boot"));
    }
    let mut text = String::from(
        "The time when unit became active or started is printed after the \"@\" character.\n\
         The time the unit took to start is printed after the \"+\" character.\n\n",
    );
    for (level, step) in steps.iter().rev().enumerate() {
        let indent = "  ".repeat(level.saturating_sub(1));
        let mark = if level == 0 { "" } else { "└─" };
        text += &format!("{indent}{mark}{} @{}", boot.units[step.unit].name, span(step.start.began));
        if step.start.cost() > 0 {
            text += &format!(" +{}", span(step.start.cost()));
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, made};

    #[test]
    fn given_spans_when_written_then_they_read_as_systemds() {
        let spans = [(0, "0ms"), (999_999, "999ms"), (1_234_000, "1.234s"), (61_002_000, "1min 1.002s")];
        for (usec, text) in spans {
            assert_eq!(span(usec), text);
        }
    }

    #[test]
    fn given_a_boot_when_told_then_time_blame_and_chain_are_systemds_lines() {
        let boot = made();
        let said = time(&boot).unwrap();
        assert_eq!(
            said,
            "Startup finished in 200ms (userspace) \nall.target reached after 199ms in userspace.\n"
        );
        let blamed = blame(&boot);
        let lines: Vec<&str> = blamed.lines().collect();
        assert_eq!(lines[..3], ["100ms db.service", " 39ms web.service", " 30ms setup.service"]);
        let chain = critical_chain(&boot, 0).unwrap();
        let end = "all.target @199ms\n└─web.service @160ms +39ms\n  └─db.service @50ms +100ms\n    \
                   └─setup.service @20ms +30ms\n";
        assert!(chain.ends_with(end), "{chain}");
    }

    #[test]
    fn given_a_boot_on_its_way_when_its_time_is_asked_for_then_what_starts_is_named() {
        let boot = Made { ready_ms: 0, up_of_web: 0 }.boot();
        assert!(time(&boot).unwrap_err().contains("web.service"));
    }
}
