# `writer.pl KIND`: numbers, a line or message each, until /run/enough is there; then how many there were goes to /run/KIND.
use strict;
use Socket;

my ($kind) = @ARGV;
my %paths = (native => "/run/systemd/journal/socket", syslog => "/dev/log");
my $socket;
if (my $path = $paths{$kind}) {
    socket($socket, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
    connect($socket, sockaddr_un($path)) or die "$path: $!";
}
$| = 1;
my $number = 0;
until ($number % 100 == 0 && -e "/run/enough") {
    my $text = "$number of those that $kind says";
    if (!$socket) { print "$text\n" }
    else {
        my $message = $kind eq "native" ? "SYSLOG_IDENTIFIER=native\nMESSAGE=$text\n" : "<14>syslog: $text";
        defined send $socket, $message, 0 or die "send: $!";
    }
    select undef, undef, undef, 0.002 if $number % 7 == 0;
    $number++;
}
open my $count, ">", "/run/$kind" or die "count: $!";
print $count "$number\n";
close $count;
sleep 1000 unless $kind eq "output" || $socket;
