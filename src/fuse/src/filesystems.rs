//! /proc/filesystems: of the kinds that the kernel has, those that a guest may mount (`units/filesystems.tsv`).

const TABLE: &str = include_str!("../../../units/filesystems.tsv");

/// The kernel's own lines that a guest is to see.
pub fn of_guest(kernel: &str) -> String {
    let names: Vec<&str> = TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t').map(|(name, _)| name))
        .collect();
    // "nodev" or nothing, a tab, the name.
    let is_seen = |line: &&str| line.rsplit('\t').next().is_some_and(|name| names.contains(&name));
    kernel.lines().filter(is_seen).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_kernels_list_when_seen_by_a_guest_then_it_has_what_it_may_mount_in_the_kernels_form() {
        let kernel = "nodev\tsysfs\nnodev\tcgroup\nnodev\tcgroup2\nnodev\tsecurityfs\n\text4\nnodev\ttmpfs\n\tfuseblk\nnodev\tfuse\n";
        assert_eq!(of_guest(kernel), "nodev\tsysfs\nnodev\tcgroup2\nnodev\ttmpfs\nnodev\tfuse\n");
        assert_eq!(of_guest(""), "");
    }
}
