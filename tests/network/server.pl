# Listens on every address, on the loopback, and (which must fail) on one that is not the guest's; says what it was bound to, and tells whoever asks
# where the question came from. Ends when it is told to.
use Socket qw(:DEFAULT inet_pton inet_ntop pack_sockaddr_in6 unpack_sockaddr_in6);
$| = 1;
sub shown {
    my $name = shift;
    my ($port, $address) = sockaddr_family($name) == AF_INET ? unpack_sockaddr_in($name) : unpack_sockaddr_in6($name);
    return inet_ntop(sockaddr_family($name), $address) . " $port";
}
my %wanted = (
    any4 => [AF_INET, SOCK_STREAM, pack_sockaddr_in(80, INADDR_ANY)],
    any6 => [AF_INET6, SOCK_STREAM, pack_sockaddr_in6(81, inet_pton(AF_INET6, '::'))],
    lo4 => [AF_INET, SOCK_STREAM, pack_sockaddr_in(82, INADDR_LOOPBACK)],
    udp4 => [AF_INET, SOCK_DGRAM, pack_sockaddr_in(83, INADDR_ANY)],
    foreign4 => [AF_INET, SOCK_STREAM, pack_sockaddr_in(84, inet_aton($ARGV[0]))],
    foreign6 => [AF_INET6, SOCK_STREAM, pack_sockaddr_in6(84, inet_pton(AF_INET6, $ARGV[1]))],
);
my %open;
for my $name (sort keys %wanted) {
    my ($family, $type, $address) = @{ $wanted{$name} };
    socket my $socket, $family, $type, 0 or die "socket: $!";
    if (!bind $socket, $address) {
        print "$name refused\n";
        next;
    }
    listen $socket, 8 if $type == SOCK_STREAM;
    print "$name ", shown(getsockname $socket), "\n";
    $open{ fileno $socket } = [$socket, $type];
}
print "ready\n";
while (1) {
    my $ready = '';
    vec($ready, $_, 1) = 1 for keys %open;
    select $ready, undef, undef, 60 or last;
    for my $number (grep { vec $ready, $_, 1 } keys %open) {
        my ($socket, $type) = @{ $open{$number} };
        if ($type == SOCK_DGRAM) {
            my $from = recv $socket, my $said, 100, 0;
            send $socket, (split ' ', shown $from)[0], 0, $from;
            next;
        }
        my $from = accept my $peer, $socket;
        syswrite $peer, (split ' ', shown $from)[0];
    }
}
