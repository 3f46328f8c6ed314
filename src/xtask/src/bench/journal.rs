//! The log: messages a second that are received and written, and bytes that one takes, beside systemd-journald.
//!
//! Two guests of one root run at the same time, and take turns: units' output, streams (`systemd-cat`), the journal's own
//! datagrams, and those of /dev/log. A turn ends when `journalctl --sync` says that all is written, and all must be there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hostel_tests::Guest;
use hostel_tests::oracle::Nspawn;

use super::{Table, median_ms};
use crate::shell::{About, Error};

/// Messages of one turn.
const MESSAGES: usize = 50_000;
/// Turns of each kind in each guest.
const ROUNDS: usize = 3;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(180);
/// Offset of the last object in the header of a journal file: what lies behind it is room that is not used yet.
const TAIL_OBJECT: usize = 136;

/// How messages come: a name, and the command that sends the lines of /bench/lines so.
const KINDS: [(&str, &str); 4] = [
    ("output", "systemctl start bench-output.service"),
    ("stream", "systemd-cat -t bench cat /bench/lines"),
    (
        "native",
        "perl /bench/send /run/systemd/journal/socket 'SYSLOG_IDENTIFIER=bench\nPRIORITY=6\nMESSAGE='",
    ),
    ("syslog", "perl /bench/send /dev/log '<14>Nov 22 01:27:40 bench: '"),
];

/// Sends each line as a datagram with something in front.
const SEND: &str = r#"use Socket;
my ($path, $front) = @ARGV;
$front =~ s/\\n/\n/g;
socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die;
connect($s, sockaddr_un($path)) or die "$path: $!";
open(my $lines, '<', '/bench/lines') or die;
while (<$lines>) { chomp; defined send($s, $front . $_ . "\n", 0) or die "$!"; }
"#;
/// Both keep everything, and tell nobody else.
const CONF: &str =
    "[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\nForwardToSyslog=no\nSystemMaxUse=2G\n";
const OUTPUT: &str = "[Service]\nType=oneshot\nSyslogIdentifier=bench\nExecStart=/bin/cat /bench/lines\n";

/// Where it runs.
enum Machine {
    Hostel(Guest),
    Systemd(Nspawn),
}

impl Machine {
    fn ask(&self, script: &str) -> Result<String, Error> {
        match self {
            Machine::Hostel(guest) => Ok(guest.shell(script)),
            Machine::Systemd(nspawn) => {
                nspawn.ask_for(&["sh", "-c", script], LIMIT).map_err(|e| Error::Wrong(e.to_string()))
            }
        }
    }

    fn init(&self) -> u32 {
        match self {
            Machine::Hostel(guest) => guest.init,
            Machine::Systemd(nspawn) => nspawn.init,
        }
    }

    /// One turn: how long until everything is written.
    fn turn(&self, send: &str) -> Result<Duration, Error> {
        let script = format!(
            "began=$(date +%s%N); {send} && journalctl --sync && echo $(($(date +%s%N) - began)); \
             journalctl --quiet --rotate"
        );
        let text = self.ask(&script)?;
        let nanoseconds = text.trim().lines().last().and_then(|line| line.parse().ok());
        nanoseconds.map(Duration::from_nanos).ok_or_else(|| Error::Wrong(format!("`{send}` says: {text}")))
    }

    /// Bytes of all journal files that are in use, and entries of the benchmark.
    fn size(&self) -> Result<(u64, u64), Error> {
        let root = format!("/proc/{}/root", self.init());
        let mut bytes = 0;
        for place in ["var/log/journal", "run/log/journal"] {
            for folder in entries(&Path::new(&root).join(place)) {
                for file in entries(&folder) {
                    bytes += used(&file)?;
                }
            }
        }
        let count = self.ask("journalctl -q -o cat -t bench | wc -l")?;
        Ok((bytes, count.trim().parse().unwrap_or(0)))
    }
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn used(file: &Path) -> Result<u64, Error> {
    let bytes = fs::read(file).about("read", file)?;
    let tail = bytes.get(TAIL_OBJECT..TAIL_OBJECT + 8).and_then(|word| word.try_into().ok());
    Ok(tail.map_or(0, u64::from_le_bytes))
}

/// Messages a second of each kind, and bytes a message.
pub fn table() -> Result<Table, Error> {
    let lines: String = (0..MESSAGES)
        .map(|number| {
            format!("message {number} of the benchmark, as long as most of them are: client 192.0.2.7\n")
        })
        .collect();
    let mut guest = Guest::debian12("bench-journal")
        .file("/bench/lines", &lines)
        .file("/bench/send", SEND)
        .file("/etc/systemd/journald.conf", CONF)
        .unit("bench-output.service", OUTPUT)
        .create();
    guest.start();
    let name = format!("bench-journal-{}", std::process::id());
    let failed = |error: hostel_tests::oracle::OracleError| Error::Wrong(error.to_string());
    let mut nspawn = Nspawn::start(&guest.shared_root(), &name).map_err(failed)?;
    nspawn.wait_until_up().map_err(failed)?;
    let machines = [("hostel", Machine::Hostel(guest)), ("systemd-journald", Machine::Systemd(nspawn))];

    let mut times = vec![vec![Vec::new(); KINDS.len()]; machines.len()];
    let before = machines.iter().map(|(_, machine)| machine.size()).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..ROUNDS {
        for (kind, (_, send)) in KINDS.iter().enumerate() {
            for (index, (_, machine)) in machines.iter().enumerate() {
                times[index][kind].push(machine.turn(send)?);
            }
        }
    }
    let mut table = Table::new(
        &format!("The log: messages a second (median of {ROUNDS} times {MESSAGES}), bytes a message"),
        &["output /s", "stream /s", "native /s", "syslog /s", "bytes"],
    );
    let all = (MESSAGES * ROUNDS * KINDS.len()) as u64;
    for (index, (name, machine)) in machines.iter().enumerate() {
        let (bytes, count) = machine.size()?;
        let mut values: Vec<Option<f64>> = times[index]
            .iter_mut()
            .map(|times| median_ms(times).map(|ms| MESSAGES as f64 * 1000.0 / ms))
            .collect();
        values.push(Some((bytes - before[index].0) as f64 / all as f64));
        table.row(name, &values);
        if count != all {
            table.note(format!("{name} has {count} of {all} messages"));
        }
    }
    let [_, (_, systemd)] = machines;
    if let Machine::Systemd(nspawn) = systemd {
        nspawn.stop().map_err(failed)?;
    }
    Ok(table)
}
