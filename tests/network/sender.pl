# Sends a datagram from each of some addresses to a listener; what the guest has not, its root adds to the card.
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
my ($to, @from) = @ARGV;
for my $address (@from) {
    my $family = $address =~ /:/ ? AF_INET6 : AF_INET;
    system "ip address add $address" . ($family == AF_INET ? '/24' : '/64 nodad') . ' dev eth0 2>/dev/null';
    my $name = sub { $family == AF_INET ? pack_sockaddr_in $_[0], inet_pton $family, $_[1] : pack_sockaddr_in6 $_[0], inet_pton $family, $_[1] };
    socket my $socket, $family, SOCK_DGRAM, 0 or die "socket: $!";
    bind $socket, $name->(0, $address) or print "bind $address: $!\n";
    my $there = $family == AF_INET ? $to : 'fd99:1::1';
    for (1 .. 2) {
        send $socket, "from $address", 0, $name->(9, $there) or print "send from $address: $!\n";
        select undef, undef, undef, 0.2;
    }
}
