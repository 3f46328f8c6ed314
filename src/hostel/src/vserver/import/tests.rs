//! Trees as util-vserver has them, and what becomes of them.

use super::*;

fn files(list: &[(&str, &str)]) -> Files {
    Files { files: list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
}

fn host() -> Host {
    Host {
        processors: 2,
        bridges: BTreeSet::from(["br0".to_owned()]),
        gateways: BTreeMap::from([("eth0".to_owned(), Ipv4Addr::new(10, 0, 0, 1))]),
    }
}

fn carried(list: &[(&str, &str)]) -> Vec<String> {
    let outcome = translate(&files(list), "web", None, &host());
    outcome.carried.into_iter().map(|(_, change)| change).filter(|c| !c.starts_with("drop-")).collect()
}

fn left(list: &[(&str, &str)]) -> Vec<String> {
    let outcome = translate(&files(list), "web", None, &host());
    outcome.left.into_iter().map(|(path, why)| format!("{path}: {why}")).collect()
}

#[test]
fn given_interfaces_when_translated_then_the_guest_has_a_card_with_their_addresses() {
    let list = [
        ("interfaces/dev", "eth0\n"),
        ("interfaces/prefix", "24\n"),
        ("interfaces/00/ip", "10.0.0.2\n"),
        ("interfaces/00/name", "web\n"),
        ("interfaces/01/ip", "10.0.0.3/32"),
        ("interfaces/02/ip", "10.9.9.9"),
        ("interfaces/02/disabled", ""),
    ];
    assert_eq!(
        carried(&list),
        ["kind=ipvlan", "parent=eth0", "address=10.0.0.2/24,10.0.0.3/32", "gateway=10.0.0.1"]
    );
    let bridged =
        [("interfaces/0/dev", "br0"), ("interfaces/0/ip", "10.1.0.2"), ("interfaces/0/mask", "255.255.0.0")];
    assert_eq!(carried(&bridged), ["kind=veth", "bridge=br0", "address=10.1.0.2/16"]);
    let two = [
        ("interfaces/0/dev", "eth0"),
        ("interfaces/0/ip", "10.1.0.2"),
        ("interfaces/1/dev", "eth1"),
        ("interfaces/1/ip", "10.2.0.2"),
    ];
    assert_eq!(left(&two), ["address 10.2.0.2/32: a guest has one card, and that is on eth0"]);
}

#[test]
fn given_limits_when_translated_then_those_of_the_guest_and_of_its_processes_are_told_apart() {
    let list = [
        ("rlimits/nproc.hard", "500\n"),
        ("rlimits/rss.hard", "131072"),
        ("rlimits/rss.soft", "inf"),
        ("ulimits/nofile", "1024"),
        ("ulimits/core.soft", "0"),
        ("ulimits/core.hard", "inf"),
        ("sched/fill-rate", "30"),
        ("sched/interval", "100"),
        ("flags", "sched_hard\nvirt_mem\n"),
        ("cgroup/cpu.shares", "512"),
        ("cgroup/memory.soft_limit_in_bytes", "64M"),
        ("cpuset/cpus", "0-1"),
        ("cpuset/name", "web"),
    ];
    assert_eq!(
        carried(&list),
        [
            "tasks=500",
            "memory=536870912",
            "process=nofile=1024:1024,core=0:max",
            "cpu=60%",
            "cpus=0-1",
            "memory-low=67108864",
            "cpu-weight=50"
        ]
    );
    assert_eq!(left(&list), Vec::<String>::new());
    let unlike = [("rlimits/as.hard", "1000"), ("rlimits/openfd", "10"), ("dlimits/0/space_total", "1000")];
    assert_eq!(left(&unlike).len(), 3, "{:?}", left(&unlike));
}

#[test]
fn given_capabilities_when_translated_then_what_linux_vserver_took_is_taken() {
    let drops = |list: &[(&str, &str)]| {
        let outcome = translate(&files(list), "web", None, &host());
        let change = outcome.carried.into_iter().find(|(_, change)| change.starts_with("drop-"));
        change.map(|(_, change)| change).unwrap_or_default()
    };
    assert!(drops(&[]).contains("CAP_NET_RAW") && drops(&[]).contains("CAP_MKNOD"));
    let given = [("bcapabilities", "CAP_NET_ADMIN\nMKNOD # for tun\n"), ("ccapabilities", "raw_icmp\n")];
    assert_eq!(
        drops(&given),
        "drop-capabilities=CAP_NET_BROADCAST,CAP_IPC_LOCK,CAP_IPC_OWNER,CAP_LINUX_IMMUTABLE"
    );
    assert_eq!(
        left(&[("bcapabilities", "SYS_TIME\n")]),
        ["bcapabilities: SYS_TIME: no guest has it, since it is the whole machine's"]
    );
}

#[test]
fn given_mounts_when_translated_then_bound_ones_and_memory_are_carried_and_devices_are_not() {
    let fstab = "none /proc proc defaults 0 0\nnone\t/tmp\ttmpfs\tsize=16m,mode=1777 0 0\n# no\n\
                 /srv/data /data none bind,ro 0 0\n/dev/sdb1 /mnt ext3 defaults 0 2\n";
    assert_eq!(
        carried(&[("fstab", fstab)]),
        ["bind=/srv/data /data ro idmap", "tmpfs=/tmp size=16m mode=1777"]
    );
    assert_eq!(
        left(&[("fstab", fstab)]),
        ["fstab: /mnt (ext3): mount it on the host, and give it by context.bind"]
    );
}

#[test]
fn given_the_rest_when_translated_then_each_file_is_taken_needless_or_named() {
    let list = [
        ("name", "web"),
        ("context", "42"),
        ("uts/nodename", "www.example"),
        ("apps/init/mark", "default"),
        ("apps/init/depends", "db\nmail\n"),
        ("apps/init/style", "plain"),
        ("sysctl/0/setting", "net.ipv4.ip_forward"),
        ("sysctl/0/value", "1"),
        ("personality", "PER_LINUX32\n"),
    ];
    assert_eq!(
        carried(&list),
        [
            "hostname=www.example",
            "marks=default",
            "depends=db,mail",
            "init=plain",
            "sysctl=net.ipv4.ip_forward=1",
            "personality=32-bit"
        ]
    );
    assert_eq!(left(&list), Vec::<String>::new());
    let unlike =
        [("scripts/pre-start", "x"), ("apps/init/killseq", "15"), ("frob", "x"), ("uts/release", "2.6")];
    assert_eq!(left(&unlike).len(), 4, "{:?}", left(&unlike));
    assert_eq!(translate(&files(&[]), "web", None, &host()).root, Path::new("/vservers/web"));
}

#[test]
fn given_routes_when_read_then_the_default_ones_are_known_by_their_interface() {
    let text = "Iface\tDestination\tGateway\neth0\t00000000\t0100000A\t0003\neth0\t0000000A\t00000000\n";
    assert_eq!(default_routes(text), BTreeMap::from([("eth0".to_owned(), Ipv4Addr::new(10, 0, 0, 1))]));
}
