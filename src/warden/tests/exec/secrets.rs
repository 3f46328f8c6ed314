//! Credentials and dynamic users: what a service finds, and what is left of it.

use super::init::{Case, TempDir};
use hostel_contract::exec::{ExecOutcome, ExecStep};
use hostel_plan::{Phase, SettingKey, UnitKind};
use std::path::Path;

/// Settings of the sandbox for a unit of a name of its own: what it leaves in /run has that name.
fn unit(case: Case, name: &str, sandbox: &[String]) -> Case {
    let mut case = sandbox.iter().fold(case, |case, text| case.set(SettingKey::Sandbox, text.as_str()));
    case.unit.name = format!("hostel-test-{}-{name}.service", std::process::id());
    case
}

#[test]
fn given_credentials_when_run_as_a_user_then_they_are_its_own_files_and_go_with_the_unit() {
    let base = TempDir::new("credentials");
    std::fs::write(base.join("secret"), "from a file").unwrap();
    let settings = [
        format!("LoadCredential=file:{}", base.join("secret")),
        "LoadCredential=missing:not-in-any-store".to_string(),
        r"SetCredential=text:a\tb\x21".to_string(),
        "SetCredential=file:not this".to_string(),
    ];
    let script = "cd $CREDENTIALS_DIRECTORY; id -u; ls; cat file text; stat -c %a:%u . file";
    let case = Case::script(script).set(SettingKey::User, "nobody");
    let outcome = unit(case, "credentials", &settings).run();
    assert_eq!(outcome.ran(), "65534\nfile\ntext\nfrom a filea\tb!500:65534\n400:65534\n");
    let folder = format!("/run/credentials/hostel-test-{}-credentials.service", std::process::id());
    assert!(Path::new(&folder).is_dir());
    let clean_up = Case::of(UnitKind::Service, Phase::CleanUp);
    unit(clean_up, "credentials", &settings).run().answered(ExecOutcome::Done);
    assert!(!Path::new(&folder).exists());
}

#[test]
fn given_a_credential_whose_file_is_missing_when_started_then_the_record_names_it() {
    let settings = ["LoadCredential=key:/none/such".to_string()];
    let text = unit(Case::start(&["/bin/true"]), "missing", &settings).run().failed(ExecStep::Credentials);
    assert!(text.contains("/none/such"), "{text}");
}

#[test]
fn given_a_dynamic_user_when_run_then_it_has_an_id_a_record_and_a_state_directory_of_its_own() {
    let name = format!("hostel-test-{}-dynamic", std::process::id());
    let settings = |case: Case| {
        unit(case.set(SettingKey::DynamicUser, "1").set(SettingKey::StateDirectory, &name), "dynamic", &[])
    };
    let script = "id -u; echo $USER $STATE_DIRECTORY; touch $STATE_DIRECTORY/x && echo wrote; \
        touch /var/lib/y 2>/dev/null || echo strict; grep NoNewPrivs /proc/self/status; ls /var/lib/private";
    let text = settings(Case::script(script)).run().ran().to_string();
    let lines: Vec<&str> = text.lines().collect();
    let uid: u32 = lines[0].parse().unwrap();
    assert!((61184..=65519).contains(&uid), "{text}");
    assert_eq!(lines[1], format!("{name} /var/lib/{name}"));
    assert_eq!(lines[2..], ["wrote", "strict", "NoNewPrivs:\t1", &name]);
    assert_eq!(
        std::fs::read_link(format!("/var/lib/{name}")).unwrap(),
        Path::new(&format!("private/{name}"))
    );
    let record = std::fs::read_to_string(format!("/run/userdb/{uid}.user")).unwrap();
    assert!(record.contains(&name), "{record}");
    let object = format!("/dev/shm/{name}");
    std::fs::write(&object, "").unwrap();
    std::os::unix::fs::chown(&object, Some(uid), None).unwrap();
    settings(Case::of(UnitKind::Service, Phase::CleanUp)).run().answered(ExecOutcome::Done);
    assert!(!Path::new(&object).exists());
    assert!(!Path::new(&format!("/run/userdb/{name}.user")).exists());
    let _ = std::fs::remove_file(format!("/var/lib/{name}"));
    let _ = std::fs::remove_dir_all(format!("/var/lib/private/{name}"));
}
