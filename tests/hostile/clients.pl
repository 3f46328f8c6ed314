# Clients that send garbage, flood, or never read: `clients.pl KIND SECONDS`, one kind of them, for so long.
use strict;
use Fcntl;
use Socket;

my ($kind, $seconds) = @ARGV;
my $until = time + $seconds;
$SIG{PIPE} = "IGNORE";
srand(7);
my @open;

sub client {
    my ($path, $type, $user) = @_;
    socket(my $socket, AF_UNIX, $type // SOCK_STREAM, 0) or die "socket: $!";
    connect($socket, sockaddr_un($path)) or return undef;
    fcntl($socket, F_SETFL, O_NONBLOCK);
    return $socket;
}

# A call without arguments that wants an answer, as the wire has it.
sub call {
    my ($to, $path, $interface, $member, $serial) = @_;
    my @fields = map { pack("CCa1C", $_->[0], 1, $_->[1], 0) . pack("V", length $_->[2]) . $_->[2] . "\0" }
        [1, "o", $path], [6, "s", $to], [2, "s", $interface], [3, "s", $member];
    my $array = "";
    $array .= "\0" x ((8 - length($array) % 8) % 8) . $_ for @fields;
    my $head = pack("a1CCCVVV", "l", 1, 0, 1, 0, $serial, length $array) . $array;
    return $head . "\0" x ((8 - length($head) % 8) % 8);
}

my $name = "org.freedesktop.systemd1";
sub manager { return call($name, "/org/freedesktop/systemd1", "$name.Manager", @_) }

sub noise { return join "", map { chr int rand 256 } 1 .. $_[0] }

sub as_nobody { $) = "65534 65534"; $> = 65534; die "still root" if $> == 0 }

sub silent {
    my ($path, $count) = @_;
    for (1 .. $count) { my $socket = client($path); push @open, $socket if $socket }
}

# How long the first message of some bytes is, if its head is there: body, and fields filled up to eight.
sub length_of {
    return undef if length $_[0] < 16;
    my ($body, $fields) = unpack("x4 V x4 V", $_[0]);
    return 16 + $fields + (8 - $fields % 8) % 8 + $body;
}

my %kinds = (
    # One that asks a million times as fast as it can, and reads every answer.
    million => sub {
        my $socket = client("/run/systemd/private") or die "private: $!";
        my ($count, $asked, $answered, $errors) = (1_000_000, 0, 0, 0);
        my ($returns, $signals) = (2, 4);
        my $out = "\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        my ($in, $greeted) = ("", 0);
        my $ping = call($name, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Peer", "Ping", 0);
        while ($answered < $count) {
            for (1 .. 500) {
                last if length $out > 100_000 || $asked == $count;
                $out .= substr($ping, 0, 8) . pack("V", ++$asked) . substr($ping, 12);
            }
            my $can = my $may = "";
            vec($may, fileno $socket, 1) = 1;
            vec($can, fileno $socket, 1) = 1 if length $out;
            select $may, $can, undef, 60 or die "no answer after $answered";
            if (vec $can, fileno $socket, 1) {
                my $wrote = syswrite $socket, $out;
                substr($out, 0, $wrote, "") if $wrote;
            }
            next unless vec $may, fileno $socket, 1;
            my $got = sysread $socket, $in, 262144, length $in;
            die "closed after $answered" if defined $got && !$got;
            $greeted = 1, $in =~ s/^OK [^\n]*\n// if !$greeted && $in =~ /^OK [^\n]*\n/;
            my $at = 0;
            while ($greeted && defined(my $length = length_of(substr $in, $at, 16))) {
                last if length($in) - $at < $length;
                my $kind = ord substr $in, $at + 1, 1;
                $answered++ if $kind == $returns;
                $errors++ if $kind != $returns && $kind != $signals;
                $at += $length;
            }
            substr($in, 0, $at, "");
        }
        print "$answered answered, $errors errors\n";
    },
    # Clients of systemctl's socket that ask and never read, that are silent, and that talk nonsense.
    private => sub {
        my $path = "/run/systemd/private";
        silent($path, 150);
        my $hello = "\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        my @floods = map { my $s = client($path); syswrite $s, $hello if $s; [$s, manager($_, 1) x 100] }
            "ListUnits", "Ping", "GetDefaultTarget";
        while (time < $until) {
            for my $flood (@floods) { syswrite $flood->[0], $flood->[1] if $flood->[0] }
            my $garbage = client($path);
            syswrite $garbage, $hello . noise(500) if $garbage;
            select undef, undef, undef, 0.002;
        }
    },
    # One of the bus, nobody's, that calls and never reads.
    bus => sub {
        as_nobody();
        my $socket = client("/run/dbus/system_bus_socket") or die "bus: $!";
        syswrite $socket, "\0AUTH EXTERNAL " . unpack("H*", "65534") . "\r\nBEGIN\r\n";
        my $bus = "org.freedesktop.DBus";
        select undef, undef, undef, 0.2;
        syswrite $socket, call($bus, "/org/freedesktop/DBus", $bus, "Hello", 1);
        my $serial = 2;
        while (time < $until) {
            my $calls = join "", map { manager("ListUnits", $serial++) } 1 .. 50;
            syswrite $socket, $calls;
            select undef, undef, undef, 0.002;
        }
    },
    # The journal's three sockets: datagrams without end, streams that say nothing or never end a line.
    journal => sub {
        as_nobody();
        my $folder = "/run/systemd/journal";
        silent("$folder/stdout", 100);
        my $line = client("$folder/stdout");
        my @sockets = map { client("$folder/$_", SOCK_DGRAM) } "socket", "dev-log";
        my $number = 0;
        while (time < $until) {
            for my $socket (@sockets) {
                send $socket, ($number % 9 ? "MESSAGE=flood $number\nX=y\n" : noise(300)), 0;
                $number++;
            }
            syswrite $line, "x" x 4000 if $line;
            select undef, undef, undef, 0.01 if $number % 1000 == 0;
        }
    },
    # journalctl's socket: connections that are silent, talk nonsense, or ask without reading.
    varlink => sub {
        my $path = "/run/systemd/journal/io.systemd.journal";
        silent($path, 40);
        while (time < $until) {
            my $socket = client($path);
            if ($socket) {
                syswrite $socket, noise(3000) . "\0";
                my $asks = client($path);
                syswrite $asks, "{\"method\":\"io.systemd.Journal.Synchronize\"}\0" x 50 if $asks;
            }
            select undef, undef, undef, 0.01;
        }
    },
    # sysvinit's pipe.
    initctl => sub {
        sysopen(my $pipe, "/run/initctl", O_WRONLY | O_NONBLOCK) or die "initctl: $!";
        while (time < $until) { syswrite $pipe, noise(1000); select undef, undef, undef, 0.005 }
    },
    # A service's own notification socket: for a service's ExecStart=.
    notify => sub {
        my $socket = client($ENV{NOTIFY_SOCKET}, SOCK_DGRAM) or die "notify: $!";
        my $number = 0;
        while (time < $until) {
            my $said = $number++ % 3 ? "STATUS=number $number\n" : noise(200);
            defined send $socket, $said, 0 or select undef, undef, undef, 0.001;
        }
    },
);
$kinds{$kind}->();
