//! Command lines: systemd.service(5), "Command Lines".
//!
//! Pure. Specifiers and quotes are resolved here; `$VARIABLE` stays for the start. Several commands may stand
//! in one line, separated by a lone `;`.

use super::directive::Directive;
use super::name::simplify_path;
use super::quoting::{self, is_white};
use hostel_plan::command_flags;
use hostel_plan::model::CommandModel;

/// A command line is unusable, and nothing says that this may be ignored: the unit can't be loaded.
/// The warning has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCommand;

const HELP: &str = "see systemd.service(5), COMMAND LINES";

/// The commands of one assignment. A bad one with the prefix `-` costs only itself.
pub fn parse(d: &mut Directive<'_>) -> Result<Vec<CommandModel>, BadCommand> {
    let mut commands = Vec::new();
    let mut rest = d.value.trim_start_matches(is_white);
    while !rest.is_empty() {
        // A separator with nothing before it separates nothing.
        if let Some(behind) = rest.strip_prefix(';').filter(|behind| behind.starts_with(is_white)) {
            rest = behind.trim_start_matches(is_white);
            continue;
        }
        let Some((first, behind)) = next(d, rest) else { return Ok(commands) };
        let (flags, program) = prefixes(&first);
        rest = behind;
        let command = one(d, flags, program, &mut rest);
        match command {
            Ok(command) => commands.push(command),
            Err(text) => {
                let ignored = flags & command_flags::IGNORE_FAILURE != 0;
                let fate = if ignored { "ignoring the command" } else { "the unit can't be loaded" };
                d.warn(format!("{text} in {}= '{}': {fate}", d.key, d.value), HELP);
                return if ignored { Ok(commands) } else { Err(BadCommand) };
            }
        }
    }
    Ok(commands)
}

/// The first word of a command; where there is none that can be read, the rest of the line is ignored.
fn next<'v>(d: &mut Directive<'_>, text: &'v str) -> Option<(String, &'v str)> {
    quoting::next_word(text).unwrap_or_else(|error| {
        d.warn(format!("{} in {}= '{}', ignoring", error.text(), d.key, d.value), HELP);
        None
    })
}

/// "Special executable prefixes", and what follows them. Of `+`, `!` and `!!` there is one.
fn prefixes(word: &str) -> (u8, &str) {
    let mut flags = 0;
    let mut privileges_told = false;
    let mut rest = word;
    loop {
        let flag = match rest.bytes().next() {
            Some(b'-') => command_flags::IGNORE_FAILURE,
            Some(b':') => command_flags::NO_EXPAND,
            Some(b'@') => command_flags::ARGV0,
            Some(b'+') if !privileges_told => command_flags::FULL_PRIVILEGES,
            Some(b'!') if !privileges_told => command_flags::NO_SETUID,
            // `!!` differs from no prefix only where the kernel has no ambient capabilities: each has.
            Some(b'!') if flags & command_flags::NO_SETUID != 0 => {
                flags &= !command_flags::NO_SETUID;
                rest = &rest[1..];
                continue;
            }
            _ => return (flags, rest),
        };
        if flags & flag != 0 {
            return (flags, rest);
        }
        privileges_told |= flag & (command_flags::FULL_PRIVILEGES | command_flags::NO_SETUID) != 0;
        flags |= flag;
        rest = &rest[1..];
    }
}

/// One command, up to the end or a lone `;`.
fn one(d: &mut Directive<'_>, flags: u8, program: &str, rest: &mut &str) -> Result<CommandModel, String> {
    let resolved = d.resolve(program);
    let mut argv = Vec::new();
    if flags & command_flags::ARGV0 == 0 {
        argv.extend(resolved.clone());
    }
    let mut problem = None;
    loop {
        *rest = rest.trim_start_matches(is_white);
        let behind_word = |text: &'_ str| text.is_empty() || text.starts_with(is_white);
        if rest.is_empty() {
            break;
        }
        if let Some(behind) = rest.strip_prefix(';').filter(|b| behind_word(b)) {
            *rest = behind.trim_start_matches(is_white);
            break;
        }
        if let Some(behind) = rest.strip_prefix("\\;").filter(|b| behind_word(b)) {
            argv.push(";".to_owned());
            *rest = behind;
            continue;
        }
        match quoting::next_word(rest) {
            Ok(Some((word, behind))) => {
                match d.resolve(&word) {
                    Some(word) => argv.push(word),
                    None => problem = Some("Unresolved specifiers".to_owned()),
                }
                *rest = behind;
            }
            Ok(None) => break,
            Err(error) => return Err(error.text().to_owned()),
        }
    }
    let path = resolved.ok_or("Unresolved specifiers")?;
    check_program(&path)?;
    if argv.is_empty() {
        return Err("Empty zeroth argument".to_owned());
    }
    match problem {
        Some(problem) => Err(problem),
        None => Ok(CommandModel { flags, path: simplify_path(&path), argv }),
    }
}

fn check_program(path: &str) -> Result<(), String> {
    if path.is_empty() {
        Err("Empty path".to_owned())
    } else if path.ends_with('/') {
        Err(format!("Executable path '{path}' specifies a directory"))
    } else if !path.starts_with('/') && (path.contains('/') || path == "." || path == "..") {
        Err(format!("Neither a valid executable name nor an absolute path: '{path}'"))
    } else if path.chars().any(|c| c.is_ascii_control() || matches!(c, '"' | '\'' | '\\')) {
        Err(format!("Executable path {path:?} contains special characters"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::UnitName;
    use super::super::notes::{At, Notes};
    use super::super::specifier::Facts;
    use super::*;

    fn run(value: &str) -> (Result<Vec<CommandModel>, BadCommand>, Notes) {
        let mut notes = Notes::default();
        let unit = UnitName::parse("a@x\\x2dy.service").unwrap();
        let (at, facts) = (At::file("f"), Facts::default());
        let mut d = Directive {
            section: "Service",
            key: "ExecStart",
            value,
            at: &at,
            unit: &unit,
            facts: &facts,
            notes: &mut notes,
        };
        let result = parse(&mut d);
        (result, notes)
    }

    fn plain(path: &str, argv: &[&str]) -> CommandModel {
        command(0, path, argv)
    }

    fn command(flags: u8, path: &str, argv: &[&str]) -> CommandModel {
        CommandModel { flags, path: path.into(), argv: argv.iter().map(|a| a.to_string()).collect() }
    }

    #[test]
    fn given_the_examples_of_the_manual_when_parsed_then_they_are_what_it_says() {
        assert_eq!(
            run(r#"echo one ; echo "two two""#).0.unwrap(),
            [plain("echo", &["echo", "one"]), plain("echo", &["echo", "two two"])]
        );
        assert_eq!(
            run(r"echo / >/dev/null & \; ls").0.unwrap(),
            [plain("echo", &["echo", "/", ">/dev/null", "&", ";", "ls"])]
        );
        assert_eq!(run("/bin/echo $ONE ${TWO} $$").0.unwrap()[0].argv, ["/bin/echo", "$ONE", "${TWO}", "$$"]);
    }

    #[test]
    fn given_prefixes_when_parsed_then_they_are_flags() {
        use command_flags::*;
        assert_eq!(
            run("@-/usr/sbin//a b %i %I ; :+c ; !!/d ; !/e").0.unwrap(),
            [
                command(ARGV0 | IGNORE_FAILURE, "/usr/sbin/a", &["b", "x\\x2dy", "x-y"]),
                command(NO_EXPAND | FULL_PRIVILEGES, "c", &["c"]),
                plain("/d", &["/d"]),
                command(NO_SETUID, "/e", &["/e"]),
            ]
        );
    }

    #[test]
    fn given_unusable_commands_when_parsed_then_the_line_is_named() {
        for value in ["-", "@/bin/a", "/bin/", "a/b", "/bin/a 'b", "-../x"] {
            let (result, notes) = run(value);
            assert_eq!(result.is_ok(), value.starts_with('-'), "{value}");
            assert_eq!(notes.list().len(), 1, "{value}");
        }
        assert_eq!(run("").0.unwrap(), []);
        assert_eq!(run("/a ;").0.unwrap(), [plain("/a", &["/a"])]);
    }
}
