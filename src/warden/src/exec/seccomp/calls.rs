//! System calls by name, groups of them, and what else filters are written with: address families, errnos.
//!
//! Numbers and groups are data (`units/syscalls.tsv`, `units/syscall-groups.tsv`), compiled in and read only where a
//! unit has a filter.

use std::collections::HashMap;

const NUMBERS: &str = include_str!("../../../../../units/syscalls.tsv");
const GROUPS: &str = include_str!("../../../../../units/syscall-groups.tsv");

/// A call convention that this processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convention {
    /// systemd's name of it.
    pub name: &'static str,
    /// AUDIT_ARCH of linux/audit.h.
    pub audit: u32,
    /// Its column in the table of numbers.
    column: usize,
}

/// The native one first.
#[cfg(target_arch = "x86_64")]
pub const CONVENTIONS: &[Convention] = &[
    Convention { name: "x86-64", audit: 0xc000_003e, column: 0 },
    Convention { name: "x86", audit: 0x4000_0003, column: 1 },
];
/// The native one; programs of 32 bits have no numbers here, and meet what is foreign to a filter.
#[cfg(target_arch = "aarch64")]
pub const CONVENTIONS: &[Convention] = &[Convention { name: "arm64", audit: 0xc000_00b7, column: 2 }];

/// How many numbers a row has.
const COLUMNS: usize = 3;

fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

/// The table of numbers, read.
pub struct Calls(HashMap<&'static str, [Option<u32>; COLUMNS]>);

impl Calls {
    /// Reads the table.
    pub fn read() -> Self {
        let numbers = |text: &str| {
            let mut out = [None; COLUMNS];
            for (slot, number) in out.iter_mut().zip(text.split('\t')) {
                *slot = number.parse().ok();
            }
            out
        };
        Calls(rows(NUMBERS).map(|(name, text)| (name, numbers(text))).collect())
    }

    /// The number of a call; none where the convention has it not, or nobody knows it.
    pub fn number(&self, name: &str, convention: &Convention) -> Option<u32> {
        self.0.get(name)?.get(convention.column).copied().flatten()
    }

    /// Every call that a name stands for: itself, or all of a group and of the groups in it. Empty where it is neither.
    pub fn named(&self, name: &str) -> Vec<&'static str> {
        if name == "@known" {
            return self.0.keys().copied().collect();
        }
        let mut out = Vec::new();
        match name.starts_with('@') {
            true => self.collect(name, &mut Vec::new(), &mut out),
            false => out.extend(self.0.get_key_value(name).map(|(name, _)| *name)),
        }
        out
    }

    fn collect(&self, group: &str, seen: &mut Vec<&'static str>, out: &mut Vec<&'static str>) {
        let Some((group, members)) = rows(GROUPS).find(|(name, _)| *name == group) else { return };
        if seen.contains(&group) {
            return;
        }
        seen.push(group);
        for member in members.split(' ') {
            match member.starts_with('@') {
                true => self.collect(member, seen, out),
                false => out.push(member),
            }
        }
    }
}

macro_rules! names_of_libc {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

/// Families of address_families(7).
const FAMILIES: &[(&str, i32)] = names_of_libc! {
    AF_UNSPEC AF_UNIX AF_LOCAL AF_INET AF_AX25 AF_IPX AF_APPLETALK AF_NETROM AF_BRIDGE AF_ATMPVC AF_X25 AF_INET6
    AF_ROSE AF_DECnet AF_NETBEUI AF_SECURITY AF_KEY AF_NETLINK AF_PACKET AF_ASH AF_ECONET AF_ATMSVC AF_RDS AF_SNA
    AF_IRDA AF_PPPOX AF_WANPIPE AF_LLC AF_IB AF_MPLS AF_CAN AF_TIPC AF_BLUETOOTH AF_IUCV AF_RXRPC AF_ISDN AF_PHONET
    AF_IEEE802154 AF_CAIF AF_ALG AF_NFC AF_VSOCK AF_XDP
};

/// Families that libc has no name for: linux/socket.h.
const LATER_FAMILIES: &[(&str, i32)] = &[("AF_KCM", 41), ("AF_QIPCRTR", 42), ("AF_SMC", 43), ("AF_MCTP", 45)];

/// The number of an address family.
pub fn family(name: &str) -> Option<u32> {
    let find =
        |table: &[(&str, i32)]| table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    find(FAMILIES).or_else(|| find(LATER_FAMILIES)).and_then(|number| u32::try_from(number).ok())
}

/// Errors of errno(3).
const ERRNOS: &[(&str, i32)] = names_of_libc! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
    EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM
    ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP EWOULDBLOCK ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT
    EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EDEADLOCK EBFONT ENOSTR ENODATA
    ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ
    EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP ENOTSUP EPFNOSUPPORT EAFNOSUPPORT
    EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN
    ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN
    ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED
    EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON
};

/// An errno by name or number, 0 to 4095 as the kernel has it.
pub fn errno(name: &str) -> Option<u16> {
    match name.parse::<u16>() {
        Ok(number) => Some(number).filter(|number| *number <= 4095),
        Err(_) => ERRNOS
            .iter()
            .find(|(known, _)| *known == name)
            .and_then(|(_, number)| u16::try_from(*number).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_name_when_looked_up_then_its_number_is_this_processors() {
        let calls = Calls::read();
        assert_eq!(calls.number("execve", &CONVENTIONS[0]).map(i64::from), Some(libc::SYS_execve));
        assert_eq!(calls.number("openat2", &CONVENTIONS[0]).map(i64::from), Some(libc::SYS_openat2));
        assert_eq!(calls.number("no_such_call", &CONVENTIONS[0]), None);
    }

    #[test]
    fn given_the_groups_when_read_then_each_member_is_a_call_or_a_group() {
        let calls = Calls::read();
        for (group, members) in rows(GROUPS) {
            assert!(group.starts_with('@'), "{group}");
            for member in members.split(' ') {
                assert!(!calls.named(member).is_empty(), "{group}: {member}");
            }
        }
    }

    #[test]
    fn given_a_group_of_groups_when_resolved_then_all_of_them_are_there() {
        let calls = Calls::read();
        let service = calls.named("@system-service");
        for name in ["read", "socket", "timer_create", "execve", "kill"] {
            assert!(service.contains(&name), "{name}");
        }
        assert!(!service.contains(&"mount") && !service.contains(&"reboot"));
        assert!(calls.named("@nothing").is_empty() && calls.named("nothing").is_empty());
    }

    #[test]
    fn given_families_and_errnos_when_looked_up_then_they_are_the_kernels() {
        assert_eq!(family("AF_INET6"), Some(10));
        assert_eq!(family("AF_NONE"), None);
        assert_eq!(
            (errno("EPERM"), errno("38"), errno("5000"), errno("EODD")),
            (Some(1), Some(38), None, None)
        );
    }
}
