//! The command line of the command role: `hostel-init [OPTIONS] -- COMMAND`, with the options of tini(1), so that an image
//! in which tini was needs no other change than its file.

/// What is to be done, and with which command.
#[derive(Default)]
pub struct Options {
    /// `-s`: orphans come to us also where we aren't PID 1.
    pub adopts: bool,
    /// `-g`: signals go to the whole process group of the command.
    pub signals_group: bool,
    /// `-w`: each orphan that is reaped is told.
    pub tells_reaped: bool,
    /// `-v`, once for each.
    pub verbosity: u8,
    /// `-p`: what we get when our parent ends; 0: nothing.
    pub death_signal: u8,
    /// `-e`: exit statuses that become 0, a bit each.
    expected: [u64; 4],
    /// Number of the command among the arguments.
    pub command: usize,
}

impl Options {
    /// The exit status outward for one of the command.
    pub fn outward(&self, status: u8) -> u8 {
        let word = self.expected.get(usize::from(status / 64)).copied().unwrap_or_default();
        if word >> (status % 64) & 1 == 1 { 0 } else { status }
    }
}

/// What is printed instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Print {
    /// `--version`.
    Version,
    /// `-h`.
    Help,
    /// `-l`.
    License,
    /// How it is to be called: it was wrong.
    Usage,
}

/// Which role do these arguments ask for? Called `init`, only by `--`: a kernel passes on to its init what it doesn't
/// know itself. By our own name, by an option. By another (`tini`, `docker-init`), by anything.
pub fn is_command(name: &[u8], first: &[u8]) -> bool {
    match name.rsplit(|b| *b == b'/').next() {
        Some(b"init") => first == b"--",
        Some(b"hostel-init") => first.first() == Some(&b'-'),
        _ => !first.is_empty(),
    }
}

/// Reads the arguments, of which `argument` gives one by its number.
pub fn read<'a>(argument: &dyn Fn(usize) -> Option<&'a [u8]>) -> Result<Options, Print> {
    let mut options = Options::default();
    let mut next = 1;
    while let Some([b'-', letters @ ..]) = argument(next) {
        next += 1;
        let mut letters = match letters {
            b"-" => break,
            b"-version" => return Err(Print::Version),
            letters => letters,
        };
        while let [letter, rest @ ..] = letters {
            letters = rest;
            match letter {
                b's' => options.adopts = true,
                b'g' => options.signals_group = true,
                b'w' => options.tells_reaped = true,
                b'v' => options.verbosity = options.verbosity.saturating_add(1),
                b'h' => return Err(Print::Help),
                b'l' => return Err(Print::License),
                b'e' | b'p' => {
                    let mut value = rest;
                    if rest.is_empty() {
                        value = argument(next).unwrap_or_default();
                        next += 1;
                    }
                    letters = &[];
                    if *letter == b'p' {
                        options.death_signal = signal(value).ok_or(Print::Usage)?;
                    } else {
                        let status = crate::text::decimal(value).ok_or(Print::Usage)? as usize;
                        *options.expected.get_mut(status / 64).ok_or(Print::Usage)? |= 1 << (status % 64);
                    }
                }
                _ => return Err(Print::Usage),
            }
        }
    }
    options.command = next;
    argument(next).map_or(Err(Print::Usage), |_| Ok(options))
}

/// Names of the signals from 1 on, signal(7).
const SIGNALS: &[u8] =
    b"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
    TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// The number of a signal's name, `SIGTERM` or `TERM`.
fn signal(name: &[u8]) -> Option<u8> {
    let name = name.strip_prefix(b"SIG").unwrap_or(name);
    SIGNALS.split(|b| *b == b' ').position(|known| known == name).map(|at| at as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &'static str) -> Result<Options, Print> {
        read(&|at| line.split(' ').nth(at).map(str::as_bytes))
    }

    #[test]
    fn given_options_of_tini_when_read_then_each_has_its_effect() {
        let options = of("tini -sgw -vvv -e 3 -e143 -p SIGUSR1 -- sh -c true").ok().unwrap();
        assert!(options.adopts && options.signals_group && options.tells_reaped);
        assert_eq!((options.verbosity, options.death_signal, options.command), (3, 10, 9));
        assert_eq!([3, 143, 4, 255].map(|status| options.outward(status)), [0, 0, 4, 255]);
    }

    #[test]
    fn given_a_command_without_dashes_when_read_then_its_own_options_are_left_to_it() {
        assert_eq!(of("tini -g sh -c true").ok().map(|o| (o.command, o.verbosity)), Some((2, 0)));
    }

    #[test]
    fn given_nothing_to_run_or_what_is_no_option_when_read_then_the_usage_is_printed() {
        for line in [
            "tini",
            "tini -w",
            "tini -z",
            "tini --",
            "tini -e 256 x",
            "tini -e x y",
            "tini -p NONE x",
            "tini -e",
        ] {
            assert_eq!(of(line).err(), Some(Print::Usage), "{line}");
        }
        assert_eq!(of("tini -h").err(), Some(Print::Help));
        assert_eq!(of("tini -l").err(), Some(Print::License));
        assert_eq!(of("tini --version").err(), Some(Print::Version));
    }

    #[test]
    fn given_every_exit_status_when_expected_then_it_and_no_other_becomes_0() {
        for status in 0..=255u8 {
            let line = std::format!("tini -e {status} x");
            let options = read(&|at| line.split(' ').nth(at).map(str::as_bytes)).ok().unwrap();
            for other in 0..=255 {
                assert_eq!(options.outward(other), if other == status { 0 } else { other });
            }
        }
    }

    #[test]
    fn given_names_and_first_arguments_when_a_role_is_chosen_then_a_kernels_words_make_no_command() {
        for (name, first, is) in [
            ("/sbin/init", "--", true),
            ("/sbin/init", "-s", false),
            ("init", "splash", false),
            ("/usr/bin/hostel-init", "-g", true),
            ("hostel-init", "single", false),
            ("hostel-init", "", false),
            ("/sbin/docker-init", "sh", true),
            ("tini", "", false),
        ] {
            assert_eq!(is_command(name.as_bytes(), first.as_bytes()), is, "{name} {first}");
        }
    }
}
