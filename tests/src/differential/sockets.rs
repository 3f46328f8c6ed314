//! What a process listens on: sockets among its descriptors, looked up in the tables of its network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::process::Process;

/// Endpoints by the inode of their socket.
type Table = BTreeMap<u64, String>;

/// Ports from here on are the kernel's to choose: that there is one counts, and not its number.
const EPHEMERAL: u16 = 32768;
/// States in /proc/net/tcp and udp: waiting for connections; bound and unconnected.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";
/// Flag in /proc/net/unix: waiting for connections.
const UNIX_ACCEPTS: u32 = 0x10000;
/// Type in /proc/net/unix: datagrams.
const UNIX_DATAGRAM: &str = "0002";

/// Tables of the networks that were met, by network namespace.
#[derive(Default)]
pub struct Tables(BTreeMap<PathBuf, Table>);

impl Tables {
    /// The endpoints that a process listens on.
    pub fn held_by(&mut self, process: &Process) -> BTreeSet<String> {
        let base = PathBuf::from(format!("/proc/{}", process.host_pid));
        let Ok(network) = fs::read_link(base.join("ns/net")) else { return BTreeSet::new() };
        let table = self.0.entry(network).or_insert_with(|| {
            let text = |file: &str| fs::read_to_string(base.join("net").join(file)).unwrap_or_default();
            let mut table = Table::new();
            for (protocol, state) in [
                ("tcp", TCP_LISTEN),
                ("tcp6", TCP_LISTEN),
                ("udp", UDP_UNCONNECTED),
                ("udp6", UDP_UNCONNECTED),
            ] {
                table.extend(internet(protocol, state, &text(protocol)));
            }
            table.extend(unix(&text("unix")));
            table
        });
        let descriptors = fs::read_dir(base.join("fd")).into_iter().flatten().flatten();
        let inodes = descriptors.filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        });
        inodes.filter_map(|inode: u64| table.get(&inode).cloned()).collect()
    }
}

/// Whether an endpoint is one of a service manager's own: each has others.
pub fn is_of_a_manager(endpoint: &str) -> bool {
    ["unix /run/systemd/", "unix /run/hostel/", "unix /run/host/", "unix /run/udev/"]
        .iter()
        .any(|prefix| endpoint.starts_with(prefix))
}

/// The name of a socket in the file system, with the numbers in it that are pids left open.
pub fn without_pids(endpoint: &str, is_pid: impl Fn(u32) -> bool) -> String {
    if !endpoint.starts_with("unix ") {
        return endpoint.to_owned();
    }
    let part = |part: &str| {
        let number = part.trim_end_matches(['.', '/']);
        match number.parse() {
            Ok(pid) if is_pid(pid) => part.replace(number, "(pid)"),
            _ => part.to_owned(),
        }
    };
    endpoint.split_inclusive(['.', '/']).map(part).collect()
}

/// /proc/net/{tcp,udp}{,6}.
fn internet(protocol: &str, wanted: &str, text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) = (columns.get(1), columns.get(3), columns.get(9)) else {
            continue;
        };
        if *state == wanted
            && let Some(endpoint) = endpoint(local)
            && let Ok(inode) = inode.parse()
        {
            table.insert(inode, format!("{protocol} {endpoint}"));
        }
    }
    table
}

/// `0100007F:1F90`: the address as the kernel's words in this machine's byte order, the port as a number.
fn endpoint(text: &str) -> Option<String> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|word| {
            let digits = address.get(word * 8..word * 8 + 8)?;
            Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
        })
        .collect();
    let bytes = words?.concat();
    let address = match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(bytes) => format!("[{}]", Ipv6Addr::from(bytes)),
        Err(_) => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?).to_string(),
    };
    Some(if port >= EPHEMERAL { format!("{address}:(any)") } else { format!("{address}:{port}") })
}

/// /proc/net/unix: what waits for connections, and datagram sockets with a name in the file system.
fn unix(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, flags, kind, _, inode, path, ..] = columns.as_slice() else { continue };
        let accepts = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UNIX_ACCEPTS != 0);
        let receives = *kind == UNIX_DATAGRAM && path.starts_with('/');
        if let (true, Ok(inode)) = (accepts || receives, inode.parse()) {
            table.insert(inode, format!("unix {path}"));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn given_tables_of_the_kernel_when_read_then_listening_endpoints_are_found() {
        let tcp = format!(
            "{HEAD}   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n\
             1: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 78 1\n"
        );
        assert_eq!(internet("tcp", TCP_LISTEN, &tcp), [(77, "tcp 127.0.0.1:80".to_owned())].into());
        let udp6 = format!(
            "{HEAD}   0: 00000000000000000000000001000000:D431 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 9 2\n"
        );
        assert_eq!(internet("udp6", UDP_UNCONNECTED, &udp6), [(9, "udp6 [::1]:(any)".to_owned())].into());
    }

    #[test]
    fn given_unix_sockets_when_read_then_listeners_and_named_datagram_sockets_count() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000: 00000002 00000000 00010000 0001 01 11 /run/a.sock\n\
                    0000: 00000003 00000000 00000000 0001 03 12 /run/a.sock\n\
                    0000: 00000002 00000000 00000000 0002 01 13 /run/log\n\
                    0000: 00000002 00000000 00000000 0002 01 14 @00012\n";
        let expected = [(11, "unix /run/a.sock".to_owned()), (13, "unix /run/log".to_owned())];
        assert_eq!(unix(text), expected.into());
        assert!(is_of_a_manager("unix /run/systemd/notify") && !is_of_a_manager("unix /run/log"));
    }

    #[test]
    fn given_a_name_with_a_pid_in_it_when_compared_then_that_is_left_open() {
        assert_eq!(without_pids("unix /run/a.sock.22.tmp", |n| n == 22), "unix /run/a.sock.(pid).tmp");
        assert_eq!(without_pids("unix /run/msg.sock/22", |n| n == 22), "unix /run/msg.sock/(pid)");
        assert_eq!(without_pids("unix /run/a.sock.22.tmp", |n| n == 23), "unix /run/a.sock.22.tmp");
        assert_eq!(without_pids("tcp 127.0.0.1:80", |_| true), "tcp 127.0.0.1:80");
    }
}
