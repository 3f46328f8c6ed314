//! Users and files that packages ask for, sysusers.d(5) and tmpfiles.d(5): what Hostel's own tools make of them is what
//! systemd's make, file by file, on the guests' own roots.

use std::fs;
use std::path::Path;

use hostel_tests::cache::{self, DISTRIBUTIONS, Distribution};
use hostel_tests::layer::Layer;
use hostel_tests::paths;

/// Runs one tool in a layer over a guest's root.
fn written_by(distribution: &Distribution, tool: &Tool<'_>, prepare: &str, arguments: &[&str]) -> Layer {
    let layer = Layer::over(&distribution.root()).unwrap_or_else(|error| panic!("layer: {error}"));
    let root = layer.root().to_string_lossy().into_owned();
    let warden = paths::program("hostel-warden").to_string_lossy().into_owned();
    for (name, text) in tool.files {
        fs::write(layer.files().join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut command = match tool.ours {
        true => vec![warden.as_str(), tool.name, "--root", &root],
        false => vec!["chroot", &root, tool.systemds],
    };
    command.extend(arguments);
    let outcome = layer.run(prepare, &command).unwrap_or_else(|error| panic!("{error}"));
    println!("{}: {}\n{}", outcome.line, outcome.status, outcome.stderr);
    layer
}

/// A tool, systemd's or ours, and configuration beside the guest's own.
struct Tool<'a> {
    name: &'a str,
    systemds: &'a str,
    ours: bool,
    files: &'a [(String, String)],
}

/// The same by both tools, and every difference of what they leave.
fn compare(names: (&str, &str), files: &[(String, String)], prepare: &str, arguments: &[&str]) {
    let mut differences = Vec::new();
    for distribution in &DISTRIBUTIONS {
        let by = |ours| {
            let tool = Tool { name: names.0, systemds: names.1, ours, files };
            written_by(distribution, &tool, prepare, arguments)
        };
        let (theirs, ours) = (by(false), by(true));
        let tree = |layer: &Layer| layer.written().unwrap_or_else(|error| panic!("tree: {error}"));
        for change in tree(&theirs).changes(&tree(&ours)) {
            // Both have written it now.
            let what: Vec<&str> = change.what.split(", ").filter(|what| *what != "time").collect();
            let path = change.path.to_string_lossy();
            if !what.is_empty() {
                let text = |layer: &Layer| layer.text(&path).unwrap_or_default();
                differences.push(format!(
                    "{}: {path}: {}\n  theirs {:?}\n  ours   {:?}",
                    distribution.name,
                    what.join(", "),
                    text(&theirs),
                    text(&ours)
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// What packages bring into a folder of /usr/lib.
fn of_packages(folder: &str) -> Vec<(String, String)> {
    let top = cache::package_units().join("usr/lib").join(folder);
    let entries = fs::read_dir(&top).unwrap_or_else(|error| panic!("{}: {error}", top.display()));
    let read = |path: &Path| {
        Some((path.file_name()?.to_string_lossy().into_owned(), fs::read_to_string(path).ok()?))
    };
    entries.flatten().filter_map(|entry| read(&entry.path())).collect()
}

const USERS: &str = r#"
u any -
u of-number 444 "A: colon"
u described 445 "Some Thing, of here" /var/lib/described /bin/sh
u with-group 446:447
u with-name -:nogroup "In nobody's group"
g only 448
g as-file /etc/shadow
u as-owner /var/mail
m any only
m made-by-m only
m described made-too
u taken 0
u doubled 449
u doubled 450
u bad..name -
x none
u more - a b c d
u %n -
u with-%m -
"#;

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_users_of_packages_when_a_root_has_none_then_all_get_the_numbers_that_systemd_gives() {
    let mut files = of_packages("sysusers.d");
    files.push(("zz-written.conf".into(), USERS.into()));
    let bare = "mkdir -p /etc/sysusers.d; cp /mnt/* /etc/sysusers.d/
        for f in passwd group shadow gshadow; do grep ^root: /etc/$f > /tmp/$f; cat /tmp/$f > /etc/$f; done
        rm /tmp/*; rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-";
    compare(("sysusers", "systemd-sysusers"), &files, bare, &[]);
}

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_a_root_that_has_all_users_when_more_are_asked_for_then_what_is_there_stays() {
    let files = [("zz-written.conf".into(), USERS.into())];
    compare(
        ("sysusers", "systemd-sysusers"),
        &files,
        "mkdir -p /etc/sysusers.d; cp /mnt/* /etc/sysusers.d/",
        &[],
    );
}

const FILES: &str = r#"
d /run/made/below 0750 daemon mail
d /run/made 0711
d /var/private ~0777
f /run/text 0640 root adm - a\ttab and %% and "quotes"
f /run/text 0644 root adm - another line for the same path
f+ /etc/issue 0600 - - - replaced
F /run/old-style 0600 - - - x
w /etc/hostname - - - - ab
w+ /etc/h{osts,osts.allow} - - - - appended\n
w /run/none - - - - nothing
p /run/fifo 0620 root tty
p+ /run/file-before 0600
p /etc/issue.net 0600
L /run/link - - - - ../target
L /run/factory/nsswitch.conf
L+ /etc/debian_version - - - - elsewhere
L /etc/motd - - - - stays-a-file
C /run/copied - - - - /etc/pam.d
C /run/copied-mode 0751 daemon - - /etc/security
C /run/not-copied - - - - /none
c /run/null 0666 root root - 1:3
b /run/block 0600 - - - 7:200
z /etc/pam.d/l* 0600 daemon -
Z /etc/security ~0777 - adm
m /etc/cron.d* 0700
e /etc/a*d 0700
d= /run/was-file 0755
f= /run/was-folder 0644 - - - now a file
D /run/emptied 0755
r /run/gone-file
r /run/gone-folder
r /run/full-folder
R /run/full-tree*
h /run/text - - - - +d
t /run/text - - - - user.a=b user.c="d e"
d /run/only-new :0700 :daemon
d /run/there :0700 :daemon
a /run/listed-alone - - - - user:daemon:rwx,group:adm:r-x,m::r-x,o::-
a+ /run/listed - - - - group:adm:r--,u:1:rw-
A+ /run/listed-tree - - - - g:adm:r-x,d:g:adm:r-x,default:u::rwx
a /run/listed-twice - - - - u:bin:rw-
a+ /run/listed-twice - - - - u:mail:r--,u:bin:r--
a+ /run/listed-wrong - - - - g:no-such-group:r--
f~ /run/decoded - - - - aGVsbG8=
f!- /run/boot 0600 :1 2
d /run/nobody 0700 no-such-user
L? /run/to-nothing - - - - /none
v /run/volume
q /run/volume2 0700
k /run/unknown
d relative
d /run/%m-x
d /run/%b-%T
"#;

const BEFORE: &str = "mkdir -p /etc/tmpfiles.d; cp /mnt/* /etc/tmpfiles.d/
    mkdir -p /usr/share/factory/run/factory /run/was-folder/sub /run/emptied/sub /run/gone-folder /run/full-folder/x
    mkdir -p /run/full-tree1/a/b /run/full-tree2 /run/there
    touch /run/file-before /run/was-file /run/emptied/file /run/emptied/sub/file /run/gone-file /etc/issue.net
    touch /run/listed-alone /run/listed /run/listed-twice /run/listed-wrong
    mkdir -p /run/listed-tree/below; touch /run/listed-tree/file; ln -s file /run/listed-tree/link
    ln -s /etc /run/full-tree1/link; ln -s /etc/passwd /run/emptied/link";

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_files_of_packages_when_made_at_boot_then_a_root_has_what_systemd_makes() {
    let mut files = of_packages("tmpfiles.d");
    files.push(("zz-written.conf".into(), FILES.into()));
    compare(("tmpfiles", "systemd-tmpfiles"), &files, BEFORE, &["--create", "--remove", "--boot"]);
}

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_one_prefix_when_files_are_made_without_a_boot_then_only_those_are() {
    let files = [("zz-written.conf".to_owned(), FILES.to_owned())];
    compare(
        ("tmpfiles", "systemd-tmpfiles"),
        &files,
        BEFORE,
        &["--create", "--prefix=/run", "--exclude-prefix=/run/made"],
    );
}

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_old_files_when_cleaned_then_those_go_that_systemd_takes() {
    let lines = "d /old 0755 - - m:10d\nx /old/kept*\nX /old/alone*\nd /old/named\nd /level - - - ~mM:1d\n\
        e /many/* - - - aAmM:5d\nd /all - - - 0\nD /by-modified - - - M:1d\n";
    let before = "mkdir -p /etc/tmpfiles.d; cp /mnt/* /etc/tmpfiles.d/
        for top in /old /level /many/one /many/two /all /by-modified; do
            mkdir -p $top/young $top/aged/deep $top/kept/below $top/alone/below $top/named
            touch $top/file $top/young/file
            for file in aged/file aged/deep/file kept/file kept/below/file alone/file alone/below/f named/file .hidden
            do touch -d '30 days ago' $top/$file; done
            touch -d '3 days ago' $top/aged/recent
            touch -d '30 days ago' $top/sticky; chmod +t $top/sticky; ln -s /etc $top/link; touch -h -d '30 days ago' $top/link
            find $top -depth -type d -exec touch -d '30 days ago' '{}' ';'
        done";
    let files = [("zz-written.conf".to_owned(), lines.to_owned())];
    compare(
        ("tmpfiles", "systemd-tmpfiles"),
        &files,
        before,
        &[
            "--clean",
            "--prefix=/old",
            "--prefix=/level",
            "--prefix=/many",
            "--prefix=/all",
            "--prefix=/by-modified",
        ],
    );
}
