//! Calendar events: what `OnCalendar=` says (systemd.time(7), "Calendar Events"), as numbers.
//!
//! Accepts and refuses what systemd does. It touches nothing: the next elapse is in `elapse`, time zones in `zone`.

use std::fmt;

/// A calendar event expression, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// A bit a day, Monday lowest; no bit: any day.
    pub(super) weekdays: u8,
    pub(super) year: Chain,
    pub(super) month: Chain,
    pub(super) day: Chain,
    /// Days are counted from the end of the month, the last being 1.
    pub(super) from_month_end: bool,
    pub(super) hour: Chain,
    pub(super) minute: Chain,
    /// Microseconds in the minute.
    pub(super) micros: Chain,
    /// What zone the numbers are of.
    pub zone: ZoneName,
}

/// Which time zone an expression names. That there's one of this name is for who loads it to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneName {
    /// The guest's own.
    Local,
    /// UTC.
    Utc,
    /// One of the time zone database, or an abbreviation of the guest's own.
    Named(String),
}

/// The values of one field: a list; empty for `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain(pub Vec<Component>);

/// One element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub start: u32,
    /// The last value of a range, if it's one.
    pub stop: Option<u32>,
    /// 0: just `start`.
    pub step: u32,
}

impl Component {
    const fn just(value: u32) -> Self {
        Component { start: value, stop: None, step: 0 }
    }
}

/// Why an expression is no calendar event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarError {
    expression: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Expected(&'static str, String),
    Range(&'static str, u32, u32),
}

impl fmt::Display for CalendarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no calendar event: ", self.expression)?;
        match &self.problem {
            Problem::Expected(what, found) if found.is_empty() => write!(f, "it ends where {what} should be"),
            Problem::Expected(what, found) => write!(f, "{what} should be where {found:?} is"),
            Problem::Range(field, from, to) => {
                write!(f, "the {field} and its repetitions must be within {from} to {to}, a range ascending")
            }
        }
    }
}

impl std::error::Error for CalendarError {}

type Parsed<T> = Result<T, Problem>;

/// The shorthands and what they stand for.
const SHORTHANDS: &[(&str, &str)] = &[
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
];

const WEEKDAYS: &[&str] = &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Elements of one list; systemd's own limit.
const LIST_MAX: usize = 240;
/// First and last year that an event can have.
pub(super) const YEARS: (u32, u32) = (1970, 2199);
const SECOND: u32 = 1_000_000;

impl Calendar {
    /// Parses an expression.
    pub fn parse(expression: &str) -> Result<Calendar, CalendarError> {
        parse(expression).map_err(|problem| CalendarError { expression: expression.into(), problem })
    }
}

/// The normal form (systemd.time(7)): every field written out, lists ascending.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self.weekdays, 0 | EVERY_DAY) {
            write!(f, "{} ", days(self.weekdays))?;
        }
        let end = if self.from_month_end && !self.day.0.is_empty() { '~' } else { '-' };
        write!(f, "{}-{}{end}{} ", self.year.normal(4, 1), self.month.normal(2, 1), self.day.normal(2, 1))?;
        let (hour, minute) = (self.hour.normal(2, 1), self.minute.normal(2, 1));
        write!(f, "{hour}:{minute}:{}", self.micros.normal(2, SECOND))?;
        match &self.zone {
            ZoneName::Local => Ok(()),
            ZoneName::Utc => f.write_str(" UTC"),
            ZoneName::Named(name) => write!(f, " {name}"),
        }
    }
}

/// Bits of all days of the week, which say no more than none.
const EVERY_DAY: u8 = 0x7f;

/// Days of the week as a list; more than two in a row are a range.
fn days(bits: u8) -> String {
    let name = |day: usize| format!("{}{}", WEEKDAYS[day][..1].to_uppercase(), &WEEKDAYS[day][1..3]);
    let mut parts = Vec::new();
    let mut day = 0;
    while day < WEEKDAYS.len() {
        let length = (day..WEEKDAYS.len()).take_while(|day| bits >> day & 1 == 1).count();
        match length {
            0 => {}
            1 => parts.push(name(day)),
            2 => parts.extend([name(day), name(day + 1)]),
            _ => parts.push(format!("{}..{}", name(day), name(day + length - 1))),
        }
        day += length.max(1);
    }
    parts.join(",")
}

impl Chain {
    /// The field in its normal form: numbers of at least `width` digits, in the `unit` that they count.
    fn normal(&self, width: usize, unit: u32) -> String {
        let every = Component { start: 0, stop: None, step: SECOND };
        if self.0.is_empty() || (unit == SECOND && self.0 == [every]) {
            return "*".into();
        }
        let mut list = self.0.clone();
        list.sort_by_key(|component| {
            (component.start, component.stop.is_some(), component.stop, component.step)
        });
        list.dedup();
        list.iter().map(|component| component.normal(width, unit)).collect::<Vec<_>>().join(",")
    }
}

impl Component {
    fn normal(&self, width: usize, unit: u32) -> String {
        let number = |value: u32, width: usize| match value % unit {
            0 => format!("{:0width$}", value / unit),
            rest => format!("{:0width$}.{rest:06}", value / unit),
        };
        let mut text = number(self.start, width);
        if let Some(stop) = self.stop {
            text.push_str(&format!("..{}", number(stop, width)));
        }
        if self.step > 0 && !(self.stop.is_some() && self.step == unit) {
            text.push_str(&format!("/{}", number(self.step, 1)));
        }
        text
    }
}

fn parse(expression: &str) -> Parsed<Calendar> {
    let (text, zone) = split_zone(expression);
    if let Some(seconds) = text.strip_prefix('@') {
        return at_epoch(seconds);
    }
    let shorthand = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let text = shorthand.map_or(text, |(_, meaning)| *meaning);
    if text.is_empty() {
        return Err(Problem::Expected("a date or a time", String::new()));
    }

    let mut rest = Rest(text);
    let weekdays = rest.weekdays()?;
    let date = rest.date()?;
    let time = if rest.0.is_empty() { Time::midnight() } else { rest.time()? };
    let calendar = Calendar {
        weekdays,
        year: date.year,
        month: date.month,
        day: date.day,
        from_month_end: date.from_month_end,
        hour: time.hour,
        minute: time.minute,
        micros: time.micros,
        zone,
    };
    check(&calendar)?;
    Ok(calendar)
}

/// A zone is a last word that begins with a letter: dates and times don't, and a weekday is no last word of two.
fn split_zone(text: &str) -> (&str, ZoneName) {
    match text.rsplit_once(' ') {
        Some((before, word)) if word.eq_ignore_ascii_case("utc") => (before, ZoneName::Utc),
        Some((before, word)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (before, ZoneName::Named(word.into()))
        }
        _ => (text, ZoneName::Local),
    }
}

/// `@seconds`: one moment, in UTC.
fn at_epoch(seconds: &str) -> Parsed<Calendar> {
    let digits = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
    let seconds = seconds.parse::<i64>().ok().filter(|_| digits);
    let seconds = seconds.ok_or_else(|| Problem::Expected("a number of seconds", String::new()))?;
    let (date, second) =
        (super::zone::Date::of_day(seconds.div_euclid(86_400)), seconds.rem_euclid(86_400) as u32);
    let just = |value: u32| Chain(vec![Component::just(value)]);
    let year = u32::try_from(date.year).unwrap_or(u32::MAX);
    let calendar = Calendar {
        weekdays: 0,
        year: just(year),
        month: just(date.month),
        day: just(date.day),
        from_month_end: false,
        hour: just(second / 3600),
        minute: just(second / 60 % 60),
        micros: just(second % 60 * SECOND),
        zone: ZoneName::Utc,
    };
    check(&calendar)?;
    Ok(calendar)
}

struct DatePart {
    year: Chain,
    month: Chain,
    day: Chain,
    from_month_end: bool,
}

struct Time {
    hour: Chain,
    minute: Chain,
    micros: Chain,
}

impl Time {
    fn midnight() -> Time {
        let zero = || Chain(vec![Component::just(0)]);
        Time { hour: zero(), minute: zero(), micros: zero() }
    }
}

/// What is still to be parsed.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn expected<T>(&self, what: &'static str) -> Parsed<T> {
        Err(Problem::Expected(what, self.0.chars().take(20).collect()))
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    /// The number of a weekday, if one's name stands here as a whole word.
    fn weekday(&mut self) -> Option<u8> {
        let end = self.0.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        let named = |name: &&str| word.eq_ignore_ascii_case(name) || word.eq_ignore_ascii_case(&name[..3]);
        let day = WEEKDAYS.iter().position(named)?;
        self.0 = rest;
        Some(day as u8)
    }

    /// The weekdays in front, as bits; none where there are none.
    fn weekdays(&mut self) -> Parsed<u8> {
        let mut bits = 0;
        let Some(mut first) = self.weekday() else { return Ok(0) };
        loop {
            let mut last = first;
            if self.take("..") || self.take("-") {
                match self.weekday() {
                    Some(day) if day >= first => last = day,
                    _ => return self.expected("a later weekday"),
                }
            }
            bits |= (first..=last).fold(0, |bits, day| bits | 1 << day);
            // A comma may also stand between the last weekday and the rest: "Wed, 17:48".
            let comma = self.take(",");
            if self.0.is_empty() || self.0.starts_with(' ') {
                self.skip_spaces();
                return Ok(bits);
            }
            match self.weekday() {
                Some(day) if comma => first = day,
                _ => return self.expected("a weekday, or a space"),
            }
        }
    }

    /// `year-month-day`, `month-day`, with `~` in front of a day that is counted from the month's end; or nothing,
    /// where a time stands.
    fn date(&mut self) -> Parsed<DatePart> {
        let any = Chain::default;
        let start = self.0;
        if start.is_empty() {
            return Ok(DatePart { year: any(), month: any(), day: any(), from_month_end: false });
        }
        let first = self.chain(1)?;
        if self.0.starts_with(':') {
            self.0 = start;
            return Ok(DatePart { year: any(), month: any(), day: any(), from_month_end: false });
        }
        let mut tilde = self.date_separator()?;
        let second = self.chain(1)?;
        let mut date = DatePart { year: any(), month: first, day: second, from_month_end: tilde };
        if !tilde && (self.0.starts_with('-') || self.0.starts_with('~')) {
            tilde = self.date_separator()?;
            let day = self.chain(1)?;
            date = DatePart { year: date.month, month: date.day, day, from_month_end: tilde };
        }
        for component in &mut date.year.0 {
            component.start = full_year(component.start);
            component.stop = component.stop.map(full_year);
        }
        if !self.0.is_empty() && !self.0.starts_with(' ') {
            return self.expected("the end of the date");
        }
        self.skip_spaces();
        Ok(date)
    }

    /// True for `~`.
    fn date_separator(&mut self) -> Parsed<bool> {
        if self.take("~") {
            return Ok(true);
        }
        if self.take("-") { Ok(false) } else { self.expected("`-` of a date or `:` of a time") }
    }

    fn time(&mut self) -> Parsed<Time> {
        let hour = self.chain(1)?;
        if !self.take(":") {
            return self.expected("`:` of a time");
        }
        let minute = self.chain(1)?;
        let micros = if self.take(":") { self.chain(SECOND)? } else { Chain(vec![Component::just(0)]) };
        if self.0.is_empty() {
            Ok(Time { hour, minute, micros })
        } else {
            self.expected("the end of the time")
        }
    }

    /// A field: `*` or a list. Values are whole numbers times `unit`; where that is not 1, with decimals.
    fn chain(&mut self, unit: u32) -> Parsed<Chain> {
        if self.take("*") {
            return Ok(match unit {
                1 => Chain::default(),
                unit => Chain(vec![Component { start: 0, stop: None, step: unit }]),
            });
        }
        let mut list = Vec::new();
        loop {
            let start = self.number(unit)?;
            let mut component = Component::just(start);
            if self.take("..") {
                component = Component { start, stop: Some(self.number(unit)?), step: unit };
            }
            if self.take("/") {
                component.step = self.number(unit)?;
                if component.step == 0 {
                    return self.expected("a repetition other than 0");
                }
            }
            list.push(shortened(component));
            if list.len() > LIST_MAX {
                return self.expected("the end of a list of more than 240");
            }
            if !self.take(",") {
                return Ok(Chain(list));
            }
        }
    }

    fn digits(&mut self) -> &str {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits
    }

    fn number(&mut self, unit: u32) -> Parsed<u32> {
        let before = Rest(self.0);
        let Some(whole) = self.digits().parse::<u32>().ok().and_then(|n| n.checked_mul(unit)) else {
            return before.expected("a number");
        };
        // ".." of a range is no decimal point.
        if unit == 1 || !self.0.starts_with('.') || self.0.starts_with("..") {
            return Ok(whole);
        }
        self.0 = &self.0[1..];
        let digits = self.digits();
        if digits.is_empty() {
            return before.expected("a decimal number");
        }
        let digit = |at: usize| digits.as_bytes().get(at).map_or(0, |b| u32::from(b - b'0'));
        let micros = (0..6).fold(0, |micros, at| micros * 10 + digit(at)) + u32::from(digit(6) >= 5);
        whole.checked_add(micros).map_or_else(|| before.expected("a smaller number"), Ok)
    }
}

/// A range ends at the last value that it has; one of a single value is none.
fn shortened(component: Component) -> Component {
    match component.stop {
        Some(stop) if stop >= component.start && component.step > 0 => {
            let stop = stop - (stop - component.start) % component.step;
            match stop == component.start {
                true => Component::just(stop),
                false => Component { stop: Some(stop), ..component },
            }
        }
        _ => component,
    }
}

/// Two digits are of 1970 to 2069.
fn full_year(year: u32) -> u32 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    }
}

/// Refuses what can't be, by the limits of each field.
fn check(calendar: &Calendar) -> Parsed<()> {
    check_chain("year", &calendar.year, YEARS.0, YEARS.1)?;
    check_chain("month", &calendar.month, 1, 12)?;
    if calendar.from_month_end {
        // Every month has these, so what is counted from the end is there in each.
        check_chain("day", &calendar.day, 1, 28)?;
        let backward = |c: &Component| c.stop.is_none() && c.start <= c.step;
        if calendar.day.0.iter().any(backward) {
            return Err(Problem::Range("day", 1, 28));
        }
    } else {
        check_chain("day", &calendar.day, 1, 31)?;
        check_steps("day", &calendar.day, 1, 31)?;
    }
    check_steps("year", &calendar.year, YEARS.0, YEARS.1)?;
    check_steps("month", &calendar.month, 1, 12)?;
    for (field, chain, to) in [
        ("hour", &calendar.hour, 23),
        ("minute", &calendar.minute, 59),
        ("seconds (in millionths)", &calendar.micros, 60 * SECOND - 1),
    ] {
        check_chain(field, chain, 0, to)?;
        check_steps(field, chain, 0, to)?;
    }
    Ok(())
}

fn check_chain(field: &'static str, chain: &Chain, from: u32, to: u32) -> Parsed<()> {
    let good = |c: &Component| {
        (from..=to).contains(&c.start)
            && c.step <= to - from
            && c.stop.is_none_or(|stop| stop <= to && c.start.saturating_add(c.step) <= stop)
    };
    if chain.0.iter().all(good) { Ok(()) } else { Err(Problem::Range(field, from, to)) }
}

/// A repetition without an end must fit in at least once.
fn check_steps(field: &'static str, chain: &Chain, from: u32, to: u32) -> Parsed<()> {
    let good = |c: &Component| c.stop.is_some() || c.start.saturating_add(c.step) <= to;
    if chain.0.iter().all(good) { Ok(()) } else { Err(Problem::Range(field, from, to)) }
}
