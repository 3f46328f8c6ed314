//! `edit`: an administrator's drop-in or copy of a unit file, by the editor that the administrator has (systemctl(1)).
//!
//! What is edited is a file of its own beside the one in force, which it replaces in one step once the editor has ended
//! well; an empty one replaces nothing.

use super::super::{Outcome, Words};
use super::{full_names, reload_units};
use crate::compile::lookup::{Files, Lookup};
use crate::ctl::escape;
use crate::fronts;
use std::fs;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment that names an editor, most important first.
const VARIABLES: [&str; 3] = ["SYSTEMD_EDITOR", "EDITOR", "VISUAL"];
/// What is tried where no variable names one.
const EDITORS: [&str; 4] = ["editor", "nano", "vim", "vi"];
/// Between the two is what becomes the drop-in.
const BEGIN: &str =
    "### Anything between here and the comment below will become the contents of the drop-in file";
const END: &str = "### Edits below this comment will be discarded";
/// Longest text that `--stdin` takes.
const TEXT_MAX: u64 = 1 << 20;

/// What of a unit is edited.
enum Part<'a> {
    /// Its drop-in of this name.
    DropIn(&'a str),
    /// A copy of its file.
    Full,
}

/// `edit [--full] [--runtime] [--drop-in=NAME] [--stdin] [--force] UNIT...`.
pub fn run(names: &[&str], words: &Words<'_>) -> Outcome {
    let from_input = words.has(&["stdin"]);
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !from_input && !on_terminal {
        return Err(
            "Cannot edit units interactively if not on a tty; --stdin takes the text from standard input."
                .into(),
        );
    }
    let part = match (words.has(&["full"]), words.value(&["drop-in"])) {
        (true, Some(_)) => return Err("--drop-in cannot be used with --full.".into()),
        (true, None) => Part::Full,
        (false, name) => Part::DropIn(name.unwrap_or("override.conf")),
    };
    let lookup = Lookup::scan();
    let places = fronts::places(lookup.root());
    let folder = if words.has(&["runtime"]) { places.runtime } else { places.persistent };
    for unit in full_names(names)? {
        let unit = lookup.canonical(&unit);
        let files = lookup.files(&unit);
        if files.fragment.is_empty() && !words.has(&["force"]) {
            return Err(format!(
                "No files found for {0}. Run 'systemctl edit --force --full {0}' to create a new unit.",
                escape(&unit)
            ));
        }
        if files.masked {
            return Err(format!("Cannot edit {}: unit is masked.", escape(&unit)));
        }
        let path = place(folder, &unit, &part);
        let text = if from_input { read_input()? } else { edited(&path, &files, &part)? };
        if text.trim().is_empty() {
            return Err(format!("Editing \"{}\" canceled: temporary file is empty.", path.display()));
        }
        put(&path, &text)?;
        eprintln!("Successfully installed edited file '{}'.", path.display());
    }
    match words.has(&["no-reload"]) {
        true => Ok(0),
        false => reload_units(),
    }
}

/// Where the result goes.
fn place(folder: &str, unit: &str, part: &Part<'_>) -> PathBuf {
    match part {
        Part::Full => Path::new(folder).join(unit),
        Part::DropIn(name) => {
            let name = if name.ends_with(".conf") { (*name).to_owned() } else { format!("{name}.conf") };
            Path::new(folder).join(format!("{unit}.d")).join(name)
        }
    }
}

fn read_input() -> Result<String, String> {
    let mut text = String::new();
    let read = std::io::stdin().take(TEXT_MAX).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| format!("Failed to read from stdin: {error}"))
}

/// Has it edited in a file beside its place, which goes again.
fn edited(path: &Path, files: &Files, part: &Part<'_>) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let now = fs::read_to_string(path).unwrap_or_default();
    let text = match part {
        Part::Full if now.is_empty() => fs::read_to_string(&files.fragment).unwrap_or_default(),
        Part::Full => now,
        Part::DropIn(_) => template(path, &now, files),
    };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".#{name}.{}", std::process::id()));
    fs::write(&draft, text).map_err(failed)?;
    let result = call_editor(&draft).and_then(|()| fs::read_to_string(&draft).map_err(failed));
    let removed = fs::remove_file(&draft).map_err(failed);
    let result = result.and_then(|text| removed.map(|()| text))?;
    Ok(match part {
        Part::Full => result,
        Part::DropIn(_) => between(&result).to_owned(),
    })
}

/// What an administrator finds in the editor: the drop-in, and below it the unit as it is.
fn template(path: &Path, now: &str, files: &Files) -> String {
    let mut text = format!("### Editing {}\n{BEGIN}\n\n{now}\n\n{END}\n", path.display());
    for file in [&files.fragment].into_iter().chain(&files.drop_ins).filter(|file| Path::new(file) != path) {
        text.push_str(&format!("\n### {file}\n"));
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            text.push_str(&format!("# {line}\n"));
        }
    }
    text
}

/// What stands between the two comments; everything, where they are gone.
fn between(text: &str) -> &str {
    let text = text.split_once(END).map_or(text, |(text, _)| text);
    text.split_once(BEGIN).map_or(text, |(_, text)| text).trim_matches('\n')
}

/// Runs the first editor that is there.
fn call_editor(file: &Path) -> Result<(), String> {
    let named =
        VARIABLES.iter().find_map(|name| std::env::var(name).ok()).filter(|text| !text.trim().is_empty());
    let tried: Vec<String> = match named {
        Some(editor) => vec![editor],
        None => EDITORS.iter().map(|name| (*name).to_owned()).collect(),
    };
    for editor in &tried {
        let mut words = editor.split_whitespace();
        let Some(program) = words.next() else { continue };
        match Command::new(program).args(words).arg(file).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => return Err(format!("{editor}: {status}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{editor}: {error}")),
        }
    }
    Err("Cannot edit units, no editor available. Please set either $SYSTEMD_EDITOR, $EDITOR or $VISUAL."
        .into())
}

/// Puts the text into its place in one step.
fn put(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    let part = path.with_extension("part");
    fs::write(&part, format!("{}\n", text.trim_end_matches('\n'))).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_edited_template_when_read_then_only_what_stands_between_the_comments_counts() {
        let files = Files::default();
        let path = Path::new("/etc/x.service.d/override.conf");
        let text = template(path, "[Service]\nNice=1\n", &files);
        assert_eq!(between(&text), "[Service]\nNice=1");
        assert_eq!(between(&template(path, "", &files)), "");
        assert_eq!(between("[Service]\nNice=2\n"), "[Service]\nNice=2");
    }

    #[test]
    fn given_a_part_when_placed_then_a_drop_in_has_its_ending() {
        let place = |part| place("/etc/hostel/units", "a.service", &part);
        assert_eq!(place(Part::Full), Path::new("/etc/hostel/units/a.service"));
        let folder = Path::new("/etc/hostel/units/a.service.d");
        assert_eq!(place(Part::DropIn("override.conf")), folder.join("override.conf"));
        assert_eq!(place(Part::DropIn("10-own")), folder.join("10-own.conf"));
    }
}
