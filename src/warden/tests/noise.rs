//! The parsers under noise: samples and what fuzzing has found, mutated by seed, for a few seconds; and large inputs,
//! whose time must grow as they do. `cargo xtask fuzz` runs the same entry points for as long as one likes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hostel_warden::parsers::entry;
use rustix::time::{ClockId, clock_gettime};

/// A parser's name, its entry point, a small sample of its input, and what makes an input large.
type Target = (&'static str, fn(&[u8]), &'static str, &'static str);

const TARGETS: &[Target] = &[
    (
        "unit",
        entry::unit,
        "[Unit]\nWants=a.service b@%i.target\nConditionPathExists=|!/x\n[Service]\nExecStart=-@/bin/a \"b c\" $D ; /e \\\n f\n\
         Environment=\"A=b c\" D=%n\nRestartSec=1min 2s\nLimitNOFILE=1K:2K\n[Socket]\nListenStream=[::1]:80\n[Timer]\nOnCalendar=daily\n",
        "Wants=a.service\nExecStart=/bin/a \"b\nEnvironment=A=\\x41 B='c\\\n",
    ),
    ("calendar", entry::calendar, "Mon..Fri *-*~1/2 9..17/2:15,45:0.5 UTC", "1,2,"),
    ("environment_file", entry::environment_file, "A=b\n# c\nexport D=\"e\\\"f\" 'g'\\\nh\n", "A=\"b\\\n'c "),
    ("quoting", entry::quoting, "one \"two three\" 'four' \\x41\\101\\u00e4 fi\"v e\"", "\"a\\\" '"),
    ("time_span", entry::time_span, "1y 2M3w4d 5.5h 6min7s 8ms9us", "1.5h "),
    ("specifiers", entry::specifiers, "%n%i%I%f/%t%%-\\x2d@.service", "%i%f-\\x2d/"),
    ("plan", entry::plan, "", "HOSTEL"),
    ("contract", entry::contract, "\0\0\u{1}\0a.service\0\0\0\0\0\0\0\0\0\0", "\0a"),
    (
        "log",
        entry::log,
        "2026-11-22T01:27:40.123456+00:00 a.service[12]: text\n",
        "2026-11-22T01:27:40.123456+00:00 a: b\n",
    ),
    (
        "bus",
        entry::bus,
        "l\u{1}\0\u{1}\0\0\0\0\u{1}\0\0\0\u{1a}\0\0\0\u{1}\u{1}o\0\u{2}\0\0\0/a\0\0\0\0\0\0\u{3}\u{1}s\0\u{1}\0\0\0B\0\0\0\0\0\0\0",
        "l\u{1}\0\u{1}",
    ),
    (
        "journal_input",
        entry::journal_input,
        "cat\n\n30\n1\n0\n0\n0\n<3>line\nMESSAGE=a\nB\n\u{3}\0\0\0\0\0\0\0c\nd\n\n",
        "MESSAGE=a\nB=c\n\n",
    ),
    ("journal_file", entry::journal_file, "\0\u{1}\0\u{7f}\u{8}\u{2}\0\0", "\u{10}\u{3}\0\u{1}"),
];

/// Mutations of each sample.
const ROUNDS: u64 = 1500;

/// xorshift64*: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit as u64) as usize
    }

    fn mutated(&mut self, sample: &[u8]) -> Vec<u8> {
        let mut bytes = sample.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(5) {
                0 => bytes.insert(at, b"%\\\"'=\n\r\0;-.,:/~*[]@ 09"[self.below(22)]),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let copy = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, copy));
                }
                3 => bytes.truncate(at),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = self.below(256) as u8;
                    }
                }
            }
        }
        bytes
    }
}

/// What fuzzing has found once, and a plan to begin with.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions").join(name);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<Vec<u8>> = entries.filter_map(|entry| std::fs::read(entry.path()).ok()).collect();
    if name == "plan" {
        let unit = |name: &str| hostel_plan::model::UnitModel::new(name, hostel_plan::UnitKind::Service);
        let mut model = hostel_plan::model::Model {
            units: vec![unit("a.service"), unit("b.service")],
            ..Default::default()
        };
        model.default_target = "a.service".into();
        model.units[0].edges.push((hostel_plan::EdgeKind::Requires, "b.service".into()));
        found.extend(hostel_plan::build::build(&model).map(|built| built.bytes));
    }
    found
}

#[test]
fn given_mutated_samples_when_parsed_then_nothing_panics_and_what_comes_out_holds() {
    for (name, parse, sample, _) in TARGETS {
        let mut samples = corpus(name);
        samples.push(sample.as_bytes().to_vec());
        for sample in &samples {
            parse(sample);
        }
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        for round in 0..ROUNDS {
            let sample = &samples[round as usize % samples.len()];
            parse(&random.mutated(sample));
        }
    }
}

/// The processor's time for one input, at best of three: other work on the machine only adds.
fn took(parse: fn(&[u8]), input: &[u8]) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    };
    let once = |_| {
        let began = now();
        parse(input);
        now().saturating_sub(began)
    };
    (0..3).map(once).min().unwrap_or_default()
}

#[test]
fn given_inputs_eight_times_as_large_when_parsed_then_they_take_no_square_of_the_time() {
    for (name, parse, _, piece) in TARGETS {
        let small = 16 * 1024;
        let input = |size: usize| piece.as_bytes().iter().copied().cycle().take(size).collect::<Vec<u8>>();
        let mut worst = 0.0;
        // A square would be 64. What is under a millisecond says nothing, and a loaded machine may spoil one try.
        let grows = (0..5).all(|_| {
            let (one, eight) = (took(*parse, &input(small)), took(*parse, &input(8 * small)));
            worst = eight.as_secs_f64() / one.as_secs_f64().max(1e-3);
            worst > 40.0
        });
        assert!(!grows, "{name}: eight times the input takes {worst:.0} times as long");
    }
}
