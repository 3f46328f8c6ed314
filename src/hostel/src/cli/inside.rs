//! Arguments of the commands that run something in a guest, or read what it says.

use crate::error::Error;
use crate::name::GuestName;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Arguments of `exec`.
#[derive(Args, Debug)]
pub struct ExecArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// As which user of the guest: NAME or NUMBER, with :GROUP if it isn't the user's own
    #[arg(long, short, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Variables of the command's environment
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// In which directory of the guest [default: /]
    #[arg(long, short = 'C', value_name = "PATH")]
    pub directory: Option<PathBuf>,
    /// With these supplementary groups in the place of the user's own
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub groups: Option<Vec<String>>,
    /// Without this capability, for the command and all that it starts; may be given again
    #[arg(long = "drop-capability", value_name = "CAP_NAME", value_parser = capability)]
    pub dropped: Vec<String>,
    /// No program gives it more privileges than it has
    #[arg(long)]
    pub no_new_privileges: bool,
    /// The command
    #[arg(required = true, last = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `suexec`.
#[derive(Args, Debug)]
pub struct SuexecArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// The user of the guest: NAME or NUMBER, with :GROUP if it isn't the user's own
    #[arg(value_name = "USER[:GROUP]")]
    pub user: String,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

fn capability(name: &str) -> Result<String, Error> {
    let unknown = || {
        Error::Invalid(format!("{name:?} is no capability: write CAP_NET_RAW or another of capabilities(7)"))
    };
    crate::config::given::capability(name).map(|_| name.to_owned()).ok_or_else(unknown)
}

/// Arguments of `enter`.
#[derive(Args, Debug)]
pub struct EnterArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// As which user of the guest: NAME or NUMBER, with :GROUP if it isn't the user's own
    #[arg(long, short, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
}

/// Arguments of `logs`.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// The guest
    #[arg(value_name = "NAME")]
    pub guest: GuestName,
    /// Of this unit only
    #[arg(long, short)]
    pub unit: Option<String>,
    /// The last lines only
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<u32>,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub follow: bool,
    /// What was written to the console instead
    #[arg(long, conflicts_with_all = ["unit", "follow"])]
    pub console: bool,
}
