//! Where things are, inside a guest and on the host, and what environment names carry.

/// Init's own directory in the guest, on the tmpfs of /run. Mode 0755, root.
pub const RUN: &str = "/run/hostel";
/// Read-only mount with `hostel-init` and `hostel-warden`, made by the spawner. A foreign host has none:
/// init then finds the warden beside itself.
pub const BIN: &str = "/run/hostel/bin";
/// The status page: see [`crate::status`]. Mode 0444.
pub const STATUS: &str = "/run/hostel/status";
/// The socket for requests (SOCK_SEQPACKET): see [`crate::control`]. Mode 0666; peer credentials decide.
pub const CONTROL: &str = "/run/hostel/control";
/// One datagram socket a unit, named by the unit: its NOTIFY_SOCKET. Mode 0666.
pub const NOTIFY_DIR: &str = "/run/hostel/notify";
/// Names of the units of the plan in force, one a line in the order of the plan and so of the status page's rows.
/// Begins with a line `# CHECKSUM` (16 hexadecimal digits), which is `plan_checksum` of the page that it fits.
/// Written by `hostel-warden compile --boot`, and for later plans by `hostel-warden serve`.
pub const UNITS: &str = "/run/hostel/units";
/// Edges between the units of the plan in force, for who looks at a boot: beside [`UNITS`], and written with it.
/// Its form is the module `edges` of `hostel-boot`.
pub const EDGES: &str = "/run/hostel/edges";
/// Links to the warden under the names of systemd's programs, in a guest that has none of its own: see `hostel-warden`'s
/// module `applets`.
pub const APPLETS: &str = "/run/hostel/applets";
/// What `systemctl set-environment` has set, for every start of a service: assignments with a NUL behind each. Absent
/// until then. Written and read by the warden.
pub const ENVIRONMENT: &str = "/run/hostel/environment";
/// An empty file of a unit's name here has the next reload take that unit into the plan, also if nothing names it: an
/// instance of a template, above all. Made by whoever is about to start it (root; mode 0755).
pub const WANTED: &str = "/run/hostel/wanted";
/// The front-end that the guest was booted with, a word: see `hostel-warden`'s module `fronts`.
pub const FRONT: &str = "/run/hostel/front";
/// Unit files that a front-end has made of the guest's own definitions.
pub const MADE: &str = "/run/hostel/made";
/// What an administrator sets of units until the guest ends, where the guest's own units are not systemd's: as
/// /run/systemd/system.
pub const RUNTIME_UNITS: &str = "/run/hostel/runtime";
/// What of a transient unit is no unit file: a record a unit, by its name. Written by the warden's D-Bus server, read
/// by `warden exec`.
pub const TRANSIENT: &str = "/run/hostel/transient";
/// Symbolic links `invocation:UNIT` to the $INVOCATION_ID of each unit's last start, as systemd has them.
pub const INVOCATIONS: &str = "/run/systemd/units";
/// What the last compilation said of the guest's units, one line each: `file:line: message`.
pub const COMPILE_LOG: &str = "/run/hostel/compile.log";
/// Which files made up each unit at that, and when they were last changed: `hostel-warden`'s module `compile::stamps`.
pub const STAMPS: &str = "/run/hostel/stamps";
/// Where the fakes are mounted (see [`crate::fakes`]), to be bound over what they stand for.
pub const FAKES: &str = "/run/hostel/fakes";
/// An untouched proc: it is read by whoever answers fakes, and because it is there the kernel lets a user namespace in
/// the guest mount a proc of its own, which files bound over /proc would forbid.
pub const KERNEL_PROC: &str = "/run/hostel/kernel/proc";
/// An untouched sysfs, read-only, for the same.
pub const KERNEL_SYS: &str = "/run/hostel/kernel/sys";
/// Where the spawner mounts the list of guests that share the host's networks, in a guest that has one: a folder with the
/// file [`HOST_NAMES_FILE`], in the form of hosts(5), replaced whenever a guest comes or goes.
pub const HOST_NAMES: &str = "/run/hostel/names";
/// See [`HOST_NAMES`].
pub const HOST_NAMES_FILE: &str = "hosts";
/// The leaf of init and the warden below the root of the guest's cgroups.
pub const INIT_SCOPE: &str = "init.scope";
/// Folder of the log sink in the guest.
pub const LOG_DIR: &str = "/var/log/hostel";

/// Where root's systemctl looks for the manager (systemd's private D-Bus socket).
pub const SYSTEMD_PRIVATE: &str = "/run/systemd/private";

/// Where the host's tool keeps one folder for each running guest (as root; else under XDG_RUNTIME_DIR).
pub const HOST_RUN: &str = "/run/hostel-host";
/// Where the host's tool keeps guests (as root; else under XDG_DATA_HOME).
pub const HOST_STORE: &str = "/var/lib/hostel";

/// Environment of init: version of the contract. Absent under a foreign host.
pub const ENV_CONTRACT: &str = "HOSTEL_CONTRACT";
/// The version that this build speaks.
pub const CONTRACT_VERSION: &str = "1";
/// Environment of init: the front-end that the guest is to have; absent: the one that its files tell.
pub const ENV_FRONT: &str = "HOSTEL_FRONT";
/// Environment of init: decimal number of a descriptor, open for reading and writing, of the file
/// [`STATUS`], of which the spawner keeps a read-only twin.
pub const ENV_STATUS_FD: &str = "HOSTEL_STATUS_FD";
/// Environment of init: decimal number of a descriptor, the store of the fakes (see [`crate::fakes`]), to be held for
/// each warden. Absent where there are no fakes.
pub const ENV_FAKES_FD: &str = "HOSTEL_FAKES_FD";
/// Environment of init: path of the warden's file, where it isn't beside init.
pub const ENV_WARDEN: &str = "HOSTEL_WARDEN";
/// Environment of init and services, of systemd's Container Interface. OpenRC knows `lxc`, and no unknown name.
pub const ENV_CONTAINER: &str = "container";
/// The value that Hostel's spawner gives it.
pub const CONTAINER_VALUE: &str = "lxc";
/// Text `hostel`, read first by systemd's own tools (Container Interface).
pub const CONTAINER_MANAGER: &str = "/run/host/container-manager";
/// The host's notify socket (Container Interface): READY=1, STATUS=, STOPPING=1, upward to the keeper.
pub const HOST_NOTIFY: &str = "/run/host/notify";

/// Name of the keeper's program, and its argv[0].
pub const KEEPER: &str = "hostel-keeper";
