//! Users log in, have managers of their own units, linger, and may do what polkit permits them, as under systemd: by the
//! guest's own systemd-logind, pam_systemd, `systemd --user` and polkitd.
//!
//! The commands, and what may differ, are in `tests/logins` (see [`hostel_tests::comparison`]).

use std::fs;

use hostel_tests::Guest;
use hostel_tests::cache::{DEBIAN12_LOGIN, DEBIAN13_LOGIN, Distribution};
use hostel_tests::comparison::Comparison;
use hostel_tests::guest::Builder;

const LOGINS: Comparison = Comparison { folder: "logins", guest: builder };

/// The users, with their numbers.
const USERS: [(&str, u32); 2] = [("ada", 1000), ("bob", 1001)];

/// Logs in by SSH.
const AS: &str = "#!/bin/sh\nuser=$1\nshift\n\
     exec ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \"$user@127.0.0.1\" \"$@\"\n";

/// What ada may.
const RULES: &str = r#"polkit.addRule(function(action, subject) {
    if (subject.user != "ada")
        return undefined;
    if (action.id == "org.freedesktop.policykit.exec")
        return polkit.Result.YES;
    if (action.id == "org.freedesktop.systemd1.manage-units"
        && action.lookup("unit") == "lo-simple.service" && action.lookup("verb") == "restart")
        return polkit.Result.YES;
});
"#;

/// A guest with the users.
fn builder(distribution: Distribution, purpose: &str) -> Builder {
    let sleeps = "[Unit]\nDescription=Sleeps\n[Service]\nExecStart=/bin/sleep infinity\n";
    let mut builder = Guest::of(distribution, purpose)
        .unit("lo-simple.service", sleeps)
        .link("etc/systemd/system/lo-alias.service", "lo-simple.service")
        .program("usr/local/bin/as", AS)
        .file("etc/polkit-1/rules.d/50-ada.rules", RULES)
        .file("root/.ssh/config", "LogLevel ERROR\n")
        .file("var/lib/systemd/linger/bob", "")
        .file("home/bob/.config/systemd/user/lo-own.service", sleeps)
        .link("home/bob/.config/systemd/user/default.target.wants/lo-own.service", "../lo-own.service");
    let with = |path: &str, line: &dyn Fn(&str, u32) -> String| {
        let root = distribution.root().join(path);
        let text = fs::read_to_string(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        text + &USERS.map(|(name, number)| line(name, number)).concat()
    };
    let of_user = |name: &str, number| format!("{name}:x:{number}:{number}::/home/{name}:/bin/bash\n");
    builder = builder
        .file("etc/passwd", &with("etc/passwd", &of_user))
        .file("etc/group", &with("etc/group", &|name, number| format!("{name}:x:{number}:\n")))
        .file_with_mode(
            "etc/shadow",
            &with("etc/shadow", &|name, _| format!("{name}:*:19000:0:99999:7:::\n")),
            0o600,
        );
    builder.prepare(|root| {
        for (name, number) in USERS {
            let home = root.join("home").join(name);
            let made = fs::create_dir_all(&home)
                .and_then(|()| std::os::unix::fs::chown(&home, Some(number), Some(number)));
            made.unwrap_or_else(|error| panic!("{}: {error}", home.display()));
        }
    })
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_12_when_users_log_in_then_they_have_and_may_what_they_do_under_systemd() {
        LOGINS.says_the_same(DEBIAN12_LOGIN);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13_when_users_log_in_then_they_have_and_may_what_they_do_under_systemd() {
        LOGINS.says_the_same(DEBIAN13_LOGIN);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_12s_systemd_when_users_log_in_then_it_answers_what_is_kept() {
        LOGINS.is_systemds(DEBIAN12_LOGIN);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_13s_systemd_when_users_log_in_then_it_answers_what_is_kept() {
        LOGINS.is_systemds(DEBIAN13_LOGIN);
    }
}
