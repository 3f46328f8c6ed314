//! The log sink as a whole: the real `hostel-warden serve`, with this test in init's place, killed at any moment.

mod init;
mod writers;

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use init::Init;
use rustix::process::{Signal, kill_process};
use writers::{Pace, Random, Writers, check};

const UNITS: [&str; 3] = ["alpha.service", "beta.service", "gamma.service"];
/// Enough files for everything that a test writes: what rotation removes could not be checked.
const ROTATE_OFTEN: [&str; 4] = ["--log-size", "200000", "--log-files", "100000"];

fn write_all(init: &Init, pace: Pace) -> Writers {
    let mut writers = Writers::new();
    for pipe in &init.pipes {
        writers.pipe(&pipe.unit, &pipe.writer, pace);
    }
    for tag in ["one", "two"] {
        writers.datagrams(tag, init.root.0.join("dev/log"), pace);
    }
    writers
}

/// The same with streams, which are open before the first kill: one that is being accepted is lost with its warden.
fn with_streams(init: &Init, pace: Pace) -> Writers {
    let mut writers = write_all(init, pace);
    let path = init.root.0.join("run/systemd/journal/stdout");
    for tag in ["stream-a", "stream-b", "stream-c"] {
        writers.stream(tag, path.clone(), pace);
    }
    let until = Instant::now() + Duration::from_secs(20);
    let has_all = |init: &Init| {
        let said = init.lines();
        ["stream-a", "stream-b", "stream-c"]
            .iter()
            .all(|tag| said.iter().any(|(name, text)| name == tag || text.starts_with(tag)))
    };
    while !has_all(init) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    writers
}

/// Kills and restarts the warden for so long; gives the number of kills.
fn kill_for(init: &mut Init, time: Duration, random: &mut Random) -> u32 {
    let (began, mut kills) = (Instant::now(), 0);
    while began.elapsed() < time {
        // Mostly in the middle of its work, sometimes while it takes over.
        let life = if random.below(4) == 0 { random.below(8_000) } else { 20_000 + random.below(30_000) };
        std::thread::sleep(Duration::from_micros(life));
        if random.below(10) == 0 {
            kill_process(init.pid(), Signal::STOP).unwrap();
            std::thread::sleep(Duration::from_millis(random.below(60)));
            if random.below(2) == 0 {
                kill_process(init.pid(), Signal::CONT).unwrap();
                continue;
            }
        }
        init.kill();
        init.start();
        kills += 1;
    }
    kills
}

/// One whole run: writers, kills, an orderly end, the check.
fn killed_run(mut init: Init, time: Duration, pace: Pace) -> Init {
    let mut random = Random(0x5eed);
    init.start();
    let writers = with_streams(&init, pace);
    let began = Instant::now();
    let kills = kill_for(&mut init, time, &mut random);
    let written = writers.end();
    assert!(init.stop().success());
    let seconds = began.elapsed().as_secs_f64();
    let total: u64 = written.values().sum();
    println!("{total} lines, {kills} kills, {:.0} lines/s: {written:?}", total as f64 / seconds);
    assert!(written.values().all(|&count| count > 0), "a writer wrote nothing: {written:?}");
    let others = check(&init.lines(), &written);
    assert_eq!(others, Vec::<String>::new());
    assert_eq!(init.root.console(), "");
    init
}

#[test]
fn given_writers_when_the_warden_is_killed_again_and_again_then_every_line_is_there_once_and_in_order() {
    let init = Init::new("kill", &UNITS, &["--log-files", "100000"]);
    killed_run(init, Duration::from_secs(3), Pace::Pauses(2_000));
}

#[test]
fn given_rotation_when_the_warden_is_killed_again_and_again_then_every_line_is_there_once_and_in_order() {
    let init = Init::new("rotate", &UNITS, &ROTATE_OFTEN);
    let init = killed_run(init, Duration::from_secs(3), Pace::Pauses(2_000));
    let files = std::fs::read_dir(init.root.0.join("var/log/hostel")).unwrap().count();
    assert!(files > 1, "{files} files: there was no rotation");
}

/// What the machine's own journalctl says of a journal; nothing where there is none.
fn assert_verified(init: &Init) {
    match Command::new("journalctl").arg("--verify").arg("--directory").arg(init.journal()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (),
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn given_a_journal_when_the_warden_is_killed_again_and_again_then_every_entry_is_there_once_and_it_verifies()
{
    let init = Init::new("journal", &UNITS, &["--log-files", "100000"]).with_journal();
    assert_verified(&killed_run(init, Duration::from_secs(3), Pace::Pauses(2_000)));
    let init = Init::new("journal-rotate", &UNITS, &["--log-size", "40000", "--log-files", "100000"])
        .with_compact_journal();
    let init = killed_run(init, Duration::from_secs(3), Pace::Pauses(2_000));
    assert_verified(&init);
    let files = std::fs::read_dir(init.journal()).unwrap().count();
    assert!(files > 1, "{files} files: there was no rotation");
}

#[test]
fn given_a_reload_that_renumbers_units_when_the_warden_is_killed_then_every_line_keeps_its_unit() {
    let mut init = Init::new("reload", &UNITS, &["--log-files", "100000"]);
    let mut random = Random(77);
    init.start();
    let writers = write_all(&init, Pace::Pauses(500));
    let plans: [&[&str]; 3] = [
        &["a-new.service", "alpha.service", "an-other.service", "beta.service", "gamma.service"],
        &["alpha.service", "beta.service", "gamma.service", "omega.service"],
        &["aa.service", "ab.service", "ac.service", "alpha.service", "beta.service", "gamma.service"],
    ];
    for round in 0..60 {
        init.reload(plans[round % plans.len()]);
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        init.kill();
        init.start();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
    }
    let written = writers.end();
    assert!(init.stop().success());
    assert_eq!(check(&init.lines(), &written), Vec::<String>::new());
}

/// A syslogd: everything that is forwarded to it until it is ended.
struct Syslogd {
    over: Arc<AtomicBool>,
    texts: Arc<Mutex<Vec<String>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Syslogd {
    fn of(init: &Init) -> Syslogd {
        let socket = UnixDatagram::bind(init.root.0.join("run/systemd/journal/syslog")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let texts = Arc::new(Mutex::new(Vec::new()));
        let (seen, kept) = (over.clone(), texts.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            loop {
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        kept.lock().unwrap().push(String::from_utf8(buffer[..length].to_vec()).unwrap());
                    }
                    Err(_) if seen.load(Ordering::Relaxed) => return,
                    Err(_) => (),
                }
            }
        });
        Syslogd { over, texts, reader }
    }

    /// Waits until it has so many lines, for a while.
    fn wait_for(&self, count: usize) {
        let began = Instant::now();
        while self.texts.lock().unwrap().len() < count && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sender and number of each line: of `<30>Nov 22 01:27:40 alpha.service: 17 xx`.
    fn end(self) -> Vec<(String, u64)> {
        self.over.store(true, Ordering::Relaxed);
        self.reader.join().unwrap();
        let of = |text: &String| {
            let (sender, text) = text[text.find('>').unwrap() + 17..].split_once(": ").unwrap();
            (sender.split('[').next().unwrap().to_string(), text.split(' ').next().unwrap().parse().unwrap())
        };
        self.texts.lock().unwrap().iter().map(of).collect()
    }
}

#[test]
fn given_a_syslogd_that_is_slower_than_the_log_when_it_comes_to_it_then_it_gets_every_line_once_and_in_order()
{
    // Less than the backlog takes, more than the socket does.
    const LINES: u64 = 2_000;
    let mut init = Init::new("forward", &UNITS, &["--log-files", "100000"]);
    let syslogd = Syslogd::of(&init);
    init.start();
    for number in 1..=LINES {
        init.write("alpha.service", &format!("{number} x\n"));
    }
    let lines = init.wait_for_lines(LINES as usize);
    assert_eq!(lines.len() as u64, LINES);
    syslogd.wait_for(LINES as usize);
    assert!(init.stop().success());
    let forwarded = syslogd.end();
    let expected: Vec<(String, u64)> =
        (1..=LINES).map(|number| ("alpha.service".to_string(), number)).collect();
    assert!(forwarded == expected, "{} of {LINES}", forwarded.len());
}

#[test]
fn given_a_syslogd_when_the_warden_is_killed_again_and_again_then_the_log_is_exact_and_few_things_come_twice()
{
    let mut init = Init::new("forward-kill", &UNITS, &["--log-files", "100000"]);
    let syslogd = Syslogd::of(&init);
    let mut random = Random(5);
    init.start();
    let writers = write_all(&init, Pace::Pauses(20_000));
    let kills = kill_for(&mut init, Duration::from_secs(3), &mut random);
    let written = writers.end();
    assert!(init.stop().success());
    let forwarded = syslogd.end();
    let mut log = init.lines();
    // What a killed warden had not got rid of is missed, as is what a slow syslogd has no room for: that is said.
    log.retain(|(name, text)| !(name == "hostel-warden" && text.contains("were not forwarded")));
    assert_eq!(check(&log, &written), Vec::<String>::new());
    let distinct: BTreeSet<&(String, u64)> = forwarded.iter().collect();
    let twice = forwarded.len() - distinct.len();
    println!("{} forwarded, {twice} of them twice, {kills} kills", forwarded.len());
    assert!(distinct.iter().all(|(sender, number)| written.get(sender).is_some_and(|last| number <= last)));
    assert!(!distinct.is_empty() && twice <= kills as usize, "{twice} were forwarded twice");
}

/// Runs the test that called it again in a mount namespace of its own, with a small file system at /mnt. True: this
/// is that run.
fn in_own_mounts(test: &str, size: &str) -> bool {
    const INSIDE: &str = "HOSTEL_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script =
        format!("mount -t tmpfs -o size={size} tmpfs /mnt && exec \"$0\" --exact {test} --nocapture");
    let run = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .output()
        .unwrap();
    // Not passed on as it is: whoever counts tests would count it twice.
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    false
}

#[test]
fn given_a_disk_that_is_full_now_and_then_when_the_warden_is_killed_then_every_line_is_there_once() {
    let name =
        "given_a_disk_that_is_full_now_and_then_when_the_warden_is_killed_then_every_line_is_there_once";
    if !in_own_mounts(name, "64m") {
        return;
    }
    let mut init = Init::new("full", &UNITS, &["--log-size", "1000000", "--log-files", "100000"]);
    std::fs::remove_dir(init.root.0.join("var/log")).unwrap();
    std::os::unix::fs::symlink("/mnt", init.root.0.join("var/log")).unwrap();
    let mut random = Random(9);
    init.start();
    let writers = write_all(&init, Pace::Pauses(5_000));
    for round in 0..4 {
        kill_for(&mut init, Duration::from_millis(400), &mut random);
        let mut ballast = std::fs::File::create("/mnt/ballast").unwrap();
        let full = std::io::copy(&mut std::io::repeat(0), &mut ballast).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        if round % 2 == 0 {
            kill_for(&mut init, Duration::from_millis(800), &mut random);
        } else {
            std::thread::sleep(Duration::from_millis(1500));
        }
        std::fs::remove_file("/mnt/ballast").unwrap();
    }
    std::thread::sleep(Duration::from_millis(1500));
    let written = writers.end();
    assert!(init.stop().success());
    let notes = check(&init.lines(), &written);
    assert!(notes.iter().all(|note| note.contains("nothing was lost")), "{notes:?}");
    assert!(!notes.is_empty());
    assert!(
        init.root.console().contains("can't be written: No space left on device"),
        "{}",
        init.root.console()
    );
    println!("{written:?}");
}

#[test]
fn given_a_line_without_an_end_when_nothing_follows_then_it_is_logged_after_a_while_and_in_one_piece() {
    let mut init = Init::new("partial", &UNITS, &[]);
    init.start();
    init.write("alpha.service", "half a");
    std::thread::sleep(Duration::from_millis(100));
    init.kill();
    init.start();
    init.write("alpha.service", " line\nprompt: ");
    let lines = init.wait_for_lines(2);
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["half a line", "prompt: "]);
    init.write("beta.service", "last words");
    assert!(init.stop().success());
    assert_eq!(init.lines()[2], ("beta.service".to_string(), "last words".to_string()));
}

#[test]
fn given_a_timer_when_it_is_due_then_init_is_asked_to_start_its_unit() {
    let mut init = Init::new("timer", &["job.service", "job.timer"], &[]);
    init.start();
    init.publish_active("job.timer");
    // Init says "Started job.timer.", which is what wakes the warden.
    init.write("hostel-init", "Started job.timer.\n");
    let began = Instant::now();
    while init.triggered.lock().unwrap().is_empty() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let expected = (init.index("job.service"), u32::from(init.index("job.timer")));
    assert_eq!(init.triggered.lock().unwrap().first(), Some(&expected));
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(init.stop().success());
}

#[test]
fn given_a_main_process_when_its_unit_writes_then_its_number_is_in_the_line() {
    let mut init = Init::new("pid", &UNITS, &[]);
    init.publish_active("beta.service");
    init.start();
    init.write("beta.service", "hello\n");
    init.wait_for_lines(1);
    assert!(init.stop().success());
    let log = std::fs::read_to_string(init.root.0.join("var/log/hostel/log")).unwrap();
    assert!(log.ends_with(" beta.service[4711]: hello\n"), "{log}");
}

#[test]
fn given_a_burst_when_it_is_over_then_what_is_held_for_the_sink_is_two_pages_at_most() {
    let mut init = Init::new("idle", &UNITS, &[]);
    init.start();
    for number in 0..2000 {
        init.write("alpha.service", &format!("{number} {}\n", "x".repeat(200)));
    }
    init.wait_for_lines(2000);
    std::thread::sleep(Duration::from_millis(50));
    assert!(init.held_memory() <= 8192, "{} bytes", init.held_memory());
    assert!(init.stop().success());
}

/// System calls before which a warden is killed. Of others it makes none that matter.
const CALLS: [&str; 27] = [
    "splice",
    "pwrite64",
    "pread64",
    "write",
    "read",
    "lseek",
    "recvmsg",
    "recvmmsg",
    "setsockopt",
    "sendmsg",
    "recvfrom",
    "sendto",
    "fallocate",
    "ftruncate",
    "openat",
    "rename",
    "statx",
    "fstat",
    "close",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait2",
    "connect",
    "timerfd_settime",
    "getdents64",
    "fcntl",
    "munmap",
];

#[test]
#[ignore = "takes a minute, and needs strace"]
fn given_a_warden_killed_at_each_of_its_system_calls_when_the_next_one_comes_then_every_line_is_there_once() {
    killed_at_each_call(|| Init::new("each-call", &UNITS, &["--log-size", "300", "--log-files", "100"]));
}

#[test]
#[ignore = "takes a minute, and needs strace"]
fn given_a_journal_and_a_warden_killed_at_each_of_its_system_calls_then_every_entry_is_there_once() {
    // The smallest journal has tables of 40 KB: each entry behind them begins a new file.
    let arguments = ["--log-size", "40000", "--log-files", "100"];
    killed_at_each_call(|| Init::new("each-call-journal", &UNITS, &arguments).with_journal());
}

fn killed_at_each_call(make: impl Fn() -> Init) {
    let mut kills = 0;
    for call in CALLS {
        for time in 1.. {
            let mut init = make();
            // /dev/log is there, and held.
            init.start();
            init.write("alpha.service", "first\nha");
            assert_eq!(init.wait_for_lines(1).len(), 1);
            init.kill();
            let mut expected = something_of_everything(&init);
            init.start_to_be_killed(call, time);
            // Once it has nothing left to take over, it receives several together.
            init.wait_for_lines_or_end(expected.len() - 1);
            expected.extend(datagrams(&init, 5..8));
            expected.sort();
            let orderly = init.stop().success();
            init.start();
            assert!(init.stop().success());
            let mut lines = init.lines();
            // Those of different units may come in any order.
            lines.sort();
            assert_eq!(lines, expected, "killed at {call}, the {time}. time");
            if orderly {
                break;
            }
            kills += 1;
        }
    }
    println!("{kills} kills");
    assert!(kills > 100);
}

/// Output of all kinds, and what the log has to be, sorted.
fn something_of_everything(init: &Init) -> Vec<(String, String)> {
    let mut expected = vec![("alpha.service".to_string(), "first".to_string())];
    let mut expect = |name: &str, text: String| expected.push((name.to_string(), text));
    init.write("alpha.service", "lf\n");
    expect("alpha.service", "half".into());
    for number in 0..5 {
        init.write("beta.service", &format!("{number}\n"));
        expect("beta.service", number.to_string());
    }
    init.write("gamma.service", "no end");
    expect("gamma.service", "no end".into());
    expected.extend(datagrams(init, 0..5));
    expected.sort();
    expected
}

/// Datagrams for both sockets, and what they are in the log. Two of them are equal.
fn datagrams(init: &Init, numbers: std::ops::Range<u32>) -> Vec<(String, String)> {
    let sender = UnixDatagram::unbound().unwrap();
    let mut expected = Vec::new();
    for number in numbers {
        sender.send_to(format!("<13>tag: {}", number / 2).as_bytes(), init.root.0.join("dev/log")).unwrap();
        expected.push(("syslog".into(), format!("tag: {}", number / 2)));
        let entry = format!("MESSAGE=native {}\nPRIORITY=3\n", number / 2);
        sender.send_to(entry.as_bytes(), init.root.0.join("run/systemd/journal/socket")).unwrap();
        expected.push(("journal".into(), format!("native {}", number / 2)));
    }
    expected
}

#[test]
#[ignore = "takes minutes"]
fn given_writers_at_full_speed_when_the_warden_is_killed_for_long_then_every_line_is_there_once_and_in_order()
{
    let init = Init::new("long", &UNITS, &["--log-size", "4000000", "--log-files", "100000"]);
    killed_run(init, Duration::from_secs(20), Pace::Unlimited);
    let init = Init::new("long-paced", &UNITS, &ROTATE_OFTEN);
    killed_run(init, Duration::from_secs(120), Pace::Pauses(2_000));
}

/// Whatever strangers do at the log's sockets, others are logged, and the warden stays.
#[test]
fn given_hostile_clients_when_others_log_then_every_line_of_theirs_is_there() {
    let mut init = Init::new("hostile", &UNITS, &["--log-files", "100000"]);
    init.start();
    let place = |name: &str| init.root.0.join("run/systemd/journal").join(name);
    let pid = init.pid();
    let mut writers = write_all(&init, Pace::Pauses(3_000));
    writers.stream("honest", place("stdout"), Pace::Pauses(3_000));

    // Connections that say nothing, nonsense, a head without an end; and more of them than there is room for.
    let mut silent = Vec::new();
    for number in 0..200 {
        let Ok(mut stream) = UnixStream::connect(place("stdout")) else { continue };
        let said: &[u8] = match number % 4 {
            0 => b"",
            1 => b"\xff\0\xfe\nx\ny\nz\nq\nw\ne\nr\n",
            2 => &[b'x'; 20_000],
            _ => b"a\nb.service\n999\n1\n1\n1\n1\ntext\n",
        };
        let _ = stream.write_all(said);
        silent.push(stream);
    }
    let flood = UnixDatagram::unbound().unwrap();
    for number in 0..3_000u32 {
        let noise: Vec<u8> = (0..number % 300).map(|at| (at * number % 251) as u8).collect();
        let _ = flood.send_to(&noise, place(if number % 2 == 0 { "socket" } else { "dev-log" }));
    }
    // An entry whose field claims to be longer than all memory.
    let _ = flood.send_to(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\x7fx\n", place("socket"));
    std::thread::sleep(Duration::from_millis(500));
    let written = writers.end();
    drop(silent);
    assert!(written.values().all(|&count| count > 0), "{written:?}");
    assert_eq!(init.pid(), pid);
    assert!(init.stop().success());
    check(&init.lines().into_iter().filter(|line| is_ours(line, &written)).collect::<Vec<_>>(), &written);
    assert_eq!(init.root.console(), "");
}

/// Lines of the writers: noise may look like anything else.
fn is_ours((name, text): &(String, String), written: &std::collections::BTreeMap<String, u64>) -> bool {
    let tag = text.split(": ").next().unwrap_or_default();
    written.contains_key(name) || matches!(name.as_str(), "syslog" | "journal") && written.contains_key(tag)
}
