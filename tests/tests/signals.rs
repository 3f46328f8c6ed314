//! Every signal to init, from inside and from outside its guest, at every moment of its life: booting, running, reloading,
//! stopping. What each is to do is the table's to say (`hostel_contract::request`); whatever has no row does nothing, and none
//! ends a guest by accident.
//!
//! The guests are a BusyBox and units that hold a moment open: a boot waits for a file, a reload for a generator, a stop for an
//! `ExecStop=`. What doesn't end a guest is sent to one all together; what ends it gets a guest of its own.

mod long {
    use std::process::{Child, Command, Stdio};
    use std::thread::sleep;
    use std::time::Duration;

    use hostel_contract::request::{Family, Meaning, Request, Sender, meaning};
    use hostel_contract::{ShutdownKind, request};
    use hostel_tests::run::{run, until};
    use hostel_tests::{Guest, cli};

    /// How long an effect may take.
    const LIMIT: Duration = Duration::from_secs(30);
    /// The kernel keeps these two from init where they come from inside; from outside they are nobody's to refuse.
    const KERNELS: [u8; 2] = [9, 19];
    /// The last signal there is.
    const LAST: u8 = 64;
    /// Asks for a power-off, in every family.
    const POWER_OFF: u8 = request::RTMIN + 4;
    const WARDEN: &str = "/run/hostel/bin/hostel-warden";

    /// The boot isn't done before the file is there.
    const GATE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
        ExecStart=/bin/sh -c 'until test -e /tmp/open; do sleep 0.05; done'\n";
    /// A stop takes this long.
    const SLOW: &str = "[Service]\nExecStart=/bin/sleep 1000000\nExecStop=/bin/sleep 1\n";
    /// A reload takes this long, once it was asked to.
    const GENERATOR: &str = "#!/bin/sh\ntest -e /tmp/slow || exit 0\n: > /tmp/reloads\nsleep 1\n";

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Moment {
        Booting,
        Running,
        Reloading,
        Stopping,
    }

    /// A guest at a moment of its life.
    struct Held {
        guest: Guest,
        /// Whoever waits for the end of that moment.
        waits: Option<Child>,
    }

    impl Held {
        fn at(moment: Moment) -> Held {
            let builder = Guest::small("signal").wanted_unit("gate.service", GATE);
            let builder = match moment {
                Moment::Booting => builder,
                Moment::Running => builder.file("tmp/open", ""),
                Moment::Reloading => {
                    builder.file("tmp/open", "").program("etc/systemd/system-generators/slow", GENERATOR)
                }
                Moment::Stopping => builder.file("tmp/open", "").wanted_unit("slow.service", SLOW),
            };
            let mut held = Held { guest: builder.create(), waits: None };
            if moment == Moment::Booting {
                held.waits = Some(background(&mut cli::hostel(&["start", &held.guest.name])));
                let begun = || held.guest.unit("gate.service").filter(|unit| unit.sub == "start").map(drop);
                assert!(until(LIMIT, begun).is_some(), "it doesn't boot");
                held.guest.find_init();
                return held;
            }
            held.guest.start();
            match moment {
                Moment::Booting | Moment::Running => {}
                Moment::Reloading => {
                    held.guest.shell(": > /tmp/slow");
                    let reload = ["exec", &held.guest.name, "--", WARDEN, "daemon-reload"];
                    held.waits = Some(background(&mut cli::hostel(&reload)));
                    let begun = || {
                        held.guest
                            .try_exec(&["sh", "-c", "test -e /tmp/reloads"])
                            .status
                            .success()
                            .then_some(())
                    };
                    assert!(until(LIMIT, begun).is_some(), "it doesn't reload");
                }
                Moment::Stopping => held.send(Sender::Outside, &[POWER_OFF]),
            }
            held
        }

        fn family(&self) -> Family {
            let name = self.guest.shell("cat /run/hostel/front");
            let found = Family::ALL.iter().find(|family| family.name() == name.trim());
            *found.unwrap_or_else(|| panic!("the front-end {name}"))
        }

        /// One after the other. The guest may end at any of them.
        fn send(&self, from: Sender, signals: &[u8]) {
            let numbers: Vec<String> = signals.iter().map(u8::to_string).collect();
            let script = |pid: u32| format!("for s in {}; do kill -$s {pid}; done", numbers.join(" "));
            match from {
                Sender::Inside => drop(self.guest.try_exec(&["sh", "-c", &script(1)])),
                Sender::Outside => {
                    drop(run(Command::new("sh").args(["-c", &script(self.guest.init)]), LIMIT))
                }
            }
        }

        /// Panics unless the moment passes as it would have without what was sent.
        fn goes_on(mut self, moment: Moment, what: &str) {
            if moment == Moment::Stopping {
                return self.ends(what);
            }
            self.guest.shell(": > /tmp/open");
            if let Some(mut child) = self.waits.take() {
                let ended = hostel_tests::run::wait(&mut child, std::time::Instant::now() + LIMIT);
                assert!(ended.is_some_and(|status| status.success()), "{what}: {ended:?}");
            }
            self.stays(what);
            let is_up = || self.guest.unit("gate.service").filter(|unit| unit.active == "active");
            assert!(until(LIMIT, is_up).is_some(), "{what}: {:?}", cli::status(&self.guest.name));
        }

        /// Panics unless it is the same init that answers.
        fn stays(&self, what: &str) {
            let status = cli::status(&self.guest.name).unwrap_or_default();
            assert_eq!(status.init, self.guest.init, "{what}");
            self.guest.shell(&format!("{WARDEN} list > /dev/null"));
        }

        /// Panics unless it ends, and stays so.
        fn ends(self, what: &str) {
            // Not by looking again and again: whoever looks is a process in the guest, for whose end it waits.
            let waited = cli::attempt(&["wait", &self.guest.name, "--timeout", "30"]).expect("hostel wait");
            assert!(matches!(waited.status.code(), Some(0 | 3)), "{what}: {}", waited.said());
            let facts = until(LIMIT, || {
                cli::facts(&["status", &self.guest.name]).filter(|facts| facts["state"] == "stopped")
            });
            let facts = facts.unwrap_or_else(|| panic!("{what}: it runs again"));
            assert_eq!(facts["last"]["how"], "halted", "{what}");
        }

        /// Panics unless another init takes over.
        fn begins_again(self, what: &str) {
            let again = until(LIMIT, || {
                sleep(Duration::from_millis(200));
                cli::status(&self.guest.name).filter(|status| ![0, self.guest.init].contains(&status.init))
            });
            assert!(again.is_some(), "{what}: {:?}", cli::status(&self.guest.name));
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            if let Some(mut child) = self.waits.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    fn background(command: &mut Command) -> Child {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hostel")
    }

    /// All signals but those of the kernel, by what the table says of them: does nothing or reads anew; isolates; ends.
    fn sorted(from: Sender, family: Family) -> (Vec<u8>, Vec<u8>, Vec<(u8, ShutdownKind)>) {
        let (mut quiet, mut isolating, mut ending) = (vec![], vec![], vec![]);
        for signal in (1..=LAST).filter(|signal| from == Sender::Inside || !KERNELS.contains(signal)) {
            match meaning(Request::Signal(signal), from, family) {
                Some(Meaning::Shutdown(kind) | Meaning::AtOnce(kind)) => ending.push((signal, kind)),
                Some(Meaning::Isolate(_)) => isolating.push(signal),
                Some(Meaning::Reload | Meaning::Stopit | Meaning::Nothing) | None => quiet.push(signal),
            }
        }
        (quiet, isolating, ending)
    }

    fn every_signal_means_what_the_table_says(moment: Moment) {
        for from in [Sender::Inside, Sender::Outside] {
            let held = Held::at(moment);
            let family = if moment == Moment::Stopping { Family::Native } else { held.family() };
            let (quiet, isolating, ending) = sorted(from, family);
            assert!(quiet.len() + isolating.len() + ending.len() >= usize::from(LAST) - KERNELS.len());
            held.send(from, &quiet);
            held.goes_on(moment, &format!("{quiet:?} {from:?}, {moment:?}"));
            for signal in isolating {
                let what = format!("{signal} {from:?}, {moment:?}");
                let held = Held::at(moment);
                held.send(from, &[signal]);
                match moment {
                    Moment::Stopping => held.ends(&what),
                    Moment::Booting | Moment::Running | Moment::Reloading => held.stays(&what),
                }
            }
            for (signal, kind) in ending {
                let what = format!("{signal} {from:?}, {moment:?}");
                let held = Held::at(moment);
                held.send(from, &[signal]);
                match kind {
                    ShutdownKind::Reboot => held.begins_again(&what),
                    ShutdownKind::Halt | ShutdownKind::PowerOff | ShutdownKind::Exit => held.ends(&what),
                }
            }
        }
    }

    #[test]
    #[ignore = "boots some thirty small guests: cargo xtask test --all"]
    fn given_a_guest_that_boots_when_any_signal_comes_then_it_means_what_the_table_says() {
        every_signal_means_what_the_table_says(Moment::Booting);
    }

    #[test]
    #[ignore = "boots some thirty small guests: cargo xtask test --all"]
    fn given_a_guest_that_runs_when_any_signal_comes_then_it_means_what_the_table_says() {
        every_signal_means_what_the_table_says(Moment::Running);
    }

    #[test]
    #[ignore = "boots some thirty small guests: cargo xtask test --all"]
    fn given_a_guest_that_reloads_when_any_signal_comes_then_it_means_what_the_table_says() {
        every_signal_means_what_the_table_says(Moment::Reloading);
    }

    /// The last request counts: `hostel stop` of a guest that reboots ends it.
    #[test]
    #[ignore = "boots some thirty small guests: cargo xtask test --all"]
    fn given_a_guest_that_stops_when_any_signal_comes_then_it_ends_as_it_was_asked_last() {
        every_signal_means_what_the_table_says(Moment::Stopping);
    }
}
