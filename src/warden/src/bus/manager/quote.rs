//! Text that a program gave, as a unit file has it: systemd.syntax(7), "Quoting"; specifiers are none.
//!
//! Pure.

/// A word in quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '%' => out.push_str("%%"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A command line: `prefix` are its special characters, `$` means variables. None where it has no argument at all.
pub fn quoted_command(prefix: &str, path: &str, argv: &[&str]) -> Option<String> {
    let (first, rest) = argv.split_first()?;
    let mut line = match *first == path {
        // The prefix belongs to the word.
        true => quoted(&format!("{prefix}{path}")),
        false => format!("{} {}", quoted(&format!("{prefix}@{path}")), quoted(first)),
    };
    for word in rest {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    Some(line)
}

/// The value, if it is one line: nothing that a program gives may begin another one, or go on in the next.
pub fn one_line(value: &str) -> Option<String> {
    let fits = !value.contains(['\n', '\r', '\0']) && !value.ends_with('\\');
    fits.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_arguments_of_all_kinds_when_written_then_they_are_one_line_of_words() {
        let line = quoted_command("-", "/bin/sh", &["/bin/sh", "-c", "a \"b\" 100% \\\n;", ""]).unwrap();
        assert_eq!(line, r#""-/bin/sh" "-c" "a \"b\" 100%% \\\n;" """#);
        assert_eq!(quoted_command("", "/bin/sh", &["-sh"]).unwrap(), r#""@/bin/sh" "-sh""#);
        assert_eq!(quoted_command("", "/bin/sh", &[]), None);
    }

    #[test]
    fn given_a_value_that_would_begin_another_line_then_it_is_refused() {
        assert_eq!(one_line("a b").as_deref(), Some("a b"));
        for bad in ["a\nExecStart=/x", "a\r", "a\\", "\0"] {
            assert_eq!(one_line(bad), None, "{bad:?}");
        }
    }
}
