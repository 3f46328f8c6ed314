# On the host: the version of a file's capabilities, and whose root they are for.
use constant GETXATTR => 191;
my ($file, $name, $value) = ($ARGV[0], 'security.capability', "\0" x 64);
my $length = syscall(GETXATTR, $file, $name, $value, 64);
die "getxattr: $!" if $length < 0;
my @words = unpack 'L<6', $value;
printf "version %d root %d\n", $words[0] >> 24, $length == 24 ? $words[5] : 0;
