//! Sockets with Accept=yes: an instance of the template for each connection.

use hostel_tests::Guest;

/// Says something on each of so many connections at a time, and gives what came back, a line each.
const CLIENT: &str = "#!/usr/bin/perl\nuse IO::Socket::INET;\nmy @all = map { \
     IO::Socket::INET->new(PeerAddr => '127.0.0.1:7777') or die qq(connect: $!) } 1 .. $ARGV[0];\n\
     my $n = 0;\nfor (@all) { print $_ qq(number ), $n++, qq(\\n); $_->flush; }\n\
     for (@all) { my $line = <$_>; print defined $line ? $line : qq(closed\\n); }\n";

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_accept_when_clients_connect_then_each_is_served_by_an_instance_and_one_too_many_is_closed() {
    let mut guest = Guest::debian12("accept")
        .program("usr/local/sbin/client", CLIENT)
        .wanted_unit("each.socket", "[Socket]\nListenStream=127.0.0.1:7777\nAccept=yes\nMaxConnections=3\n")
        // Each instance lasts as long as its client.
        .unit(
            "each@.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nStandardInput=socket\n\
             ExecStart=/bin/sh -c 'read line; echo you said $$line from $REMOTE_ADDR; read end || :'\n",
        )
        .start();
    for round in 0..5 {
        let answers = guest.exec(&["/usr/local/sbin/client", "3"]);
        let expected: Vec<String> = (0..3).map(|n| format!("you said number {n} from 127.0.0.1")).collect();
        assert_eq!(answers.lines().collect::<Vec<_>>(), expected, "round {round}");
        guest
            .wait_for("each@2.service", std::time::Duration::from_secs(10), |unit| unit.active == "inactive");
        guest
            .wait_for("each@0.service", std::time::Duration::from_secs(10), |unit| unit.active == "inactive");
        guest
            .wait_for("each@1.service", std::time::Duration::from_secs(10), |unit| unit.active == "inactive");
    }
    let answers = guest.exec(&["/usr/local/sbin/client", "4"]);
    assert_eq!(answers.lines().filter(|line| *line == "closed").count(), 1, "{answers}");
    assert_eq!(guest.unit("each.socket").map(|unit| unit.sub), Some("listening".into()));
    guest.stop();
}
