# Abstract sockets of the host (CVE-2020-15257): they belong to a network namespace, which is not the guest's.
use Socket;
socket my $socket, PF_UNIX, SOCK_STREAM, 0 or die "socket: $!";
print connect($socket, pack('S a*', AF_UNIX, "\0$ARGV[0]")) ? "escaped: connected\n" : "held\n";
