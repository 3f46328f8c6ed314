# Asks servers where the question comes from: `KIND ADDRESS PORT`, one a line.
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
$| = 1;
while (<STDIN>) {
    my ($kind, $address, $port) = split;
    my $family = $address =~ /:/ ? AF_INET6 : AF_INET;
    my $type = $kind eq 'udp' ? SOCK_DGRAM : SOCK_STREAM;
    my $raw = inet_pton $family, $address;
    my $name = $family == AF_INET ? pack_sockaddr_in $port, $raw : pack_sockaddr_in6 $port, $raw;
    socket my $socket, $family, $type, 0 or die "socket: $!";
    my $said = 'nothing';
    eval {
        local $SIG{ALRM} = sub { die };
        alarm 5;
        if ($kind eq 'udp') {
            # Without being connected: another way through the kernel.
            send $socket, 'who', 0, $name or die;
            recv $socket, $said, 100, 0;
        } elsif (connect $socket, $name) {
            sysread $socket, $said, 100;
        } else {
            $said = 'refused';
        }
    };
    alarm 0;
    print "$kind $address $said\n";
}
