//! What is known of a process that writes to the log, as journald adds it to an entry.
//!
//! Read from /proc when the entry is written: a process that has ended by then is known by its number only.

use std::fs;

/// A process, as it was when looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// `FIELD=value` of each thing that is known.
    pub fields: Vec<Vec<u8>>,
}

impl Process {
    /// The process with this number; `None` when there is none.
    pub fn look(pid: u32) -> Option<Process> {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        let comm = read("comm")?;
        let mut this = Process::default();
        this.add("_COMM", trimmed(&comm));
        if let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) {
            use std::os::unix::ffi::OsStrExt;
            this.add("_EXE", exe.as_os_str().as_bytes());
        }
        let mut line = read("cmdline").unwrap_or_default();
        while line.last() == Some(&0) {
            line.pop();
        }
        line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        this.add("_CMDLINE", &line);
        this.add_status(&read("status").unwrap_or_default());
        this.add_cgroup(&read("cgroup").unwrap_or_default());
        Some(this)
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.fields.push([name.as_bytes(), b"=", value].concat());
        }
    }

    /// Real user and group, and effective capabilities.
    fn add_status(&mut self, status: &[u8]) {
        for line in status.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let first =
                || line[colon + 1..].split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty());
            let Some(value) = first() else { continue };
            match &line[..colon] {
                b"Uid" => self.add("_UID", value),
                b"Gid" => self.add("_GID", value),
                b"CapEff" => {
                    let zeros = value.iter().take_while(|&&digit| digit == b'0').count();
                    self.add("_CAP_EFFECTIVE", &value[zeros.min(value.len() - 1)..]);
                }
                _ => (),
            }
        }
    }

    /// The cgroup of the unified hierarchy, and the slice in it.
    fn add_cgroup(&mut self, cgroups: &[u8]) {
        let unified = cgroups.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"));
        let Some(path) = unified else { return };
        self.add("_SYSTEMD_CGROUP", path);
        let slice = path.split(|&byte| byte == b'/').rfind(|part| part.ends_with(b".slice"));
        self.add("_SYSTEMD_SLICE", slice.unwrap_or(b"-.slice"));
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_this_process_when_looked_at_then_its_program_and_user_are_known() {
        let process = Process::look(std::process::id()).unwrap();
        let has =
            |name: &str| process.fields.iter().any(|field| field.starts_with(format!("{name}=").as_bytes()));
        for name in ["_COMM", "_EXE", "_CMDLINE", "_UID", "_GID", "_CAP_EFFECTIVE"] {
            assert!(has(name), "{name}: {process:?}");
        }
        assert_eq!(Process::look(u32::MAX), None);
    }

    #[test]
    fn given_a_cgroup_when_added_then_its_innermost_slice_is_told() {
        let mut process = Process::default();
        process.add_cgroup(b"1:name=systemd:/x\n0::/system.slice/system-getty.slice/getty@tty1.service\n");
        assert_eq!(
            process.fields,
            [
                b"_SYSTEMD_CGROUP=/system.slice/system-getty.slice/getty@tty1.service".to_vec(),
                b"_SYSTEMD_SLICE=system-getty.slice".to_vec()
            ]
        );
    }
}
