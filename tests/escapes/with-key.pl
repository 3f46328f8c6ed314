# Not inside: a session with a key, of a name, and in it a command.
use constant { KEYCTL => 250, ADD_KEY => 248, JOIN => 1, SESSION => -3, SETPERM => 5 };
my $name = shift @ARGV;
syscall(KEYCTL, JOIN, 0) >= 0 or die "session: $!";
my ($kind, $secret) = ("user", "secret");
my $key = syscall(ADD_KEY, $kind, $name, $secret, length $secret, SESSION);
$key >= 0 or die "key: $!";
exec @ARGV;
