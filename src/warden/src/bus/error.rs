//! Errors of calls, by the names and in the words of systemd: its tools turn the names into exit statuses.

use crate::ctl::client::ClientError;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// D-Bus error name.
    pub name: &'static str,
    /// For people.
    pub text: String,
}

/// Names of errors.
pub mod name {
    /// A unit that is not loaded, or of which there is no file.
    pub const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
    /// A unit that can't be made, since there is one of that name.
    pub const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
    /// No unit for a process.
    pub const NO_UNIT_FOR_PID: &str = "org.freedesktop.systemd1.NoUnitForPID";
    /// A unit's file has an error.
    pub const BAD_UNIT_SETTING: &str = "org.freedesktop.systemd1.BadUnitSetting";
    /// A masked unit.
    pub const UNIT_MASKED: &str = "org.freedesktop.systemd1.UnitMasked";
    /// No job of that number.
    pub const NO_SUCH_JOB: &str = "org.freedesktop.systemd1.NoSuchJob";
    /// RefuseManualStart= and RefuseManualStop=.
    pub const ONLY_BY_DEPENDENCY: &str = "org.freedesktop.systemd1.OnlyByDependency";
    /// AllowIsolate= is not set.
    pub const NO_ISOLATION: &str = "org.freedesktop.systemd1.NoIsolation";
    /// A unit can't be reloaded.
    pub const NOT_APPLICABLE: &str = "org.freedesktop.systemd1.JobTypeNotApplicable";
    /// No process to be signalled.
    pub const NO_SUCH_PROCESS: &str = "org.freedesktop.systemd1.NoSuchProcess";
    /// The guest is being shut down.
    pub const SHUTTING_DOWN: &str = "org.freedesktop.systemd1.ShuttingDown";
    /// A unit that has no process.
    pub const UNIT_INACTIVE: &str = "org.freedesktop.systemd1.UnitInactive";
    /// A freezer that is not there.
    pub const NOT_SUPPORTED: &str = "org.freedesktop.DBus.Error.NotSupported";
    /// Wrong arguments.
    pub const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
    /// Not permitted.
    pub const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    /// Polkit wants to ask the user.
    pub const INTERACTION: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    /// No such method.
    pub const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
    /// No such interface.
    pub const UNKNOWN_INTERFACE: &str = "org.freedesktop.DBus.Error.UnknownInterface";
    /// No such object.
    pub const UNKNOWN_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
    /// No such property.
    pub const UNKNOWN_PROPERTY: &str = "org.freedesktop.DBus.Error.UnknownProperty";
    /// A property that can't be set.
    pub const READ_ONLY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";
    /// A file that is not there.
    pub const FILE_NOT_FOUND: &str = "org.freedesktop.DBus.Error.FileNotFound";
    /// A file that is there.
    pub const FILE_EXISTS: &str = "org.freedesktop.DBus.Error.FileExists";
    /// Anything else.
    pub const FAILED: &str = "org.freedesktop.DBus.Error.Failed";
    /// Too much at once.
    pub const LIMITS: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
}

impl Failure {
    /// An error with its text.
    pub fn new(name: &'static str, text: impl Into<String>) -> Failure {
        Failure { name, text: text.into() }
    }

    /// Wrong arguments.
    pub fn invalid(text: impl Into<String>) -> Failure {
        Failure::new(name::INVALID_ARGS, text)
    }

    /// Not permitted.
    pub fn denied() -> Failure {
        Failure::new(name::ACCESS_DENIED, "Access denied")
    }

    /// Not in a guest of Hostel.
    pub fn unsupported(what: &str) -> Failure {
        Failure::new(name::NOT_SUPPORTED, format!("{what} is not supported in a guest of Hostel"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        let name = match error.kind() {
            std::io::ErrorKind::NotFound => name::FILE_NOT_FOUND,
            std::io::ErrorKind::AlreadyExists => name::FILE_EXISTS,
            std::io::ErrorKind::PermissionDenied => name::ACCESS_DENIED,
            _ => name::FAILED,
        };
        Failure::new(name, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::new(name::FAILED, error.to_string())
    }
}
