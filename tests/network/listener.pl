# On the host: says which datagrams came, each once, for some seconds.
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
$| = 1;
socket my $socket, AF_INET6, SOCK_DGRAM, 0 or die "socket: $!";
bind $socket, pack_sockaddr_in6(9, inet_pton AF_INET6, '::') or die "bind: $!";
my %seen;
while (1) {
    recv $socket, my $said, 100, 0;
    print "$said\n" unless $seen{$said}++;
}
