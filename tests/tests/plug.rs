//! A pull of the plug in the middle of each command: after the boot all guests that were marked come up again, and no guest
//! is half there. On a stock Debian kernel, under QEMU.

use std::time::Duration;

use hostel_tests::machine::{KERNEL13, Said};
use hostel_tests::plug::Plugged;
use hostel_tests::random::Random;

/// What each boot does. The work is another at each, and goes on until the plug is pulled.
const STEPS: &[(&str, &str)] = &[
    (
        "boot",
        "n=$(cat /boots 2>/dev/null || echo 0); echo $((n+1)) > /boots.new; mv /boots.new /boots; sync; echo $n",
    ),
    ("marked", "hostel start-all"),
    ("state", "hostel status keep | head -1; hostel status web | head -1"),
    ("all", "hostel start-all --all; s=$?; hostel list; hostel stop-all --mark none; exit $s"),
    ("store", "hostel fsck --contents"),
    ("shared", "[ $(cat /boots) -lt 7 ] || hostel exec u1 -- busybox cmp /bin/busybox /same"),
    (
        "half",
        "cd /var/lib/hostel/guests 2>/dev/null || exit 0\n\
         for g in *; do [ -e \"$g\" ] || continue; [ -s $g/guest.json ] || echo \"$g has no definition\"; done\n\
         for f in .*.new */.*.new ../.*.new; do [ -e \"$f\" ] && echo \"$f is left\"; done; true",
    ),
    (
        "work",
        "case $(cat /boots) in\n\
         1) for g in keep y; do cp -a /small /$g; done; sync\n\
            hostel create keep --from dir:/keep --set marks=default && hostel create web --from dir:/small --volatile \
            --set marks=default --set depends=keep && hostel create x --from dir:/small --volatile\n\
            echo @@pull; while :; do sleep 1; done;;\n\
         2) echo @@pull; while :; do hostel create y --from dir:/y; hostel rm y; done;;\n\
         3) hostel stop x; echo @@pull; while :; do hostel start x; hostel stop x; done;;\n\
         4) echo @@pull; while :; do hostel set keep stop-timeout=11 start-timeout=77; hostel set keep stop-timeout=; done;;\n\
         5) echo @@pull; while :; do hostel stop keep; hostel start keep; done;;\n\
         6) for g in u1 u2; do hostel clone keep $g && hostel start $g && hostel exec $g -- cp /bin/busybox /same && \
            hostel stop $g; done; sync\n\
            hostel create y --from dir:/y; echo @@pull; hostel rm y; hostel rm --force x; while :; do sleep 1; done;;\n\
         7) hostel stop u1; echo @@pull; while :; do hostel clone keep y; hostel rm y; hostel clone u1 y; hostel rm y; done;;\n\
         8) echo @@pull; i=1; while :; do hostel unify; i=$((i+1)); for g in u1 u2; do hostel start $g; hostel exec $g -- cp \
            /bin/busybox /more$i; hostel stop $g; done; done;;\n\
         *) echo @@pull; while :; do sleep 1; done;;\n\
         esac",
    ),
];

/// All is as it must be after a boot.
fn check(said: &Said, boot: u64) {
    let context = format!("boot {boot}");
    assert_eq!(said.number("boot"), boot, "{context}");
    assert_eq!(said.done("half"), "", "{context}");
    if boot == 0 {
        return;
    }
    assert_eq!(said.step("marked").status, 0, "{context}: {:?}", said.step("marked"));
    let state = said.done("state");
    assert!(state.contains("keep: running") && state.contains("web: running"), "{context}: {state}");
    assert_eq!(said.step("all").status, 0, "{context}: a guest doesn't start: {:?}", said.step("all"));
    assert_eq!(said.step("store").status, 0, "{context}: {:?}", said.step("store"));
    assert_eq!(said.step("shared").status, 0, "{context}: {:?}", said.step("shared"));
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a stock kernel under QEMU, nine times: cargo xtask test --all"]
    fn given_a_plug_that_is_pulled_in_each_command_when_booted_again_then_marked_guests_are_up_and_none_is_half()
     {
        let machine = Plugged::new(KERNEL13, STEPS).unwrap();
        let mut random = Random::new(0x9106);
        for boot in 0..=8 {
            let more = Duration::from_millis(random.below(3000) as u64);
            let said = machine.boot_and_pull("@@pull", more).unwrap();
            println!("boot {boot}: pulled {} ms into its work", more.as_millis());
            check(&said, boot);
        }
    }
}
