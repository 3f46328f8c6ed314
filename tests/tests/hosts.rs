//! The same image under every host: an ordinary Debian in which the package for guests was installed, booted by Hostel,
//! podman (as it treats systemd, as a plain container, and the way Kubernetes restricts one), LXC, systemd-nspawn,
//! bubblewrap, and as a virtual machine with a stock kernel.
//!
//! Each is started, heard to be ready, entered, rebooted and stopped by its own means. What is asked of this machine (cgroup
//! v2 alone, without controllers) is made in a cgroup and a mount namespace of the test's own.

#[path = "hosts/setup.rs"]
mod setup;
#[path = "hosts/table.rs"]
mod table;

mod long {
    use super::setup::Image;
    use super::table::{HOSTS, Row, try_host};

    #[test]
    #[ignore = "installs podman, LXC, bubblewrap and QEMU, and boots a guest in each: cargo xtask test --all"]
    fn given_one_image_when_booted_under_each_host_then_it_is_ready_entered_rebooted_and_stopped_as_that_host_expects()
     {
        let image = Image::make();
        let only = std::env::var("HOSTEL_HOSTS").unwrap_or_default();
        let chosen =
            HOSTS.iter().filter(|host| only.is_empty() || only.split(',').any(|name| name == host.name));
        let rows: Vec<Row> =
            chosen.map(|host| try_host(host, &image)).inspect(|row| println!("{row}")).collect();
        println!("{}", Row::HEADER);
        rows.iter().for_each(|row| println!("{row}"));
        let wrong: Vec<String> = rows.iter().flat_map(|row| row.wrong()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
