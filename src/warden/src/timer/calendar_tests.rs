//! Calendar events, held against systemd's own `systemd-analyze calendar` where it's installed.

use super::calendar::{Calendar, ZoneName};
use super::zone::{Date, SECOND, Zones};
use std::process::Command;

/// Microseconds of a UTC date and time.
fn utc(year: i64, month: u32, day: u32, hour: i64, minute: i64, second: i64) -> u64 {
    let days = Date { year, month, day }.to_day();
    ((((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND) as u64
}

fn shown(usec: u64) -> String {
    let seconds = (usec / SECOND as u64) as i64;
    let (date, second) = (Date::of_day(seconds.div_euclid(86_400)), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", date.year, date.month, date.day)
}

/// The first elapses of an expression after a moment; the reason where it's none.
fn ours(expression: &str, base: u64, count: usize) -> Result<Vec<String>, String> {
    let calendar = Calendar::parse(expression).map_err(|error| error.to_string())?;
    let zone = match calendar.zone {
        // The tests set TZ=UTC for systemd, and /etc/localtime is the machine's.
        ZoneName::Local => super::zone::Zone::fixed(0),
        ref name => Zones::default().load(name)?,
    };
    let first = calendar.next_elapse(base, &zone);
    let elapses = std::iter::successors(first, |after| calendar.next_elapse(*after, &zone));
    Ok(elapses.take(count).map(shown).collect())
}

/// What systemd says; none where it isn't installed.
fn systemds(expression: &str, base: u64, count: usize) -> Option<Result<Vec<String>, String>> {
    let output = Command::new("systemd-analyze")
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .arg("calendar")
        .arg(format!("--iterations={count}"))
        .arg(format!("--base-time={} UTC", shown(base)))
        .args(["--", expression])
        .output()
        .ok()?;
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let elapses = text.lines().filter(|line| line.contains("Next elapse:") || line.contains("Iter"));
    let times = elapses.filter_map(|line| {
        let line = line.trim().strip_suffix(" UTC")?;
        Some(line[line.len() - 19..].to_string())
    });
    Some(Ok(times.collect()))
}

/// Holds an expression against systemd. False where there's none.
fn agrees(expression: &str, base: u64, count: usize) -> bool {
    let Some(expected) = systemds(expression, base, count) else { return false };
    match (ours(expression, base, count), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{expression:?} after {}", shown(base)),
        (Err(_), Err(_)) => (),
        (found, expected) => panic!("{expression:?}: ours {found:?}, systemd's {expected:?}"),
    }
    true
}

/// Everything in systemd.time(7), its shorthands, and what is just inside and outside of the grammar.
const WRITTEN: &[&str] = &[
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "semi-annually",
    "biannually",
    "bi-annually",
    "yearly",
    "annually",
    "anually",
    "Hourly",
    "DAILY",
    "daily UTC",
    "daily utc",
    "daily ",
    " daily",
    "Mon daily",
    "",
    "*",
    "* *",
    "*:*",
    "*:*:*",
    "*-*",
    "*-*-*",
    "2026-12",
    "12",
    "1,2,3",
    "-1",
    "now",
    "tod",
    "Thu,Fri 2012-*-1,5 11:12:13",
    "Sat,Thu,Mon..Wed,Sat..Sun",
    "Mon,Sun 12-*-* 2,1:23",
    "Wed *-1",
    "Wed..Wed,Wed *-1",
    "Wed, 17:48",
    "Wed..Sat,Tue 12-10-15 1:2:3",
    "Wed..Sat,Tue 29-10-15 1:2:3",
    "*-*-7 0:0:0",
    "10-15",
    "monday *-12-* 17:00",
    "Mon,Fri *-*-3,1,2 *:30:45",
    "12,14,13,12:20,10,30",
    "12..14:10,20,30",
    "mon,fri *-1/2-1,3 *:30:45",
    "03-05 08:05:40",
    "08:05:40",
    "05:40",
    "Sat,Sun 12-05 08:05:40",
    "Sat,Sun 08:05:40",
    "2003-03-05 05:40",
    "2033-03-05 05:40",
    "05:40:23.4200004/3.1700005",
    "2003-02..04-05",
    "2031-02..04-05",
    "2003-03-05 05:40 UTC",
    "2003-03-05",
    "03-05",
    "weekly Pacific/Auckland",
    "*:2/3",
    "Mon-Fri",
    "Mon..Fri,Sun",
    "Mon Tue",
    "MON",
    "mond",
    "Thurs",
    "Sat..Mon",
    "Sun..Mon",
    "Sun,Sun",
    "Mon,",
    ",Mon",
    "Mon..",
    "Mon..,Tue",
    "Mon ",
    "Mon *-*-1",
    "Mon,*-*-1",
    "Mon ,10:00",
    "Mon, Tue 10:00",
    "Mon  10:00",
    "Mon UTC",
    "UTC",
    "10:00 UTC UTC",
    "10:00 UTC ",
    "10:00  UTC",
    "10:00 Foo/Bar",
    "10:00 /etc",
    "10:00 Europe",
    "10:00 ../../etc/localtime",
    "10:00 Etc/GMT+5",
    "10:00 europe/berlin",
    "*-02-31",
    "*-02-29",
    "*-02-29,30",
    "*-*-29..31",
    "*-*-31",
    "*-02-30/1",
    "29-2-29",
    "*-13-1",
    "*-00-01",
    "*-1-32",
    "00:60",
    "24:00",
    "23:59:60",
    "10:00:61",
    "10:00:59.9999999",
    "10:00:59.999999",
    "10:00:59.999999/2",
    "10:00:00.5",
    "0:0:.5",
    "0:0:5.",
    "0:0:5./1",
    "0:0:0/.5",
    "10:00:1.5..4/0.5",
    "10:00:10..20.5",
    "10:00:10..20",
    "*:*:0/7.5",
    "*:*:0/0.25",
    "10:00:*/2",
    "*/2:00",
    "*,1:00",
    "1,*:00",
    "22..6:00",
    "5..5:00",
    "1..5/4:00",
    "1..5/5:00",
    "1..5/10:00",
    "12/11:00",
    "12/12:00",
    "23/2:00",
    "0/59:00",
    "1/1:00",
    "0/1:0/1:0/1",
    "10..12,14:00",
    "5,1..3,1:00",
    "1..3..5:00",
    "1/2/3:00",
    "10,:00",
    "10:00,",
    "1:2:3:4",
    "10: 00",
    "0001:0:0",
    "4294967297:00",
    "+10:00",
    "*-*-*T10:00",
    "*-*-*/2",
    "*-*-1/40",
    "*-*-31/1",
    "*-*-30/1",
    "*-*-1..31/0",
    "*-*-5..3",
    "*-*-31..5",
    "*-*~1",
    "*-*~0",
    "*-*~27",
    "*-*~28",
    "*-*~29",
    "*-*~28/27",
    "*-*~28/28",
    "*-*~1..28",
    "*-*~1..29",
    "*-*~01/2",
    "*-*~5/2",
    "*-*~5..2",
    "*-*~2..5/2",
    "*-*~2..5/3",
    "*-02~01..03",
    "Mon *-05~07/1",
    "Fri *-*~7/1 18:00",
    "*-1~31/5",
    "*-*-*~3",
    "*~3",
    "2026~3",
    "12~1",
    "12~1 10:00",
    "*-1,~2",
    "*-2,3~1,3,5",
    "99-1-1",
    "70-1-1",
    "69-1-1",
    "001-1-1",
    "2100-1-1",
    "2199-12-31",
    "2200-1-1",
    "1969-1-1",
    "1970..1969-1-1",
    "2..5-1-1",
    "2012/2-1-1",
    "2026-1-1/7",
    "2026..2030/2-*~1",
    "@0",
    "@1395716396",
    "@4395716396",
    "@1395716396 UTC",
    "@1.5",
    "@-1",
    "@",
    "@99999999999999999999",
    "2026-11-22 10:00:00 UTC",
    "1..31/31-1",
    "*-*-13 Fri",
    "Fri *-*-13",
    "Sun *-02-29",
    "Mon *-*-1..7 9..17/2:15,45",
    "daily America/Santiago",
    "daily Asia/Beirut",
    "02:30 Europe/Berlin",
    "*:0/15 Europe/Berlin",
    "hourly Australia/Lord_Howe",
];

/// A moment with nothing special about it, one in a leap February, and those around which Berlin's clocks are set.
fn bases() -> [u64; 5] {
    [
        utc(2026, 11, 22, 2, 13, 20),
        utc(2028, 2, 27, 23, 59, 59),
        utc(2026, 10, 24, 23, 20, 0),
        utc(2026, 10, 25, 1, 10, 0),
        utc(2027, 3, 28, 0, 40, 0),
    ]
}

#[test]
fn given_written_expressions_when_compared_with_systemd_then_elapses_and_refusals_are_the_same() {
    for expression in WRITTEN {
        let bases = bases();
        // Clocks are set around the last three of them, in some zones.
        let count = if expression.contains('/') && expression.contains(char::is_alphabetic) { 5 } else { 2 };
        if !bases[..count].iter().all(|base| agrees(expression, *base, 5)) {
            return println!("systemd-analyze is not installed: nothing compared");
        }
    }
}

/// xorshift64*: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % u64::from(limit)) as u32
    }

    /// A field of an expression, mostly within its limits.
    fn field(&mut self, from: u32, to: u32) -> String {
        if self.below(3) == 0 {
            return "*".into();
        }
        let mut list = Vec::new();
        for _ in 0..1 + self.below(3) {
            let a = from + self.below(to - from + 1);
            let b = from + self.below(to - from + 1);
            let step = 1 + self.below((to - from) / 2);
            list.push(match self.below(6) {
                // A range of one value is taken by systemd in every field but the seconds.
                0 if a != b => format!("{}..{}", a.min(b), a.max(b)),
                1 => format!("{}..{}/{step}", a.min(b), a.max(b)),
                2 => format!("{}/{step}", a.min(b)),
                3 => format!("{a:02}"),
                _ => a.to_string(),
            });
        }
        list.join(",")
    }

    fn expression(&mut self) -> String {
        let days = ["Mon", "tue", "Wednesday", "Thu", "FRI", "Sat", "Sun"];
        let mut text = String::new();
        if self.below(3) == 0 {
            let (a, b) = (self.below(7) as usize, self.below(7) as usize);
            text += &match self.below(3) {
                0 => format!("{}..{} ", days[a.min(b)], days[a.max(b)]),
                1 => format!("{},{} ", days[a], days[b]),
                _ => format!("{} ", days[a]),
            };
        }
        if self.below(4) > 0 {
            if self.below(2) == 0 {
                text += ["*-", "2026..2040-", "2027/3-", "28,32-"][self.below(4) as usize];
            }
            text += &self.field(1, 12);
            text += &if self.below(4) == 0 {
                // Not up to 28: systemd lowers its limit by three with each element of a list.
                format!("~{}", self.field(1, 20))
            } else {
                format!("-{}", self.field(1, 31))
            };
            text += " ";
        }
        text += &format!("{}:{}", self.field(0, 23), self.field(0, 59));
        if self.below(2) == 0 {
            text += &format!(":{}", self.field(0, 59));
            text += ["", ".5", ".000001", ".25/1.75"][self.below(4) as usize];
        }
        let zones =
            ["", "", "", " UTC", " Europe/Berlin", " America/New_York", " Asia/Kathmandu", " Pacific/Apia"];
        text + zones[self.below(8) as usize]
    }
}

#[test]
fn given_generated_expressions_when_compared_with_systemd_then_elapses_and_refusals_are_the_same() {
    let mut random = Random(11);
    let mut accepted = 0;
    for _ in 0..300 {
        let expression = random.expression();
        let base = utc(2026, 1, 1, 0, 0, 0) + u64::from(random.below(400_000_000)) * SECOND as u64;
        if !agrees(&expression, base, 5) {
            return println!("systemd-analyze is not installed: nothing compared");
        }
        accepted += usize::from(Calendar::parse(&expression).is_ok());
    }
    assert!(accepted > 150, "{accepted} of 300 were accepted: the test tests little");
}

#[test]
fn given_expressions_of_the_manual_when_parsed_then_they_elapse_as_it_says() {
    let base = utc(2026, 11, 22, 2, 13, 20);
    for (expression, elapses) in [
        ("weekly", ["2026-11-23 00:00:00", "2026-11-30 00:00:00"]),
        ("Mon *-05~07/1", ["2027-05-31 00:00:00", "2028-05-29 00:00:00"]),
        ("*-02~03", ["2027-02-26 00:00:00", "2028-02-27 00:00:00"]),
        ("*-*-* 6,18:00", ["2026-11-22 06:00:00", "2026-11-22 18:00:00"]),
        ("daily Europe/Berlin", ["2026-11-22 23:00:00", "2026-11-23 23:00:00"]),
    ] {
        match ours(expression, base, 2) {
            Err(reason) if reason.contains("there is no time zone") => (),
            found => assert_eq!(found.unwrap(), elapses, "{expression}"),
        }
    }
}

#[test]
fn given_what_is_no_expression_when_parsed_then_the_error_says_where() {
    let error = |text: &str| Calendar::parse(text).unwrap_err().to_string();
    assert_eq!(error("10:"), "\"10:\" is no calendar event: it ends where a number should be");
    assert!(error("10:60").contains("the minute and its repetitions must be within 0 to 59"));
    assert!(error("10:0x").contains("the end of the time should be where \"x\" is"));
    assert!(error("*-*-1 24:00").contains("hour"));
}

#[test]
fn given_an_expression_that_never_matches_when_asked_then_there_is_no_elapse_and_no_long_search() {
    let started = std::time::Instant::now();
    for expression in
        ["*-02-31", "Mon *-02-30 *:*:*", "1999-1-1", "2:30 Europe/Berlin", "*:*:0/0.000001 Europe/Berlin"]
    {
        let Ok(calendar) = Calendar::parse(expression) else { panic!("{expression}") };
        if let Ok(zone) = Zones::default().load(&calendar.zone) {
            // In the hour that Berlin's clocks show for the second time.
            let next = calendar.next_elapse(utc(2026, 10, 25, 1, 10, 0), &zone);
            assert_eq!(next.is_some(), expression.contains("Berlin"), "{expression}");
        }
    }
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn given_any_text_and_any_moment_when_asked_then_nothing_panics() {
    let mut random = Random(5);
    let pieces = [
        "*",
        "-",
        "~",
        ":",
        "/",
        ",",
        "..",
        ".",
        " ",
        "0",
        "1",
        "7",
        "31",
        "4294967295",
        "99999999999",
        "Mon",
        "fri",
        "UTC",
        "@",
        "2026",
        "ü",
        "daily",
        "9223372036854775807",
    ];
    let mut parsed = 0;
    for _ in 0..100_000 {
        let count = 1 + random.below(9);
        let text: String = (0..count).map(|_| pieces[random.below(pieces.len() as u32) as usize]).collect();
        if let Ok(calendar) = Calendar::parse(&text) {
            parsed += 1;
            for after in [0, 1_800_000_000_000_000, u64::MAX, i64::MAX as u64, 7_258_118_400_000_000 - 1] {
                let next = calendar.next_elapse(after, &super::zone::Zone::fixed(50_400));
                assert!(next.is_none_or(|next| next > after), "{text}");
            }
        }
    }
    assert!(parsed > 100, "{parsed} were parsed: the test tests little");
}
