//! The log sink as a whole: the real `hostel-warden serve`, with this test in init's place, killed at any moment.

mod init;
mod writers;

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
    let writers = write_all(&init, pace);
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
    assert!(files > 3, "{files} files: there was no rotation");
}

#[test]
#[ignore = "takes minutes"]
fn given_writers_at_full_speed_when_the_warden_is_killed_for_long_then_every_line_is_there_once_and_in_order() {
    let init = Init::new("long", &UNITS, &["--log-size", "4000000", "--log-files", "100000"]);
    killed_run(init, Duration::from_secs(60), Pace::Unlimited);
    let init = Init::new("long-paced", &UNITS, &ROTATE_OFTEN);
    killed_run(init, Duration::from_secs(120), Pace::Pauses(2_000));
}
