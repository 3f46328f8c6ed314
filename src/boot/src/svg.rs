//! The boot as an SVG picture: a bar a unit (waiting, starting, up), an axis of time, the critical path marked.
//!
//! Written by hand: it is rectangles, lines and text. Colours follow the reader's scheme, light or dark, by the style
//! sheet inside. Names come from the guest, and are quoted as XML has it.

use crate::words::span;
use crate::{Boot, Start, Unit};
use std::fmt::Write;

/// Height of a row, and of the text in it.
const ROW: u32 = 18;
/// Above the rows: title, critical path, axis.
const TOP: u32 = 74;
/// Left and right of the bars; names stand to the right of a bar's begin, and need room at the end.
const LEFT: f64 = 20.0;
const RIGHT: f64 = 320.0;
/// Width of the time itself.
const WIDTH: f64 = 1000.0;
/// Lines of the axis at most.
const TICKS: u64 = 12;

const STYLE: &str = "
 svg{background:#fff;font:12px sans-serif}
 text{fill:#222} .dim{fill:#777} .grid{stroke:#ddd} .ready{stroke:#2a7d2a;stroke-dasharray:4 3}
 .wait{fill:#d9dee6} .start{fill:#5b8def} .up{fill:#cfe3cf} .critical .start{fill:#d6402b} .critical text{font-weight:bold}
 @media (prefers-color-scheme:dark){
  svg{background:#16181c} text{fill:#e6e6e6} .dim{fill:#999} .grid{stroke:#333a44} .ready{stroke:#6fcf6f}
  .wait{fill:#2c333d} .start{fill:#5b8def} .up{fill:#23402a} .critical .start{fill:#ff6b55}
 }
";

/// Draws a guest's boot.
pub fn draw(boot: &Boot, guest: &str) -> String {
    let units = boot.started();
    let scale = Scale { end: boot.end().max(1) };
    let height = TOP + ROW * (units.len() as u32 + 1);
    let width = LEFT + WIDTH + RIGHT;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n"
    );
    let title = match boot.ready {
        Some(ready) => format!("{guest}: {}, ready after {}", boot.state, span(ready)),
        None => format!("{guest}: {}, not ready yet", boot.state),
    };
    let path = boot.critical_path();
    let names: Vec<&str> = path.iter().map(|step| boot.units[step.unit].name.as_str()).collect();
    text(&mut out, LEFT, 20, "", &title);
    text(&mut out, LEFT, 38, "dim", &format!("critical path: {}", names.join(" > ")));
    axis(&mut out, &scale, height);
    for (row, (unit, start)) in units.into_iter().enumerate() {
        let is_critical = path.iter().any(|step| std::ptr::eq(&boot.units[step.unit], unit));
        let y = TOP + ROW * row as u32;
        let class = if is_critical { "unit critical" } else { "unit" };
        let _ = write!(out, "<g class=\"{class}\">");
        bars(&mut out, boot, &scale, unit, start, y);
        out.push_str("</g>\n");
    }
    if let Some(ready) = boot.ready {
        line(&mut out, scale.x(ready), height, "ready");
    }
    out.push_str("</svg>\n");
    out
}

/// The three bars of a unit and its name.
fn bars(out: &mut String, boot: &Boot, scale: &Scale, unit: &Unit, start: Start, y: u32) {
    let said = match start.done {
        Some(_) => format!("{} ({})", unit.name, span(start.cost())),
        None => format!("{} (starting)", unit.name),
    };
    let waited = match boot.waits_since(unit) {
        Some(since) => format!(", waited {}", span(start.began.saturating_sub(since))),
        None => String::new(),
    };
    let tip = format!("{said}: began at {}{waited}; {}, {}", span(start.began), unit.active, unit.result);
    let _ = write!(out, "<title>{}</title>", quoted(&tip));
    if let Some(since) = boot.waits_since(unit) {
        rectangle(out, scale, (since, start.began), y, "wait");
    }
    let done = start.done.unwrap_or(scale.end);
    if matches!(unit.active, "active" | "reloading") {
        rectangle(out, scale, (done, scale.end), y, "up");
    }
    rectangle(out, scale, (start.began, done), y, "start");
    text(out, scale.x(start.began) + 4.0, y + ROW - 6, "", &said);
}

fn axis(out: &mut String, scale: &Scale, height: u32) {
    let tick = tick(scale.end);
    let mut at = 0;
    while at <= scale.end {
        line(out, scale.x(at), height, "grid");
        text(out, scale.x(at), TOP - 14, "dim", &span(at));
        at = at.saturating_add(tick);
        if at == u64::MAX {
            break;
        }
    }
}

/// Between two lines of the axis: 1, 2 or 5 times a power of ten.
fn tick(end: u64) -> u64 {
    let least = end / TICKS + 1;
    let mut power: u64 = 1000;
    loop {
        for factor in [1, 2, 5] {
            let tick = power.saturating_mul(factor);
            if tick >= least {
                return tick;
            }
        }
        power = power.saturating_mul(10);
    }
}

struct Scale {
    end: u64,
}

impl Scale {
    fn x(&self, usec: u64) -> f64 {
        LEFT + usec.min(self.end) as f64 / self.end as f64 * WIDTH
    }
}

fn rectangle(out: &mut String, scale: &Scale, (from, to): (u64, u64), y: u32, class: &str) {
    let (x, end) = (scale.x(from), scale.x(to));
    // What took no time is still seen.
    let width = (end - x).max(1.0);
    let height = ROW - 3;
    let _ = write!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"/>"
    );
}

fn line(out: &mut String, x: f64, height: u32, class: &str) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{height}\"/>",
        TOP - 8
    );
}

fn text(out: &mut String, x: f64, y: u32, class: &str, said: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y}\">{}</text>", quoted(said));
}

/// Text as XML has it. Characters that XML has no place for are question marks.
fn quoted(said: &str) -> String {
    let mut out = String::with_capacity(said.len());
    for c in said.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::made;

    #[test]
    fn given_a_boot_when_drawn_then_units_have_bars_and_the_critical_ones_are_marked() {
        let picture = draw(&made(), "g");
        assert_eq!(picture.matches("class=\"unit critical\"").count(), 4);
        assert_eq!(picture.matches("class=\"unit\"").count(), 2);
        // db: 50 to 150 ms of 200 ms.
        assert!(picture.contains("<rect class=\"start\" x=\"270.0\" y=\"110\" width=\"500.0\""), "{picture}");
        assert!(picture.contains("g: running, ready after 200ms"));
    }

    #[test]
    fn given_names_with_markup_when_drawn_then_they_are_text() {
        let mut boot = made();
        boot.units[1].name = "<script>&'\"\u{1}\u{ffff}".to_owned();
        let picture = draw(&boot, "<g>");
        assert!(picture.contains("&lt;script&gt;&amp;&apos;&quot;??"));
        assert!(!picture.contains("<script") && !picture.contains("<g>:"));
    }

    #[test]
    fn given_any_length_when_the_axis_is_divided_then_lines_are_few() {
        for end in [1, 999, 12_345, 60_000_000, u64::MAX] {
            let lines = end / tick(end);
            assert!(lines <= TICKS, "{end}: {lines}");
        }
        assert_eq!(tick(200_000), 20_000);
    }
}
