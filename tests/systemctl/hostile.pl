# Clients of /run/systemd/private that send garbage, flood, or never read, all at once; then they say "ready" and stay.
use strict;
use Socket;

sub client {
    socket(my $socket, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
    connect($socket, sockaddr_un("/run/systemd/private")) or die "connect: $!";
    return $socket;
}

# A call without arguments, as the wire has it.
sub call {
    my ($member) = @_;
    my @fields = map { pack("CCa1C", $_->[0], 1, $_->[1], 0) . pack("V", length $_->[2]) . $_->[2] . "\0" }
        [1, "o", "/org/freedesktop/systemd1"], [2, "s", "org.freedesktop.systemd1.Manager"], [3, "s", $member];
    my $array = "";
    for my $field (@fields) {
        $array .= "\0" x ((8 - length($array) % 8) % 8) . $field;
    }
    my $head = pack("a1CCCVVV", "l", 1, 0, 1, 0, 1, length $array) . $array;
    return $head . "\0" x ((8 - length($head) % 8) % 8);
}

$SIG{PIPE} = "IGNORE";
srand(7);
my @open;
my $hello = "\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
for my $round (1 .. 100) {
    my $socket = client();
    my $garbage = join "", map { chr int rand 256 } 1 .. 2000;
    syswrite $socket, ($round % 2 ? $hello : "") . $garbage;
    # A message whose header is well-formed and whose lengths are not.
    $socket = client();
    syswrite $socket, $hello . pack("a1CCCVVV", "l", 1, 0, 1, 0xffffffff, 1, $round);
}
for my $member ("ListUnits", "Ping", "Nonsense") {
    my $socket = client();
    syswrite $socket, $hello;
    my $flood = call($member) x 500;
    # Without reading: until nothing more is taken, or 20,000 calls are sent.
    my $flags = 04000;
    require Fcntl;
    fcntl($socket, Fcntl::F_SETFL(), $flags);
    for (1 .. 40) { syswrite $socket, $flood; select undef, undef, undef, 0.01; }
    push @open, $socket;
}
for (1 .. 20) {
    push @open, client();
}
$| = 1;
print "ready\n";
sleep 30;
