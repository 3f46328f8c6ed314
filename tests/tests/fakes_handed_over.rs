//! Fakes where the guest's own init is process 1: a process of ours beside it sees to it that somebody answers, until the
//! guest has come to its end.

use std::time::Duration;

use hostel_tests::Guest;

/// Starts readers, kills whoever answers as often as it is told to, and says what went wrong and whether the process that
/// starts the next is still the same. For every shell, with programs that a BusyBox has.
const KILLED_WHILE_READ: &str = r#"
named() {
  for cmdline in /proc/[0-9]*/cmdline; do
    read -r name < $cmdline
    case $name in
      @hostel-warden*fakes*supervise*) role=supervise ;;
      @hostel-warden*fakes*) role=answer ;;
      *) continue ;;
    esac
    process=${cmdline#/proc/}
    [ $role = $1 ] && echo ${process%/cmdline}
  done 2>/dev/null
}
reader() {
  until [ -e /run/enough ]; do
    for name in meminfo stat uptime loadavg vmstat; do
      text=$(cat /proc/$name) || echo "FAILED: $name"
      [ ${#text} -gt 6 ] || echo "SHORT: $name"
    done
  done
}
before=$(named supervise)
[ -n "$before" ] || echo "FAILED: nobody sees to the fakes"
for reader in 1 2 3 4 5; do reader & done
kills=0
while [ $kills -lt KILLS ]; do
  for process in $(named answer); do kill -9 $process 2>/dev/null && kills=$((kills + 1)); done
  sleep 0.03
done
: > /run/enough
wait
[ "$(named supervise)" = "$before" ] || echo "FAILED: another one sees to them"
echo done
"#;

/// What any guest sees, whoever its process 1 is.
fn looks(guest: &Guest) {
    assert_eq!(guest.shell("cat /proc/cmdline"), "ro\n");
    assert!(!guest.shell("cat /proc/filesystems").contains("securityfs"));
    let up = guest.shell("cat /proc/uptime");
    let seconds = up.split('.').next().and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds < 600), "up for {up}");
    assert!(guest.shell("cat /proc/mounts").contains("fuse /proc/meminfo fuse "));
}

fn killed_while_read(guest: &Guest, kills: u32) {
    let script = KILLED_WHILE_READ.replace("KILLS", &kills.to_string());
    assert_eq!(guest.shell_within(Duration::from_secs(300), &script), "done\n");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_guest_with_its_own_init_when_whoever_answers_is_killed_then_no_read_fails_and_it_stops() {
    let mut guest = Guest::small("fakes-plain").init("plain").link("sbin/init", "/bin/busybox").start();
    looks(&guest);
    killed_while_read(&guest, 20);
    // It ends with the guest, and no earlier for being asked by others.
    guest.shell("kill -TERM 2; sleep 0.1; cat /proc/uptime");
    let stopped = guest.stop();
    assert!(stopped.leftovers.is_empty() && stopped.took < Duration::from_secs(20), "{stopped:?}");
}

mod long {
    use super::*;
    use hostel_tests::cache::{DEBIAN12, DEBIAN12_OPENRC, DEBIAN12_RUNIT, DEBIAN12_SYSV, DEBIAN13};

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_guests_with_their_own_inits_when_whoever_answers_is_killed_100_times_then_no_read_fails_and_they_stop()
     {
        for distribution in [DEBIAN12, DEBIAN13, DEBIAN12_SYSV, DEBIAN12_OPENRC, DEBIAN12_RUNIT] {
            let mut guest = Guest::of(distribution, "fakes-plain").init("plain").start();
            looks(&guest);
            killed_while_read(&guest, 100);
            let stopped = guest.stop();
            println!("{}: stopped after {:.2?}", distribution.name, stopped.took);
            assert!(stopped.leftovers.is_empty(), "{}: {stopped:?}", distribution.name);
        }
    }
}
