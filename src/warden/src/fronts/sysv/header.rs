//! What a script says of itself in its comments: the block of LSB (Linux Standard Base Core, "Comment Conventions for Init
//! Scripts") with insserv's additions, and Red Hat's older lines (`chkconfig:`, `pidfile:`, `description:`). Pure.

/// What scripts say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// There is an LSB block: its dependencies say all of the script's order.
    pub lsb: bool,
    /// `Provides:`
    pub provides: Vec<String>,
    /// `Required-Start:` and `Should-Start:`.
    pub after: Vec<String>,
    /// `X-Start-Before:`
    pub before: Vec<String>,
    /// `Short-Description:`, or the first line of Red Hat's `description:`.
    pub description: String,
    /// `pidfile:`
    pub pid_file: Option<String>,
}

const BEGIN: &str = "### BEGIN INIT INFO";
const END: &str = "### END INIT INFO";

impl Header {
    /// Of a script's text, and the text that overrides its LSB block.
    pub fn parse(script: &str, overriding: Option<&str>) -> Header {
        let mut header = Header::default();
        header.take_lsb(overriding.filter(|text| text.contains(BEGIN)).unwrap_or(script));
        header.take_chkconfig(script);
        header
    }

    fn take_lsb(&mut self, text: &str) {
        let block = text.lines().skip_while(|line| line.trim_end() != BEGIN).skip(1);
        for line in block.take_while(|line| line.trim_end() != END) {
            self.lsb = true;
            let Some((key, value)) = line.trim_start_matches('#').split_once(':') else { continue };
            let words = || value.split_whitespace().map(str::to_owned);
            match key.trim().to_ascii_lowercase().as_str() {
                "provides" => self.provides.extend(words()),
                "required-start" | "should-start" => self.after.extend(words()),
                "x-start-before" => self.before.extend(words()),
                "short-description" => value.trim().clone_into(&mut self.description),
                _ => {}
            }
        }
    }

    fn take_chkconfig(&mut self, text: &str) {
        for line in text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty()) {
            let Some((key, value)) = line.trim_start_matches('#').trim().split_once(':') else { continue };
            let value = value.trim().trim_end_matches('\\').trim();
            match key.trim() {
                "pidfile" if value.starts_with('/') => self.pid_file = Some(value.to_owned()),
                "description" if self.description.is_empty() => value.clone_into(&mut self.description),
                _ => {}
            }
        }
    }
}

/// Does a script understand `reload`?
pub fn has_reload(script: &str) -> bool {
    let words = |line: &str| line.split_once(')').map(|(before, _)| before.trim().to_owned());
    script
        .lines()
        .filter_map(words)
        .any(|case| case.split('|').any(|word| word.trim_matches(['(', ' ', '"', '\'']) == "reload"))
}

/// A virtual facility of insserv.conf(5): `$name` and the names that it stands for.
pub type Facility = (String, Vec<String>);

/// The lines of an insserv.conf: `$facility member +optional ...`.
pub fn facilities(text: &str) -> Vec<Facility> {
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with('$'));
    let facility = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.map(|word| word.trim_start_matches('+').to_owned()).collect()))
    };
    lines.filter_map(facility).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_lsb_block_when_parsed_then_its_words_are_known_and_others_are_not_taken() {
        let script = "#!/bin/sh\n# pidfile: /run/a.pid\n### BEGIN INIT INFO\n# Provides:\ta b\n# Required-Start: $network x\n\
                      # Should-Start: y\n# X-Start-Before: z\n# Short-Description: The a: daemon\n### END INIT INFO\n# Provides: no\n";
        let header = Header::parse(script, None);
        assert!(header.lsb);
        assert_eq!(header.provides, ["a", "b"]);
        assert_eq!(header.after, ["$network", "x", "y"]);
        assert_eq!(header.before, ["z"]);
        assert_eq!(header.description, "The a: daemon");
        assert_eq!(header.pid_file.as_deref(), Some("/run/a.pid"));
    }

    #[test]
    fn given_red_hats_lines_when_parsed_then_there_is_no_lsb_block_but_a_description_and_a_pid_file() {
        let script = "#!/bin/bash\n#\n# chkconfig: 2345 55 25\n# description: OpenSSH server \\\n#   daemon\n\
                      # pidfile: /var/run/sshd.pid\n\n. /etc/init.d/functions\n# pidfile: /no\n";
        let header = Header::parse(script, None);
        assert!(!header.lsb);
        assert_eq!(header.description, "OpenSSH server");
        assert_eq!(header.pid_file.as_deref(), Some("/var/run/sshd.pid"));
    }

    #[test]
    fn given_an_override_when_parsed_then_its_block_counts_and_the_scripts_does_not() {
        let script = "### BEGIN INIT INFO\n# Provides: a\n# Required-Start: $all\n### END INIT INFO\n";
        let other = "### BEGIN INIT INFO\n# Provides: a\n# Required-Start: b\n### END INIT INFO\n";
        assert_eq!(Header::parse(script, Some(other)).after, ["b"]);
        assert_eq!(Header::parse(script, Some("garbage")).after, ["$all"]);
    }

    #[test]
    fn given_cases_of_a_script_when_asked_for_reload_then_force_reload_is_another_word() {
        assert!(has_reload("case \"$1\" in\n  reload|force-reload)\n"));
        assert!(has_reload("\treload)\n"));
        assert!(!has_reload("  restart|force-reload)\n echo reload\n"));
    }

    #[test]
    fn given_insserv_conf_when_parsed_then_optional_members_are_members() {
        let text = "# x\n$network\t+networking +ifupdown\n<interactive> glibc\n$named +bind9 $network\n";
        let expected = [("$network", vec!["networking", "ifupdown"]), ("$named", vec!["bind9", "$network"])];
        let found = facilities(text);
        let found: Vec<_> =
            found.iter().map(|(n, m)| (n.as_str(), m.iter().map(String::as_str).collect())).collect();
        assert_eq!(found, expected);
    }
}
