//! What `PAMName=` comes to without PAM: a static program can't load the guest's modules, so no session is opened.
//!
//! One such session matters to the service itself: that of `user@.service`. A user manager doesn't start without
//! `$XDG_RUNTIME_DIR`, which pam_systemd(8) sets for it, without asking systemd-logind, by the rule that is kept here.
//! What the session of another name is for is not done, and said in the log.

use super::environment::Environment;
use super::job::Job;
use hostel_plan::SettingKey;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The PAM service of user managers.
const USER_MANAGER: &str = "systemd-user";

/// Sets what a session would have set, and says what is lost.
pub fn stand_in(job: &Job<'_>, uid: u32, environment: &mut Environment) {
    let Some(name) = job.directive(SettingKey::Scheduling, "PAMName") else { return };
    if name == USER_MANAGER && set_runtime_directory(Path::new("/run/user"), uid, environment) {
        job.log
            .line("PAMName=systemd-user: limits and variables of pam_limits and pam_env are without effect");
        return;
    }
    job.log.line(&format!(
        "PAMName={name}: a static program can't load the guest's PAM modules, no session is opened; limits and \
         variables of pam_limits and pam_env are without effect"
    ));
}

/// The folder that `user-runtime-dir@.service` made for a user, if it is that user's. False: there is none.
fn set_runtime_directory(base: &Path, uid: u32, environment: &mut Environment) -> bool {
    let folder = base.join(uid.to_string());
    let is_own = std::fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir() && found.uid() == uid);
    if is_own {
        let folder = folder.to_string_lossy();
        environment.set("XDG_RUNTIME_DIR", folder.as_bytes());
        environment.set("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={folder}/bus"));
    }
    is_own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::root::tests::TempRoot;

    #[test]
    fn given_a_users_runtime_folder_when_the_manager_of_that_user_starts_then_it_is_told_where_it_is() {
        let base = TempRoot::new();
        let own = rustix::process::getuid().as_raw();
        std::fs::create_dir(base.dir.join(own.to_string())).unwrap();
        let mut environment = Environment::default();
        assert!(set_runtime_directory(&base.dir, own, &mut environment));
        let folder = base.dir.join(own.to_string());
        assert_eq!(environment.get(b"XDG_RUNTIME_DIR"), Some(folder.to_str().unwrap().as_bytes()));
        assert!(
            environment.get(b"DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| address.ends_with(b"/bus"))
        );
    }

    #[test]
    fn given_no_folder_or_somebody_elses_when_a_manager_starts_then_nothing_is_said_of_one() {
        let base = TempRoot::new();
        let other = rustix::process::getuid().as_raw() + 1;
        std::fs::create_dir(base.dir.join(other.to_string())).unwrap();
        let mut environment = Environment::default();
        assert!(!set_runtime_directory(&base.dir, other, &mut environment));
        assert!(!set_runtime_directory(&base.dir, other + 1, &mut environment));
        assert_eq!(environment, Environment::default());
    }
}
