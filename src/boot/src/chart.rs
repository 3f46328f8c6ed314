//! The boot as a chart of text, for a terminal: a line a unit, time from left to right.

use crate::words::{span, unfinished};
use crate::{Boot, Start, Unit};

/// Which units a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those that cost something or are on the critical path.
    Costly,
    /// All that were started in this boot.
    All,
}

/// Columns that a name may take.
const NAME_MAX: usize = 40;
/// Columns behind the bars: a blank and the longest usual cost.
const COST: usize = 10;
/// Columns that the bars have at least, in however narrow a terminal.
const BARS_MIN: usize = 20;

/// Draws the chart, `columns` wide. What is on the critical path has `#` for what the others have `=`.
pub fn draw(boot: &Boot, columns: usize, shown: Shown) -> String {
    let path = boot.critical_path();
    let is_critical = |unit: &Unit| path.iter().any(|step| std::ptr::eq(&boot.units[step.unit], unit));
    let mut units = boot.started();
    if shown == Shown::Costly {
        units.retain(|(unit, start)| start.cost() > 0 || start.done.is_none() || is_critical(unit));
    }
    let name = units.iter().map(|(unit, _)| unit.name.chars().count()).max().unwrap_or(0).min(NAME_MAX);
    let scale =
        Scale { end: boot.end().max(1), columns: columns.saturating_sub(name + 2 + COST).max(BARS_MIN) };
    let mut text = format!("{:name$} 0{:>width$}\n", "", span(boot.end()), width = scale.columns - 1);
    for (unit, start) in units {
        let bar = scale.bar(boot.waits_since(unit), start, if is_critical(unit) { '#' } else { '=' });
        let cost = match start.done {
            Some(_) => span(start.cost()),
            None => "starting".to_owned(),
        };
        text += &format!("{:name$} {bar} {cost}\n", clipped(&unit.name, name));
    }
    text += "\n  . waits   = starts   # starts, on the critical path\n";
    text
}

/// The critical path as a table: what was first comes first.
pub fn path(boot: &Boot, unit: Option<usize>) -> Result<String, String> {
    let steps = match unit {
        Some(unit) => boot.chain(unit),
        None => boot.critical_path(),
    };
    if steps.is_empty() {
        return Err(match unit.and_then(|unit| boot.units.get(unit)) {
            Some(unit) => format!("{} was not started in this boot", unit.name),
            None => unfinished(boot),
        });
    }
    let mut text = format!("{:>9} {:>9} {:>9}  unit\n", "at", "waited", "cost");
    for step in steps {
        let (at, gap) = (span(step.start.began), span(step.gap));
        let cost = if step.start.done.is_some() { span(step.start.cost()) } else { "starting".to_owned() };
        text += &format!("{at:>9} {gap:>9} {cost:>9}  {}\n", boot.units[step.unit].name);
    }
    Ok(text)
}

/// A name in so many columns.
fn clipped(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let kept: String = name.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}~")
}

struct Scale {
    end: u64,
    columns: usize,
}

impl Scale {
    /// The column of a moment.
    fn column(&self, usec: u64) -> usize {
        let part = u128::from(usec.min(self.end)) * self.columns as u128 / u128::from(self.end);
        (part as usize).min(self.columns - 1)
    }

    fn bar(&self, waits_since: Option<u64>, start: Start, mark: char) -> String {
        let (from, to) = (self.column(start.began), self.column(start.done.unwrap_or(self.end)));
        let waits = waits_since.map_or(from, |usec| self.column(usec));
        (0..self.columns)
            .map(|column| match column {
                _ if (from..=to).contains(&column) => mark,
                _ if (waits..from).contains(&column) => '.',
                _ => ' ',
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::made;

    #[test]
    fn given_a_boot_when_drawn_then_bars_stand_where_their_times_are() {
        let boot = made();
        let chart = draw(&boot, 70, Shown::Costly);
        let line = |name: &str| chart.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        let web = line("web.service");
        // 17 of a name, a blank, 41 of bars: 160 ms of 200 ms is column 32.
        assert_eq!(web.find('#'), Some(18 + 32), "{chart}");
        assert_eq!(web.find('.').map(|_| web[18..].find('.')), Some(Some(2)), "{chart}");
        assert!(web.ends_with("39ms"), "{web}");
        assert!(line("log.service").contains('=') && !line("log.service").contains('#'));
        assert!(!chart.contains("never.service") && !chart.contains("later.service"));
    }

    #[test]
    fn given_no_room_when_drawn_then_bars_have_their_least() {
        let chart = draw(&made(), 0, Shown::All);
        assert!(chart.lines().count() > 5);
    }

    #[test]
    fn given_a_boot_when_its_path_is_told_then_each_line_has_wait_and_cost() {
        let text = path(&made(), None).unwrap();
        assert!(text.contains("    160ms      10ms      39ms  web.service\n"), "{text}");
        let boot = made();
        assert!(path(&boot, boot.find("never.service")).unwrap_err().contains("not started"));
    }
}
