//! Unit files as text: quoting, and what the units of several front-ends have in common. Pure.

/// A word of a command line, quoted so that the compiler takes it as it is.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{}\"", literal(&escaped).replace('$', "$$"))
}

/// Text of a directive in which nothing is a specifier.
pub fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// Characters that make sysvinit and BusyBox leave a command to the shell.
const OF_THE_SHELL: &[char] = &[
    '~', '`', '!', '$', '^', '&', '*', '(', ')', '=', '|', '\\', '{', '}', '[', ']', ';', '"', '\'', '<',
    '>', '?',
];

/// A command of inittab(5) as the value of ExecStart=.
pub fn command(process: &str) -> String {
    if process.contains(OF_THE_SHELL) {
        return format!("/bin/sh -c {}", quote(&format!("exec {process}")));
    }
    process.split_whitespace().map(quote).collect::<Vec<_>>().join(" ")
}

/// A part of a unit's name: what can't stand there is a `_`.
pub fn name_part(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// A unit's text: section [Unit] with these lines, then others. Nothing of it is implied by default.
pub fn unit(description: &str, unit: &[String], more: &str) -> String {
    let mut text =
        format!("[Unit]\nDescription={}\nDefaultDependencies=no\n", literal(&one_line(description)));
    for line in unit {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(more);
    text
}

/// What stands in a directive has no line breaks and doesn't go on in the next line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ").trim_end_matches('\\').to_owned()
}

/// Environment of what these inits run, who pass on their own: scripts look there for what they run in.
pub const CONTAINER: &str = "PassEnvironment=container\n";
/// The same for what has no terminal, and asks for the kind of one nevertheless.
pub const INHERITED: &str = "Environment=TERM=linux\nPassEnvironment=container\n";

/// Directives of whoever has the console as its terminal.
pub const CONSOLE: &str = "StandardInput=tty\nStandardOutput=tty\nTTYPath=/dev/console\nTTYReset=yes\nTTYVHangup=yes\n\
                           UtmpIdentifier=cons\nIgnoreSIGPIPE=no\nSendSIGHUP=yes\n";

/// `After=` of a unit, where there is one.
pub fn after(unit: Option<&str>) -> Vec<String> {
    unit.map(|unit| format!("After={unit}")).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_words_when_quoted_then_variables_specifiers_and_quotes_stay_what_they_are() {
        assert_eq!(quote("/sbin/x"), "/sbin/x");
        assert_eq!(quote("a b"), "\"a b\"");
        assert_eq!(quote("$A %n \"\\"), "\"$$A %%n \\\"\\\\\"");
        assert_eq!(quote(""), "\"\"");
    }

    #[test]
    fn given_commands_when_they_need_a_shell_then_they_get_one() {
        assert_eq!(command("/etc/init.d/rc  2"), "/etc/init.d/rc 2");
        assert_eq!(command("/bin/a > /dev/null"), "/bin/sh -c \"exec /bin/a > /dev/null\"");
    }

    #[test]
    fn given_hostile_descriptions_when_written_then_they_stay_in_their_line() {
        assert_eq!(
            unit("a\n[Service]\\", &[], ""),
            "[Unit]\nDescription=a [Service]\nDefaultDependencies=no\n"
        );
    }
}
