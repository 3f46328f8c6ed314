//! Paths that stay each guest's own, as Linux-VServer's vunify had them in its exclude files: a pattern a line, `+` before
//! those that are shared nevertheless; the first that matches counts, and `*` stands for slashes too. What no pattern
//! matches is shared.

use crate::error::{Doing, Error, Result};
use glob::Pattern;
use std::fs;
use std::io;
use std::path::Path;

/// Where the list is, unless another is named.
pub const FILE: &str = "/etc/hostel/unify-exclude";

/// The patterns, each with whether what it matches is shared.
#[derive(Debug, Default)]
pub struct Exclude(Vec<(Pattern, bool)>);

impl Exclude {
    /// Reads a list that must be there, or else the usual one, which need not.
    pub fn read(named: Option<&Path>) -> Result<Exclude> {
        let file = named.unwrap_or(Path::new(FILE));
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(Exclude::default()),
            Err(e) => Err(e).on("reading", file),
        }
    }

    fn parse(text: &str, file: &Path) -> Result<Exclude> {
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| Error::Config { file: file.into(), line: number + 1, why: why.into() };
            let (pattern, shared) = match line.strip_prefix('+') {
                Some(rest) => (rest, true),
                None => (line.strip_prefix('-').unwrap_or(line), false),
            };
            if !pattern.starts_with(['/', '*']) {
                return Err(wrong(
                    "a pattern is of whole paths: it begins with / or *, as in /var/lib/mysql/*",
                ));
            }
            patterns.push((Pattern::new(pattern).map_err(|e| wrong(e.msg))?, shared));
        }
        Ok(Exclude(patterns))
    }

    /// A path of a guest, without its first slash, stays that guest's own.
    pub fn has(&self, path: &Path) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path = Path::new("/").join(path);
        let found = self.0.iter().find(|(pattern, _)| pattern.matches_path(&path));
        found.is_some_and(|(_, shared)| !shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Exclude> {
        Exclude::parse(text, Path::new("list"))
    }

    #[test]
    fn given_patterns_when_asked_then_the_first_that_matches_counts_and_a_star_stands_for_slashes() {
        let exclude = list("# a comment\n+/etc/services\n/etc/*\n-/var/lib/mysql/*\n\n").unwrap();
        let own = |path: &str| exclude.has(Path::new(path));
        assert!(own("etc/passwd") && own("etc/default/cron") && own("var/lib/mysql/a/b"));
        assert!(!own("etc/services") && !own("usr/bin/env") && !own("var/lib/dpkg/status"));
    }

    #[test]
    fn given_a_line_that_is_no_pattern_when_read_then_it_is_named() {
        let error = list("/etc/*\nusr/lib\n").unwrap_err().to_string();
        assert!(error.starts_with("list:2: ") && error.contains("begins with /"), "{error}");
        assert!(list("/a[\n").unwrap_err().to_string().starts_with("list:1: "));
    }
}
