//! `$VAR` and `${VAR}` in command lines (systemd.service(5), "Command lines").
//!
//! `${VAR}` anywhere in a word becomes the value, as part of that word. A word that is `$VAR` becomes the words of
//! the value, possibly none. `$$` is a dollar. What is unset counts as empty, and is told.

use super::environment::Environment;

/// Arguments, expanded, and the names of variables that were not set.
pub struct Expanded {
    /// The arguments.
    pub argv: Vec<Vec<u8>>,
    /// What was asked for and is not set.
    pub unset: Vec<String>,
}

/// Expands all arguments of a command line.
pub fn expand<'a>(argv: impl Iterator<Item = &'a str>, environment: &Environment) -> Expanded {
    let mut expanded = Expanded { argv: Vec::new(), unset: Vec::new() };
    for word in argv {
        match word.strip_prefix('$') {
            Some(name) if !name.starts_with('{') && !name.starts_with('$') => {
                match environment.get(name.as_bytes()) {
                    Some(value) => expanded.argv.extend(split(value)),
                    None => expanded.unset.push(name.to_string()),
                }
            }
            _ => {
                let word = expand_word(word, environment, &mut expanded.unset);
                expanded.argv.push(word);
            }
        }
    }
    expanded
}

/// Replaces `${VAR}` and `$$` in one word. What isn't closed stays as it is.
fn expand_word(word: &str, environment: &Environment, unset: &mut Vec<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let behind = &rest[at + 1..];
        if let Some(after) = behind.strip_prefix('$') {
            out.push(b'$');
            rest = after;
        } else if let Some((name, after)) = behind.strip_prefix('{').and_then(|b| b.split_once('}')) {
            // `${NAME:-...}` is for a shell: systemd knows it in environment files only.
            if name.contains(':') {
                out.push(b'$');
                rest = behind;
                continue;
            }
            match environment.get(name.as_bytes()) {
                Some(value) => out.extend_from_slice(value),
                None => unset.push(name.to_string()),
            }
            rest = after;
        } else {
            out.push(b'$');
            rest = behind;
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// A value as words: split at blanks, with quotes and backslashes taken off, and never an error.
fn split(value: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (_, b'\\') => word.get_or_insert_default().extend(bytes.next()),
            (Some(_), _) => word.get_or_insert_default().push(byte),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b' ' | b'\t' | b'\n' | b'\r') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(words: &[&str]) -> Vec<String> {
        let mut environment = Environment::default();
        environment.set("OPTS", "-a 'b c'  \"d\"");
        environment.set("ONE", "x y");
        environment.set("EMPTY", "");
        expand(words.iter().copied(), &environment)
            .argv
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn given_a_word_that_is_a_variable_when_expanded_then_its_value_becomes_words() {
        assert_eq!(expanded(&["prog", "$OPTS", "end"]), ["prog", "-a", "b c", "d", "end"]);
        assert_eq!(expanded(&["prog", "$EMPTY", "$UNSET"]), ["prog"]);
    }

    #[test]
    fn given_braces_when_expanded_then_the_value_stays_one_word() {
        assert_eq!(expanded(&["--x=${ONE}-${EMPTY}", "${ONE}"]), ["--x=x y-", "x y"]);
        assert_eq!(expanded(&["${UNSET}"]), [""]);
        assert_eq!(expanded(&["${ONE:-x} ${ONE}", "${UNSET:+$$}"]), ["${ONE:-x} x y", "${UNSET:+$}"]);
    }

    #[test]
    fn given_other_dollars_when_expanded_then_they_stay() {
        assert_eq!(expanded(&["$$HOME", "a$ONE", "${open", "100$"]), ["$HOME", "a$ONE", "${open", "100$"]);
    }

    #[test]
    fn given_a_variable_that_is_not_set_when_expanded_then_its_name_is_told() {
        let result = expand(["$A", "${B}"].into_iter(), &Environment::default());
        assert_eq!(result.unset, ["A", "B"]);
    }
}
