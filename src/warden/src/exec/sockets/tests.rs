use super::*;
use crate::exec::job::UnitLog;
use crate::testing::TempDir;
use hostel_contract::exec::ExecRequest;
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::{Phase, Plan, UnitKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Files are made under a umask, which all threads of a process share: tests that make them take turns.
static UMASK: Mutex<()> = Mutex::new(());

/// Runs `test` on a job of a socket unit with these settings.
fn with_job(settings: &[(SettingKey, String)], test: impl FnOnce(&Job<'_>)) {
    let _turn = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let mut unit = UnitModel::new("x.socket", UnitKind::Socket);
    unit.settings = settings.to_vec();
    let model = Model { units: vec![unit], default_target: "x.socket".into() };
    let built = hostel_plan::build::build(&model).unwrap();
    let plan = Plan::parse(&built.bytes).unwrap();
    let mut request = ExecRequest::decode(&[0; ExecRequest::SIZE]).unwrap();
    request.unit = plan.find("x.socket").unwrap().id().0;
    request.phase = Phase::OpenSockets.code();
    test(&Job::new(plan, request, UnitLog::new(None), Vec::new()).unwrap());
}

fn setting(key: SettingKey, value: impl Into<String>) -> (SettingKey, String) {
    (key, value.into())
}

#[test]
fn given_a_unix_stream_socket_when_opened_then_it_has_its_mode_and_takes_connections() {
    let base = TempDir::new();
    let path = base.path().join("deep/x.sock");
    let settings = [
        setting(SettingKey::Listen, format!("stream:{}", path.display())),
        setting(SettingKey::SocketMode, "0600"),
        setting(SettingKey::Symlinks, base.path().join("link").to_str().unwrap()),
    ];
    with_job(&settings, |job| {
        let sockets = open(job).unwrap();
        assert_eq!(sockets.len(), 1);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(base.path().join("link")).unwrap();
    });
}

#[test]
fn given_a_stale_socket_file_when_opened_then_it_is_replaced_and_another_file_is_not() {
    let base = TempDir::new();
    let path = base.path().join("x.sock");
    let settings = [setting(SettingKey::Listen, format!("stream:{}", path.display()))];
    with_job(&settings, |job| drop(open(job).unwrap()));
    assert!(path.exists());
    with_job(&settings, |job| {
        let _sockets = open(job).unwrap();
        UnixStream::connect(&path).unwrap();
    });
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    with_job(&settings, |job| {
        let failure = open(job).unwrap_err();
        assert_eq!(failure.step, ExecStep::Socket);
        assert!(failure.text.contains("x.sock"));
    });
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn given_several_sockets_when_opened_then_they_come_in_the_order_of_the_plan() {
    let base = TempDir::new();
    let name = |name: &str| base.path().join(name).to_str().unwrap().to_string();
    let settings = [
        setting(SettingKey::Listen, format!("datagram:{}", name("a"))),
        setting(SettingKey::Listen, format!("sequential:{}", name("b"))),
        setting(SettingKey::Listen, format!("fifo:{}", name("c"))),
        setting(SettingKey::Listen, format!("stream:@hostel-test-{}", std::process::id())),
        setting(SettingKey::SocketGroup, "12"),
    ];
    with_job(&settings, |job| {
        let sockets = open(job).unwrap();
        let kind = |at: usize| net::sockopt::socket_type(&sockets[at]).ok();
        assert_eq!(kind(0), Some(SocketType::DGRAM));
        assert_eq!(kind(1), Some(SocketType::SEQPACKET));
        assert_eq!(kind(2), None);
        assert_eq!(kind(3), Some(SocketType::STREAM));
        assert!(std::fs::metadata(name("c")).unwrap().file_type().is_fifo());
        assert_eq!(std::fs::metadata(name("a")).unwrap().gid(), 12);
    });
}

#[test]
fn given_internet_sockets_when_opened_then_they_are_bound() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = [
        setting(SettingKey::Listen, format!("stream:{free}")),
        setting(SettingKey::Listen, format!("datagram:{free}")),
        setting(SettingKey::SocketOption, "KeepAlive=1"),
        setting(SettingKey::SocketOption, "ReceiveBuffer=65536"),
    ];
    with_job(&settings, |job| {
        let sockets = open(job).unwrap();
        assert_eq!(net::sockopt::socket_keepalive(&sockets[0]), Ok(true));
        std::net::TcpStream::connect(free).unwrap();
    });
}

#[test]
fn given_an_address_that_is_none_when_opened_then_the_failure_names_it() {
    with_job(&[setting(SettingKey::Listen, "stream:host.example:80")], |job| {
        let failure = open(job).unwrap_err();
        assert!(failure.text.contains("host.example:80"), "{failure}");
    });
}

#[test]
fn given_remove_on_stop_when_cleaned_up_then_only_what_the_unit_made_is_gone() {
    let base = TempDir::new();
    let (path, link) = (base.path().join("x.sock"), base.path().join("link"));
    let settings = [
        setting(SettingKey::Listen, format!("stream:{}", path.display())),
        setting(SettingKey::Symlinks, link.to_str().unwrap()),
        setting(SettingKey::RemoveOnStop, "1"),
    ];
    with_job(&settings, |job| {
        let _sockets = open(job).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/elsewhere", &link).unwrap();
        remove(job).unwrap();
        assert!(!path.exists());
        assert!(link.is_symlink());
        remove(job).unwrap();
    });
}

#[test]
fn given_options_when_opened_then_each_family_has_its_own() {
    let settings = [
        setting(SettingKey::Listen, "stream:[::1]:0"),
        setting(SettingKey::Listen, "datagram:127.0.0.1:0"),
        setting(SettingKey::SocketOption, "IPTTL=7"),
        setting(SettingKey::SocketOption, "KeepAlive=1"),
        setting(SettingKey::SocketOption, "Timestamping=ns"),
        setting(SettingKey::SocketOption, "ReceiveBuffer=65536"),
    ];
    with_job(&settings, |job| {
        let Ok(sockets) = open(job) else { return };
        assert_eq!(net::sockopt::ipv6_unicast_hops(&sockets[0]), Ok(7));
        assert_eq!(net::sockopt::ip_ttl(&sockets[1]), Ok(7));
        assert_eq!(net::sockopt::socket_keepalive(&sockets[1]), Ok(true));
        // The kernel keeps twice of it, for its own needs.
        assert_eq!(net::sockopt::socket_recv_buffer_size(&sockets[0]), Ok(131_072));
    });
}

#[test]
fn given_a_message_queue_when_opened_then_it_is_there_until_the_unit_removes_it() {
    let name = format!("/hostel-test-{}", std::process::id());
    let settings = [
        setting(SettingKey::Listen, format!("message-queue:{name}")),
        setting(SettingKey::SocketMode, "0600"),
        setting(SettingKey::SocketOption, "MessageQueueMaxMessages=3"),
        setting(SettingKey::SocketOption, "MessageQueueMessageSize=64"),
        setting(SettingKey::RemoveOnStop, "1"),
    ];
    with_job(&settings, |job| {
        let queues = open(job).unwrap();
        assert_eq!(rustix::fs::fstat(&queues[0]).unwrap().st_mode & 0o777, 0o600);
        remove(job).unwrap();
        assert_eq!(crate::sys::unlink_message_queue(&name), Err(Errno::NOENT));
    });
}
