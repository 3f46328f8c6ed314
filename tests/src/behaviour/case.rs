//! A case of the behaviour test, and how a file of cases is read.
//!
//! A `.case` file of `tests/behaviour` holds any number of cases. What begins with `== NAME` is one case; lines
//! before the first are remarks. Within a case, lines that begin with `-- ` begin its parts:
//!
//! | part | meaning |
//! | --- | --- |
//! | `-- shows Section.Directive[=VALUE] ...` | the directives, and values of them, whose effect it shows |
//! | `-- since N` | it is for systemd N and later only |
//! | `-- alone` | it runs when no other does: it touches what others need |
//! | `-- unit NAME` | a unit of `/etc/systemd/system`; its text follows |
//! | `-- wanted NAME` | the same, and `multi-user.target` wants it |
//! | `-- each NAME` | a unit for each of the values that follow; its name has `NUMBER`, its text `NUMBER` and `VALUE` |
//! | `-- values` | the values, one a line, numbered from 1; `\n` in one begins a new line |
//! | `-- file PATH [MODE]` | a file of the guest; its text follows |
//! | `-- link PATH TARGET` | a symbolic link of the guest |
//! | `-- enable UNIT ...` | the guest's own `systemctl enable` is run on these, before the guest boots |
//! | `-- script` | what is run in the guest once it is up; its text follows |
//!
//! Everywhere in it the word `CASE` stands for the case's name, so that a case can be copied. Pure.

use std::fmt;

/// A file of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// Its text.
    pub text: String,
}

/// A case: what is put into the guest, and what is run there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Its name, which no other case has.
    pub name: String,
    /// What it shows: `Section.Directive`, or that with `=VALUE`.
    pub shows: Vec<String>,
    /// The first version of systemd that it is for.
    pub since: u32,
    /// No other case may run beside it.
    pub alone: bool,
    /// Files, units among them.
    pub files: Vec<File>,
    /// Symbolic links: path and target.
    pub links: Vec<(String, String)>,
    /// Units that are enabled before the boot.
    pub enabled: Vec<String>,
    /// A shell script.
    pub script: String,
    /// Its own text: a case whose text changed is another one.
    pub source: String,
    /// What is repeated for each value, and how many values there were.
    each: File,
    values: usize,
}

impl Case {
    /// A unit for one more value.
    fn add_value(&mut self, value: &str) {
        self.values += 1;
        let number = format!("{:02}", self.values);
        let filled =
            |text: &str| text.replace("NUMBER", &number).replace("VALUE", &value.replace("\\n", "\n"));
        let (path, text) = (filled(&self.each.path), filled(&self.each.text));
        self.files.push(File { path, text, ..self.each.clone() });
    }
}

/// A line of a case file that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Where lines that begin no part go.
enum Into {
    /// Nowhere: only remarks and empty lines may stand there.
    Nothing,
    /// To the text of the last file.
    File,
    /// To the text that is repeated for each value.
    Each,
    /// To the script.
    Script,
    /// They are values of the last `each`.
    Values,
}

/// Reads the cases of a file.
pub fn parse(text: &str) -> Result<Vec<Case>, CaseError> {
    let mut cases: Vec<Case> = Vec::new();
    let mut into = Into::Nothing;
    for (index, line) in text.lines().enumerate() {
        let wrong = |text: String| CaseError { line: index + 1, text };
        if let Some(name) = line.strip_prefix("== ") {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(wrong(format!("`{name}` is no name: write a-z, 0-9 and -")));
            }
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            into = Into::Nothing;
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        let line = line.replace("CASE", &case.name);
        case.source.push_str(&line);
        case.source.push('\n');
        if let Some(part) = line.strip_prefix("-- ") {
            into = begin(case, part).map_err(wrong)?;
            continue;
        }
        let text = match (&into, case.files.last_mut()) {
            (Into::Script, _) => &mut case.script,
            (Into::File, Some(file)) => &mut file.text,
            (Into::Each, _) => &mut case.each.text,
            (Into::Values, _) if !line.is_empty() => {
                case.add_value(&line);
                continue;
            }
            _ if line.is_empty() || line.starts_with('#') => continue,
            _ => return Err(wrong("it stands in no part of the case".to_owned())),
        };
        text.push_str(&line);
        text.push('\n');
    }
    Ok(cases)
}

/// Begins a part of a case.
fn begin(case: &mut Case, part: &str) -> Result<Into, String> {
    let words: Vec<&str> = part.split_whitespace().collect();
    match words.as_slice() {
        ["shows", shown @ ..] => case.shows.extend(shown.iter().map(|word| (*word).to_owned())),
        ["since", version] => {
            case.since = version.parse().map_err(|_| format!("`{version}` is no version"))?;
        }
        ["alone"] => case.alone = true,
        ["enable", units @ ..] => case.enabled.extend(units.iter().map(|unit| (*unit).to_owned())),
        ["link", path, target] => case.links.push(((*path).to_owned(), (*target).to_owned())),
        ["script"] => return Ok(Into::Script),
        ["values"] => return Ok(Into::Values),
        ["each", name] => {
            let path = format!("/etc/systemd/system/{name}");
            case.each = File { path, mode: 0o644, text: String::new() };
            case.values = 0;
            return Ok(Into::Each);
        }
        ["unit", name] => return Ok(file(case, &format!("/etc/systemd/system/{name}"), 0o644)),
        ["wanted", name] => {
            let path = format!("/etc/systemd/system/{name}");
            let wants = format!("/etc/systemd/system/multi-user.target.wants/{name}");
            case.links.push((wants, path.clone()));
            return Ok(file(case, &path, 0o644));
        }
        ["file", path] => return Ok(file(case, path, 0o644)),
        ["file", path, mode] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| format!("`{mode}` is no mode"))?;
            return Ok(file(case, path, mode));
        }
        _ => return Err(format!("there is no part `{part}`")),
    }
    Ok(Into::Nothing)
}

fn file(case: &mut Case, path: &str, mode: u32) -> Into {
    case.files.push(File { path: path.to_owned(), mode, text: String::new() });
    Into::File
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_case_when_read_then_its_name_stands_in_its_units_and_script() {
        let text = "a remark\n== one\n-- shows Service.Type=simple\n-- wanted CASE.service\n[Service]\n\
                    -- script\nshow CASE.service\n== two\n-- since 254\n-- alone\n-- file /x 755\n";
        let cases = parse(text).unwrap_or_default();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].script, "show one.service\n");
        assert_eq!(cases[0].files[0].path, "/etc/systemd/system/one.service");
        assert_eq!(cases[0].files[0].text, "[Service]\n");
        assert_eq!(cases[0].links.len(), 1);
        assert_eq!((cases[1].since, cases[1].alone, cases[1].files[0].mode), (254, true, 0o755));
    }

    #[test]
    fn given_values_when_read_then_there_is_a_unit_for_each() {
        let text =
            "== a\n-- each CASE-NUMBER.service\n[Unit]\nVALUE\n-- values\nAfter=x\nAfter=y\n-- script\n:\n";
        let cases = parse(text).unwrap_or_default();
        let units: Vec<_> =
            cases[0].files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
        let (first, second) = ("/etc/systemd/system/a-01.service", "/etc/systemd/system/a-02.service");
        assert_eq!(units, [(first, "[Unit]\nAfter=x\n"), (second, "[Unit]\nAfter=y\n")]);
    }

    #[test]
    fn given_a_line_in_no_part_or_an_unknown_part_when_read_then_its_number_is_told() {
        assert_eq!(parse("== a\nwhat\n").map_err(|error| error.line), Err(2));
        assert_eq!(parse("== a\n\n-- nonsense\n").map_err(|error| error.line), Err(3));
        assert_eq!(parse("== A b\n").map_err(|error| error.line), Err(1));
    }
}
