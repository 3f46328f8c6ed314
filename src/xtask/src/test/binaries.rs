//! The test programs: Cargo builds them, and says where they are.
//!
//! They are run by us, not by Cargo: one at a time, each test of them again by its name where it failed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hostel_tests::paths;
use hostel_tests::run::{RunError, line_of};
use serde_json::Value;

use crate::shell::{Error, cargo};

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Name of its package.
    pub package: String,
    /// `lib`, `bin` or `test`.
    pub kind: String,
    /// Name of what it tests, or its own.
    pub target: String,
    /// The file.
    pub program: PathBuf,
    /// Folder of its package, which it runs in.
    pub folder: PathBuf,
}

impl Binary {
    /// What it is called in what we print.
    pub fn name(&self) -> String {
        match self.kind.as_str() {
            "lib" => self.package.clone(),
            kind => format!("{} --{kind} {}", self.package, self.target),
        }
    }
}

/// Builds the tests of both workspaces, and gives them in Cargo's order, the cheap ones of the crates first.
pub fn build() -> Result<Vec<Binary>, Error> {
    let mut crates = cargo();
    crates.args(["test", "--no-run", "--workspace"]);
    let mut init = cargo();
    init.args(["test", "--no-run", "--manifest-path", "src/init/Cargo.toml", "--target-dir"]);
    init.arg(paths::target().join("init-tests"));
    let mut binaries = built_by(&mut crates)?;
    binaries.extend(built_by(&mut init)?);
    Ok(binaries)
}

fn built_by(command: &mut Command) -> Result<Vec<Binary>, Error> {
    command.arg("--message-format=json-render-diagnostics");
    let line = line_of(command);
    eprintln!("+ {line}");
    let cannot = |source| RunError::Spawn { line: line.clone(), source };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
    let stdout = child.stdout.take().map(BufReader::new);
    let lines = stdout.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
    let mut binaries: Vec<Binary> = lines.filter_map(|line| test_program(&line)).collect();
    let status = child.wait().map_err(cannot)?;
    if !status.success() {
        return Err(Error::Command { line, status });
    }
    binaries.sort_by_key(|binary| (binary.package.clone(), binary.kind.clone(), binary.target.clone()));
    Ok(binaries)
}

/// The test program that a message of Cargo's tells of, if it does.
fn test_program(message: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(message).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    Some(Binary {
        package: package(message["package_id"].as_str()?).to_owned(),
        kind: text(&message["target"]["kind"][0])?,
        target: text(&message["target"]["name"])?,
        program: PathBuf::from(message["executable"].as_str()?),
        folder,
    })
}

/// A package's name in its id: `path+file:///x/src/hostel#0.1.0` where it is the folder's, else
/// `path+file:///x/tests#hostel-tests@0.1.0`.
fn package(id: &str) -> &str {
    let (path, rest) = id.split_once('#').unwrap_or((id, ""));
    match rest.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_messages_of_cargo_when_read_then_only_the_test_program_is_one() {
        let artifact = |test: bool, id: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"/x/tests/Cargo.toml",
                "target":{{"kind":["test"],"name":"stop"}},"profile":{{"test":{test}}},"executable":"/t/stop-1"}}"#
            )
        };
        assert_eq!(test_program(&artifact(false, "path+file:///x/tests#hostel-tests@0.1.0")), None);
        assert_eq!(test_program(r#"{"reason":"build-finished","success":true}"#), None);
        let binary =
            test_program(&artifact(true, "path+file:///x/tests#hostel-tests@0.1.0")).expect("a program");
        assert_eq!(binary.name(), "hostel-tests --test stop");
        assert_eq!((binary.program, binary.folder), ("/t/stop-1".into(), "/x/tests".into()));
        let binary = test_program(&artifact(true, "path+file:///x/src/hostel#0.1.0")).expect("a program");
        assert_eq!(binary.package, "hostel");
    }
}
